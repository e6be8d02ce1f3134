"""What single events do to the state of a user, by what they are about. `evolve` is the door."""
