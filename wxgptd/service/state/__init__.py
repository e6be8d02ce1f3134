"""State: the journal as the one door to it, what is projected from it, and what is kept."""
