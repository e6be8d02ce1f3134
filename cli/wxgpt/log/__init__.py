"""Read the log: as events, as states, as an export; and show it."""
