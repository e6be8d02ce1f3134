"""What a command leads to: `decide(state, command) -> events`."""
