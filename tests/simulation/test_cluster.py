"""A cluster passes the simulation, which catches every mutant."""

from __future__ import annotations

import pytest

from tests.simulation.cluster import Fault, Plan, draw, run
from tests.simulation.cluster_mutants import MUTANTS
from tests.simulation.mutants import applied

SEEDS = range(24)
"""Every mutant is caught within these."""

GATE = SEEDS[:16]
"""What the gate runs; `python -m tests.simulation.cluster --seeds 1000` runs more."""

BATCH = 4


@pytest.mark.parametrize("first", GATE[::BATCH])
def test_no_invariant_is_violated(first):
    for seed in range(first, first + BATCH):
        outcome = run(draw(seed))
        assert not outcome.violation, f"replay it: python -m tests.simulation.cluster {seed}"


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(name):
    _, invariants = MUTANTS[name]
    with applied(name, MUTANTS):
        outcomes = (run(draw(seed)) for seed in SEEDS)
        caught = next(outcome for outcome in outcomes if outcome.invariant in invariants)
        assert caught.violation


PROBES = (
    "leads from event",
    "exits: node",
    "AnswerRestarted",
    "UserErased",
    "exits: event",  # an old version does not know a kind of event
    "fault: freeze leader",
    "fault: cut leader",
    "fault: no quorum",
    "fault: step down",
)


def test_the_runs_reach_what_is_difficult(logged):
    missing = set(PROBES)
    for seed in SEEDS:
        trace = "\n".join([*run(draw(seed)).trace, *logged()])
        missing = {probe for probe in missing if probe not in trace}
        if not missing:
            return
    assert not missing


@pytest.mark.parametrize("kind", ["kill leader", "step down", "terminate leader"])
def test_a_change_of_leader_costs_no_reply(kind):
    """No reply is excused if nothing but the leader changes while everything else works."""
    plan = Plan(7, 2, 3, 90.0, (Fault(30.0, kind, 20.0),))
    outcome = run(plan, excuses=False)
    assert not outcome.violation
