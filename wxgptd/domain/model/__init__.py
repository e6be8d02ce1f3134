"""Values, events (the records of the log), sessions, windows, quotas and user state."""
