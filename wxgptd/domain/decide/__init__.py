"""From a command to events: `decide(state, command) -> events`."""
