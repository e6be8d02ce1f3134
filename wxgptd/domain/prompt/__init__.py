"""What a model is told: the messages of a session, and how many tokens they are."""
