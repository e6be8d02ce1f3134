"""Run seeds of the simulation.

    python -m tests.simulation.run 7                # replay seed 7; if it fails, shrink it; trace it
    python -m tests.simulation.run --seeds 10000    # run many; an interrupted run is resumed

Results are kept in build/simulation, by a digest of the sources: any change starts over.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import itertools
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.simulation.mutants import MUTANTS, applied
from tests.simulation.plan import SECONDS, Plan, draw, smaller
from tests.simulation.story import UNTIL_SETTLED_S, Outcome, run

ROOT = Path(__file__).parent.parent.parent
CHUNK = 10
MAX_TRIES = 120
"""The most smaller plans to try."""


def shrunk(plan: Plan, outcome: Outcome) -> tuple[Plan, Outcome]:
    """Return the smallest plan found that violates the same invariant, and its outcome."""
    tries = 0
    while tries < MAX_TRIES:
        for candidate in smaller(plan):
            tries += 1
            found = run(candidate)
            if found.violation and found.invariant == outcome.invariant:
                plan, outcome = candidate, found
                break
        else:
            break
    return plan, outcome


def tell(plan: Plan, outcome: Outcome) -> None:
    """Print the trace of one run."""
    faults = ", ".join(f"{fault.kind} at {fault.at:g} s" for fault in plan.faults) or "none"
    print(f"seed {plan.seed}: {plan.users} users, {plan.seconds:g} s, faults: {faults}")
    print(*outcome.trace, sep="\n")
    print(_verdict(outcome))


def _verdict(outcome: Outcome) -> str:
    if not outcome.violation:
        return "no invariant is violated"
    return f"violated: {outcome.invariant}: {outcome.violation}"


def sources() -> str:
    """Return a digest of the sources that results depend on."""
    digest = hashlib.sha256()
    for folder in ("wxgptd", "cli", "tests/simulation", "tests/support"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def try_seeds(seeds: list[int], mutant: str) -> list[tuple[int, str]]:
    """Return each seed's violation, or ""."""
    with applied(mutant):
        outcomes = [(seed, run(draw(seed))) for seed in seeds]
        return [(seed, outcome.violation and _verdict(outcome)) for seed, outcome in outcomes]


def many(first: int, count: int, jobs: int, mutant: str) -> bool:
    """Run `count` seeds, except those already run; return whether all passed."""
    name = f"{sources()}{'-' + mutant.replace(' ', '-') if mutant else ''}.ndjson"
    results = ROOT / "build" / "simulation" / name
    results.parent.mkdir(parents=True, exist_ok=True)
    done = dict(_read(results))
    seeds = [seed for seed in range(first, first + count) if seed not in done]
    if len(seeds) < count:
        print(f"{count - len(seeds)} seeds were run before: {results.relative_to(ROOT)}")
    chunks = [seeds[at : at + CHUNK] for at in range(0, len(seeds), CHUNK)]
    began, ran = time.monotonic(), 0
    context = multiprocessing.get_context("spawn")
    ignore = signal.signal, (signal.SIGINT, signal.SIG_IGN)  # ^C ends the pool, not a seed
    with (
        ProcessPoolExecutor(jobs, context, *ignore) as pool,
        results.open("a") as file,
    ):
        for found in pool.map(try_seeds, chunks, itertools.repeat(mutant)):
            for seed, violation in found:
                file.write(json.dumps([seed, violation], ensure_ascii=False) + "\n")
                done[seed] = violation
                if violation:
                    print(f"seed {seed}: {violation[:200]}", flush=True)
            file.flush()
            ran += len(found)
            if ran % 500 < CHUNK:
                print(f"{ran} of {len(seeds)} in {time.monotonic() - began:.0f} s", flush=True)
    failed = [seed for seed in range(first, first + count) if done.get(seed)]
    hours = count * (SECONDS + UNTIL_SETTLED_S) / 3600
    print(f"{count} seeds, {hours:.1f} virtual hours: {len(failed)} violated an invariant")
    if failed:
        option = f" --mutant {mutant!r}" if mutant else ""
        print(f"replay one: PYTHONPATH=.:cli python -m tests.simulation.run {failed[0]}{option}")
    return not failed


def _read(results: Path) -> Iterator[tuple[int, str]]:
    if results.exists():
        for line in results.read_text("utf-8").splitlines():
            with contextlib.suppress(ValueError):  # an interruption may have torn the last line
                seed, violation = json.loads(line)
                yield seed, violation


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.run")
    parser.add_argument("seed", type=int, nargs="?", help="replay this seed")
    parser.add_argument("--seeds", type=int, default=100, help="how many to run")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument(
        "--mutant", choices=list(MUTANTS), default="", help="apply a deliberate bug"
    )
    parser.add_argument("--whole", action="store_true", help="do not shrink")
    given = parser.parse_args()
    if given.seed is None:
        try:
            return 0 if many(given.first, given.seeds, given.jobs, given.mutant) else 1
        except KeyboardInterrupt:
            print("interrupted: the same command continues")
            return 130
    with applied(given.mutant):
        plan = draw(given.seed)
        outcome = run(plan)
        if outcome.violation and not given.whole:
            plan, outcome = shrunk(plan, outcome)
    tell(plan, outcome)
    return 1 if outcome.violation else 0


if __name__ == "__main__":
    sys.exit(main())
