"""Everything that wxgptd knows and decides, with no I/O and no clock.

`commands` go in, `events` come out (`decider.decide`), and the state of one user is a fold of
`evolve.evolve` over that user's events. Clock readings and random values arrive inside commands.
"""
