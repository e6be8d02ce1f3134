"""The service: the journal that owns all state, and what is done about each event."""
