"""What wxgptd knows and decides, without I/O and without a clock.

`commands` go in, `events` come out (`decider.decide`), and the state of one user is a fold of
`evolve.evolve` over that user's events. Clock readings and random values arrive inside commands.
"""
