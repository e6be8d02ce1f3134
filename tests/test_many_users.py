"""Thirty thousand users cost little memory, and none of them waits. (A million: `make million`.)"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

GROWTH = Path(__file__).parent.parent / "bench" / "growth.py"
USERS = 30_000
MAX_BYTES = 500


@pytest.mark.processes
def test_thirty_thousand_users_cost_at_most_500_bytes_each():
    completed = subprocess.run(
        [sys.executable, str(GROWTH), "--users", str(USERS), "--rate", "20", "--seconds", "1"],
        capture_output=True,
        encoding="utf-8",
        env={name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")},
        timeout=900,
        check=True,  # every message was answered with status 200
    )
    figures = dict(re.findall(r"(?m)^(.+?) {2,}(-?[\d.]+)\s*$", completed.stdout))
    assert 0 < float(figures["memory with one, bytes per user"]) <= MAX_BYTES
