"""Kill the writer at every system call on a file, and make every call fail.

The workload writes, rotates, takes snapshots, drops segments and erases users. Each of its calls on
files, from the first to the last, is injured in a separate run.
"""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support import injected
from tests.support.surviving import TORTURE, lost, running

APPENDS = 80
STEP = 1 if TORTURE else 4
"""A normal run makes only every fourth call fail in each way, but kills at every call."""

STARTUP_CALLS = 30
"""A first start makes about so many calls; each of them is always injured."""

pytestmark = pytest.mark.processes


class Outcome(NamedTuple):
    """The outcome of one run: its exit status, and what is lost or wrong."""

    number: int
    status: int
    wrong: str
    last_line: str


def run_injured(place: Path, what: str, number: int, **more: str) -> Outcome:
    """Run the workload with one call injured, check what is left and continue in another run."""
    state_dir = place / f"{what}-{number}"
    injury = injected.variables(state_dir, what, str(number), **more)
    with running(state_dir, "--appends", str(APPENDS), injury=injury) as run:
        status = run.wait()
        acknowledged, erased = run.acknowledged, run.erased
        last_line = run.lines[-1] if run.lines else ""
    wrong = lost(state_dir, acknowledged, erased)
    if not wrong:
        with running(state_dir, "--appends", "5") as run:
            if run.wait() != 0:
                wrong = f"the next start: {run.lines}"
            else:
                wrong = lost(state_dir, max(acknowledged, run.acknowledged), erased | run.erased)
    shutil.rmtree(state_dir, ignore_errors=True)
    return Outcome(number, status, wrong, last_line)


def count(place: Path, **more: str) -> int:
    """Return how many calls an uninjured run makes."""
    total = place / "total"
    injury = injected.variables(place / "uninjured", "none", "0", total=str(total), **more)
    with running(place / "uninjured", "--appends", str(APPENDS), injury=injury) as run:
        assert run.wait() == 0
    return int(total.read_text())


def every_call(place: Path, what: str, step: int, **more: str) -> list[Outcome]:
    """Injure one call after another; return the outcomes."""
    total = count(place, **more)
    with ThreadPoolExecutor(2) as pool:
        numbers = {*range(1, min(total, STARTUP_CALLS) + 1), *range(1, total + 1, step)}
        return list(pool.map(lambda n: run_injured(place, what, n, **more), sorted(numbers)))


@pytest.mark.parametrize("what", ["kill", "torn"])
def test_the_log_recovers_from_a_kill_at_any_call(tmp_path, report, what):
    more = {"calls": "write"} if what == "torn" else {}
    outcomes = every_call(tmp_path, what, 1, **more)
    assert [outcome for outcome in outcomes if outcome.wrong] == []
    killed = sum(outcome.status == -9 for outcome in outcomes)
    assert killed > 40
    report(f"R3 {what}: killed at each of {killed} calls, all recovered, nothing acknowledged lost")


@pytest.mark.parametrize("what", ["eio", "enospc", "short"])
def test_a_failed_call_never_causes_a_false_acknowledgement(tmp_path, report, what):
    more = {"calls": "write"} if what == "short" else {}
    outcomes = every_call(tmp_path, what, STEP, **more)
    assert [outcome for outcome in outcomes if outcome.wrong] == []
    # It continues if it can. Otherwise it exits without a traceback: with 75, or with 1 if it
    # cannot create the directory.
    assert {outcome.status for outcome in outcomes} <= {0, 1, 75}
    refusals = [outcome.last_line for outcome in outcomes if outcome.status == 1]
    assert all(line.startswith("refused: cannot create the directory") for line in refusals), (
        refusals
    )
    if what == "short":
        assert {outcome.status for outcome in outcomes} == {0}, "a short write is not continued"
    failed = sum(outcome.status == 75 for outcome in outcomes)
    report(f"R4 {what}: {len(outcomes)} calls, {failed} exits with 75, no false acknowledgement")


@pytest.mark.parametrize("call", ["fdatasync", "fsync"])
def test_a_failed_sync_is_never_retried(tmp_path, report, call):
    """The kernel may have dropped the unsynced pages, so a later success means nothing."""
    outcomes = every_call(tmp_path, "eio", STEP, calls=call)
    assert [outcome for outcome in outcomes if outcome.wrong] == []
    statuses = [outcome.status for outcome in outcomes]
    exits = statuses.count(75)
    if call == "fdatasync":  # on the log; others are on snapshots, which can wait
        assert statuses == [75] * exits + [0] * (len(statuses) - exits), "a failure was ignored"
    assert exits
    report(f"R5 {call}: failed {exits} times, and each time the writer exited with 75")
