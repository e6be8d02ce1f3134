"""The simulation finds nothing in the daemon, and finds every fault that is built in."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.simulation.mutants import MUTANTS, built_in
from tests.simulation.plan import Fault, Plan, draw, shorter
from tests.simulation.run import ROOT, kind, shortened
from tests.simulation.story import run

SEEDS = range(100)
"""What the gate runs; `make simulate` runs more."""

BATCH = 5


@pytest.mark.parametrize("first", SEEDS[::BATCH])
def test_no_invariant_is_violated(first):
    for seed in range(first, first + BATCH):
        violation = run(draw(seed)).violation
        assert not violation, f"repeat it with: python -m tests.simulation.run {seed}"


@pytest.mark.parametrize("name", MUTANTS)
def test_a_built_in_fault_is_found(name):
    with built_in(name):
        assert any(run(draw(seed)).violation for seed in SEEDS)
    assert not run(draw(0)).violation, "the fault is still built in"


@pytest.mark.processes
def test_a_seed_gives_the_same_trace_byte_for_byte():
    tell = (
        "from tests.simulation import plan, story; print(*story.run(plan.draw(3)).trace, sep='\\n')"
    )

    def trace(hash_seed: str) -> bytes:
        environment = {
            **os.environ,
            "PYTHONHASHSEED": hash_seed,
            "PYTHONPATH": f"{ROOT}:{ROOT}/cli",
        }
        done = subprocess.run(
            [sys.executable, "-c", tell], cwd=ROOT, env=environment, capture_output=True, check=True
        )
        return done.stdout

    first = trace("1")
    assert first.count(b"\n") > 300
    assert trace("2") == first


def test_a_run_leaves_the_process_random():
    before = os.urandom
    run(Plan(1, 1, 5.0, ()))
    assert os.urandom is before
    assert os.urandom(16) != os.urandom(16)


def test_a_violation_is_shortened_to_what_it_needs():
    with built_in("keep the key"):
        plan = draw(2)
        outcome = run(plan)
        short, found = shortened(plan, outcome)
    assert kind(found.violation) == kind(outcome.violation)
    assert len(short.faults) < len(plan.faults)
    assert short.seconds < plan.seconds
    assert len(found.trace) < len(outcome.trace) / 2


def test_a_shorter_plan_has_less_in_it():
    plan = Plan(1, 3, 100.0, tuple(Fault(float(at), "crash", 1.0, 0.5) for at in range(1, 9)))
    for candidate in shorter(plan):
        assert candidate != plan
        assert candidate.users <= plan.users
        assert candidate.seconds <= plan.seconds
        assert set(candidate.faults) <= set(plan.faults)
