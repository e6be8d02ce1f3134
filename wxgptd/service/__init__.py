"""The service: the journal that owns all state, and the effects of each event."""
