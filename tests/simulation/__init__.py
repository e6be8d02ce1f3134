"""Deterministic simulation of the whole service, crashed at points that a seed draws.

One seed decides everything: what users do, how WeChat's network and the model servers behave, when
the disk fails, when the process dies, what the operator changes, and what the clock shows. The real
service and the real log run on a virtual clock, in a single thread, so a seed gives the same trace
every time, byte for byte.

- `hub`: runs blocking code on virtual time, in greenlets
- `disk`: a disk that loses unsynced data, tears writes, stalls, fails and fills up
- `node`: the daemon on that disk; it is killed between any two steps, and at any write or sync of
  the log's writer (a start and a clean stop are one step each)
- `network`: WeChat's attempts, lost, late and repeated
- `models`: model servers that fail in every way that real ones do
- `people`: users with habits, readers of pages, the operator
- `plan`: the fault schedule of a seed, and smaller schedules
- `history`: what was acknowledged, found and cut off
- `invariants`: what must always hold
- `story`: one run, and its trace in words
- `mutants`: deliberate bugs, each of which must be caught
- `run`: the command line: many seeds (resumable), or replay and shrink one

`python -m tests.simulation.run 7` replays a run; `make simulate SEEDS=10000` runs many.
"""
