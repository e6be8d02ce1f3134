"""Every benchmark runs, at a size too small to measure anything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parent.parent / "bench"


@pytest.mark.processes
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("replay.py", ["--events", "2000", "--rounds", "1"]),
        ("hold.py", ["--questions", "20", "--model-seconds", "0.5", "--within", "0.5"]),
        (
            "load.py",
            ["--users", "4", "--seconds", "2", "--median", "0.5", "--tail", "2", "--only-ours"],
        ),
        ("webhook.py", ["--slices", "1", "--seconds", "0.05"]),
        ("compare.py", ["HEAD", "--slices", "1", "--seconds", "0.05"]),
        ("outage.py", ["--seconds", "0.2", "--rate", "2", "--asking", "1"]),
        ("window.py", []),  # in virtual time; it checks that the budget meets its goal
        ("growth.py", ["--events", "100,1000"]),
        ("soak.py", ["--minutes", "0.05", "--every", "1", "--rate", "5", "--users", "5"]),
        ("log.py", ["--appends", "640", "--rounds", "1"]),
        ("pages.py", ["--readers", "6", "--answers", "2", "--seconds", "1"]),
        ("pages.py", ["--askers", "6", "--within", "1"]),
        ("stream.py", ["--answers", "5", "--chunks", "5", "--rounds", "1"]),
    ],
)
def test_a_benchmark_runs(name, options):
    if name == "compare.py" and not (BENCH.parent / ".git").exists():
        pytest.skip("not a git checkout")
    completed = subprocess.run(
        [sys.executable, str(BENCH / name), *options],
        capture_output=True,
        encoding="utf-8",
        timeout=300,  # window.py simulates days; coverage slows it down
    )
    assert completed.returncode == 0, completed.stderr
    assert completed.stdout
