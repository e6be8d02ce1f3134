"""Run seeds of the simulation.

    python -m tests.simulation.run 7                # repeat seed 7: shorten it, tell its story
    python -m tests.simulation.run --seeds 10000    # try many; continues where it was interrupted

Results are kept in build/simulation, for one state of the sources: a change starts over.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.simulation.mutants import MUTANTS, built_in
from tests.simulation.plan import SECONDS, Plan, draw, shorter
from tests.simulation.story import UNTIL_SETTLED_S, Outcome, run

ROOT = Path(__file__).parent.parent.parent
CHUNK = 25
MAX_TRIES = 120
"""How many shorter plans are tried at most."""


def kind(violation: str) -> str:
    """Return what was violated, without the names and numbers of one run."""
    return " ".join(word for word in violation.split() if word.isalpha() and word.islower())[:60]


def shortened(plan: Plan, outcome: Outcome) -> tuple[Plan, Outcome]:
    """Return the shortest plan found that violates the same invariant, and its outcome."""
    wanted, tries = kind(outcome.violation), 0
    while tries < MAX_TRIES:
        for candidate in shorter(plan):
            tries += 1
            found = run(candidate)
            if found.violation and kind(found.violation) == wanted:
                plan, outcome = candidate, found
                break
        else:
            break
    return plan, outcome


def tell(plan: Plan, outcome: Outcome) -> None:
    """Print the story of one run."""
    faults = ", ".join(f"{fault.kind} at {fault.at:g} s" for fault in plan.faults) or "none"
    print(f"seed {plan.seed}: {plan.users} users, {plan.seconds:g} s, faults: {faults}")
    print(*outcome.trace, sep="\n")
    print(f"violated: {outcome.violation}" if outcome.violation else "no invariant was violated")


def sources() -> str:
    """Return a digest of the sources that a result depends on."""
    digest = hashlib.sha256()
    for folder in ("wxgptd", "cli", "tests/simulation", "tests/support"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def try_seeds(seeds: list[int], mutant: str) -> list[tuple[int, str]]:
    """Return what each of the seeds violated, or an empty text."""
    with built_in(mutant):
        return [(seed, run(draw(seed)).violation) for seed in seeds]


def many(first: int, count: int, jobs: int, mutant: str) -> bool:
    """Run `count` seeds, except those that have been run; return whether all were fine."""
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
    with ProcessPoolExecutor(jobs, context) as pool, results.open("a") as file:
        for found in pool.map(try_seeds, chunks, itertools.repeat(mutant)):
            for seed, violation in found:
                file.write(json.dumps([seed, violation], ensure_ascii=False) + "\n")
                done[seed] = violation
                if violation:
                    print(f"seed {seed}: {violation[:160]}", flush=True)
            file.flush()
            ran += len(found)
            if ran % 500 < CHUNK:
                print(f"{ran} of {len(seeds)} in {time.monotonic() - began:.0f} s", flush=True)
    failed = [seed for seed in range(first, first + count) if done.get(seed)]
    hours = count * (SECONDS + UNTIL_SETTLED_S) / 3600
    print(f"{count} seeds, {hours:.0f} virtual hours: {len(failed)} violated an invariant")
    if failed:
        print(f"repeat one with: python -m tests.simulation.run {failed[0]}")
    return not failed


def _read(results: Path) -> Iterator[tuple[int, str]]:
    if results.exists():
        for line in results.read_text("utf-8").splitlines():
            seed, violation = json.loads(line)
            yield seed, violation


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.run")
    parser.add_argument("seed", type=int, nargs="?", help="repeat this seed")
    parser.add_argument("--seeds", type=int, default=100, help="how many to run")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--mutant", choices=list(MUTANTS), default="", help="build in a fault")
    parser.add_argument("--whole", action="store_true", help="do not shorten a seed's story")
    given = parser.parse_args()
    if given.seed is None:
        return 0 if many(given.first, given.seeds, given.jobs, given.mutant) else 1
    with built_in(given.mutant):
        plan = draw(given.seed)
        outcome = run(plan)
        if outcome.violation and not given.whole:
            plan, outcome = shortened(plan, outcome)
    tell(plan, outcome)
    return 1 if outcome.violation else 0


if __name__ == "__main__":
    sys.exit(main())
