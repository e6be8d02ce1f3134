"""A simulation of the whole service that tries deaths at every moment.

One seed decides everything: what users do, how WeChat's network and the model servers behave, when
the disk fails, when the process dies, what the operator changes, and what the clock shows. The real
service and the real log run on a virtual clock, in a single thread, so a seed gives the same trace
every time, byte for byte. After each step and at the end, `invariants` holds what must always be true.

- `hub`: blocking work on virtual time, in greenlets
- `disk`: a disk that loses what was not synced, writes a part, stalls, fails and fills up
- `node`: one incarnation of the daemon on that disk; it crashes at any await and any system call
- `network`: WeChat's attempts, lost, late and repeated
- `models`: model servers that answer in every way that real ones do
- `people`: users with habits, readers of pages, the operator
- `invariants`: what must be true
- `plan`: what a seed decides beforehand, and shorter plans
- `story`: one run, told in words
- `mutants`: faults built in on purpose, each of which must be found
- `run`: many seeds, on the command line, resumable; a failing seed is shortened

`python -m tests.simulation.run 7` repeats a run; `make simulate SEEDS=10000` tries many.
"""
