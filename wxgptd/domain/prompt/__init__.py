"""The prompt of a model: the messages of a session, and how many tokens they have."""
