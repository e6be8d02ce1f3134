"""How each event changes a user's state, grouped by subject. `evolve` is the entry point."""
