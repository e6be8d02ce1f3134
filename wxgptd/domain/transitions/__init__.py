"""How single events change the state of a user, by subject. `evolve` is the entry point."""
