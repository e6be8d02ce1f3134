"""What a seed decides beforehand: how long a run lasts, for how many users, with which faults."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random

SECONDS = 240.0

KINDS = (
    "crash", "power cut", "crash in the log", "power cut in the log", "clean stop", "stall",
    "crash in a start", "power cut in a start", "crash in a stop", "power cut in a stop",
    "write fails", "sync fails", "full disk", "short writes", "clock step", "bad network",
)  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """A fault, `at` seconds after the start, for `lasts_s` seconds; `size` from 0 to 1 is its severity."""

    at: float
    kind: str
    lasts_s: float
    size: float


@dataclass(frozen=True)
class Plan:
    """The parameters of a run, which lasts `seconds` of virtual time and then drains.

    The machine's clock is `clock_offset` seconds ahead of WeChat's. A smaller plan of the same seed
    may violate the same invariant.
    """

    seed: int
    users: int
    seconds: float
    faults: tuple[Fault, ...]
    clock_offset: float = 0.0


def draw(seed: int) -> Plan:
    """Return the plan of a seed."""
    random, faults, at = Random(f"plan {seed}"), [], 0.0
    while (at := at + random.expovariate(1 / 25.0)) < SECONDS - 40:
        kind = random.choice(KINDS)
        lasts_s = random.uniform(0.2, 9.0)
        faults.append(Fault(round(at, 3), kind, round(lasts_s, 3), random.random()))
    offset = random.choice([0.0, 0.0, random.uniform(-5.0, 5.0), random.uniform(-200.0, 200.0)])
    return Plan(seed, random.randrange(1, 5), SECONDS, tuple(faults), round(offset, 3))


def smaller(plan: Plan) -> Iterator[Plan]:
    """Yield smaller plans, the largest reductions first."""
    if plan.faults:
        yield replace(plan, faults=())
        half = len(plan.faults) // 2
        yield replace(plan, faults=plan.faults[:half])
        yield replace(plan, faults=plan.faults[half:])
    if plan.users > 1:
        yield replace(plan, users=1)
    if plan.clock_offset:
        yield replace(plan, clock_offset=0.0)
    for share in (0.25, 0.5, 0.75, 0.9):
        seconds = round(plan.seconds * share, 1)
        faults = tuple(fault for fault in plan.faults if fault.at < seconds)
        yield replace(plan, seconds=seconds, faults=faults)
    if plan.users > 2:
        yield replace(plan, users=plan.users - 1)
    for left_out in range(len(plan.faults)):
        kept = plan.faults[:left_out] + plan.faults[left_out + 1 :]
        yield replace(plan, faults=kept)
