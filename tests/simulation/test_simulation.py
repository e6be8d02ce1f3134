"""The daemon passes the simulation, which catches every mutant."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.simulation.mutants import MUTANTS, applied
from tests.simulation.plan import Fault, Plan, draw, smaller
from tests.simulation.run import ROOT, shrunk
from tests.simulation.story import run

SEEDS = range(100)
"""Every mutant is caught within these."""

GATE = SEEDS[:60]
"""What the gate runs; `make simulate` runs more."""

BATCH = 5


@pytest.mark.parametrize("first", GATE[::BATCH])
def test_no_invariant_is_violated(first):
    for seed in range(first, first + BATCH):
        outcome = run(draw(seed))
        assert not outcome.violation, f"replay it: python -m tests.simulation.run {seed}"


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(name):
    _, invariants = MUTANTS[name]
    with applied(name):
        outcomes = (run(draw(seed)) for seed in SEEDS)
        caught = next(outcome for outcome in outcomes if outcome.invariant in invariants)
        assert caught.violation
    assert not run(draw(0)).violation, "the mutant is still applied"


PROBES = (
    "disk full: True",
    "the log failed",
    "trimmed",
    "AnswerRestarted",
    "AnswerFailed SessionClosed UserErased",
    "AnswerFailed SessionClosed UserUnsubscribed UserErased",
    "PageOpened",
    "MessageDeclined",
    "MessageHeld",
    "SessionResumed",
    "the operator reloads",
    "crash (power cut: in a system call of the log)",
    "killed inside the start",
    "killed inside the stop",
    "refused",
    "closed",
)
"""What must happen in some run, so that the invariants are tried where it is difficult."""


def test_the_runs_reach_what_is_difficult():
    missing = set(PROBES)
    for seed in SEEDS[:40]:
        trace = "\n".join(run(draw(seed)).trace)
        missing = {probe for probe in missing if probe not in trace}
        if not missing:
            break
    assert not missing


@pytest.mark.processes
def test_a_seed_gives_the_same_trace_byte_for_byte():
    script = """if True:
        from tests.simulation import plan, story
        for seed in (3, 0, 12):
            outcome = story.run(plan.draw(seed))
            print(*outcome.trace, outcome.violation, sep="\\n")
    """

    def trace(hash_seed: str) -> bytes:
        environment = {
            **os.environ,
            "PYTHONHASHSEED": hash_seed,
            "PYTHONPATH": f"{ROOT}:{ROOT}/cli",
        }
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            check=True,
        )
        return done.stdout

    first = trace("1")
    assert first.count(b"\n") > 300
    assert trace("2") == first


def test_a_run_restores_the_random_sources():
    before = os.urandom
    run(Plan(1, 1, 5.0, ()))
    assert os.urandom is before
    assert os.urandom(16) != os.urandom(16)


def test_a_failing_seed_is_shrunk():
    with applied("keep the key"):
        plan = draw(2)
        outcome = run(plan)
        short, found = shrunk(plan, outcome)
    assert found.invariant == outcome.invariant
    assert len(short.faults) < len(plan.faults)
    assert short.seconds < plan.seconds


def test_a_smaller_plan_has_less_in_it():
    plan = Plan(1, 3, 100.0, tuple(Fault(float(at), "crash", 1.0, 0.5) for at in range(1, 9)))
    for candidate in smaller(plan):
        assert candidate != plan
        assert candidate.users <= plan.users
        assert candidate.seconds <= plan.seconds
        assert set(candidate.faults) <= set(plan.faults)
