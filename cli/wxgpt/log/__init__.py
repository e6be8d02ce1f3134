"""Read the log as events, as states or as an export, and show it."""
