"""What there is: values, events, sessions, a user's state, and what the log's records are."""
