"""Every system call on a file is once the last one, and once the one that fails.

The workload writes, rotates, takes snapshots, drops segments and erases; each of its calls on
files, from the first to the last, is injured in a run of its own.
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
"""In the usual run each kind of failure meets every fourth call; a kill meets them all."""

pytestmark = pytest.mark.processes


class Outcome(NamedTuple):
    """What came of one run: its status, and what is lost or wrong."""

    number: int
    status: int
    wrong: str
    last_words: str


def run_injured(place: Path, what: str, number: int, **more: str) -> Outcome:
    """Run the workload with one call injured, look at what is left, and have another run go on."""
    state_dir = place / f"{what}-{number}"
    injury = injected.variables(state_dir, what, str(number), **more)
    with running(state_dir, "--appends", str(APPENDS), injury=injury) as run:
        status = run.wait()
        acknowledged, erased = run.acknowledged, run.erased
        last_words = run.lines[-1] if run.lines else ""
    wrong = lost(state_dir, acknowledged, erased)
    if not wrong:
        with running(state_dir, "--appends", "5") as run:
            if run.wait() != 0:
                wrong = f"the next start: {run.lines}"
            else:
                wrong = lost(state_dir, max(acknowledged, run.acknowledged), erased | run.erased)
    shutil.rmtree(state_dir, ignore_errors=True)
    return Outcome(number, status, wrong, last_words)


def count(place: Path, **more: str) -> int:
    """Return how many calls a run makes that is left alone."""
    total = place / "total"
    injury = injected.variables(place / "whole", "none", "0", total=str(total), **more)
    with running(place / "whole", "--appends", str(APPENDS), injury=injury) as run:
        assert run.wait() == 0
    return int(total.read_text())


def every_call(place: Path, what: str, step: int, **more: str) -> list[Outcome]:
    """Return what comes of injuring one call after the other."""
    total = count(place, **more)
    with ThreadPoolExecutor(2) as pool:
        numbers = range(1, total + 1, step)
        return list(pool.map(lambda n: run_injured(place, what, n, **more), numbers))


@pytest.mark.parametrize("what", ["kill", "torn"])
def test_killed_at_any_call_it_recovers(tmp_path, report, what):
    more = {"calls": "write"} if what == "torn" else {}
    outcomes = every_call(tmp_path, what, 1, **more)
    assert [one for one in outcomes if one.wrong] == []
    died = sum(one.status == -9 for one in outcomes)
    assert died > 40
    report(f"R3 {what}: died at each of {died} calls, all recovered, nothing acknowledged lost")


@pytest.mark.parametrize("what", ["eio", "enospc", "short"])
def test_whichever_call_fails_nothing_is_acknowledged_that_is_not_there(tmp_path, report, what):
    more = {"calls": "write"} if what == "short" else {}
    outcomes = every_call(tmp_path, what, STEP, **more)
    assert [one for one in outcomes if one.wrong] == []
    # It goes on where that can be, and says with 75 where it cannot (1: there never was a place
    # to write in): never a traceback.
    assert {one.status for one in outcomes} <= {0, 1, 75}
    said = [one.last_words for one in outcomes if one.status == 1]
    assert all(words.startswith("refused: cannot create the directory") for words in said), said
    if what == "short":
        assert {one.status for one in outcomes} == {0}, "a short write is gone on with"
    failed = sum(one.status == 75 for one in outcomes)
    report(f"R4 {what}: {len(outcomes)} calls, {failed} ends with 75, nothing false acknowledged")


@pytest.mark.parametrize("call", ["fdatasync", "fsync"])
def test_a_sync_that_failed_is_never_tried_again(tmp_path, report, call):
    """The kernel may have dropped the pages that it failed on: the next success means nothing."""
    outcomes = every_call(tmp_path, "eio", STEP, calls=call)
    assert [one for one in outcomes if one.wrong] == []
    statuses = [one.status for one in outcomes]
    ends = statuses.count(75)
    if call == "fdatasync":  # those of the log; the others are of snapshots, which can wait
        assert statuses == [75] * ends + [0] * (len(statuses) - ends), "one was passed over"
    assert ends
    report(f"R5 {call}: a failed one, {ends} times: each ended the writer with 75")
