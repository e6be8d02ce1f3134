"""A random drill on a real cluster. (Twenty of them: `make drills`.)"""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.partition import ROOT

pytestmark = [pytest.mark.processes, pytest.mark.xdist_group("cluster")]


@pytest.mark.parametrize("seed", [0])
def test_nothing_is_lost_doubled_or_mixed_up(seed):
    done = subprocess.run(
        [sys.executable, "-m", "tests.cluster.drill", "--seeds", "1", "--first", str(seed),
         "--rate", "5"],
        capture_output=True,
        encoding="utf-8",
        cwd=ROOT,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr[-3_000:]
    _, row = done.stdout.splitlines()[:2]
    asked, answered, linked = map(int, row.split("|")[1:4])
    assert answered + linked > 0.5 * asked, done.stdout
