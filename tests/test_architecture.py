"""The floors, held by import-linter; and what no tool holds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted([*ROOT.glob("wxgptd/**/*.py"), *ROOT.glob("cli/**/*.py")])


@pytest.mark.processes  # zope.interface confuses it in a process that has imported Twisted
def test_the_floors_and_contracts_are_kept():
    command = [Path(sys.executable).parent / "lint-imports"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout


def test_every_module_says_what_it_is_for():
    for path in SOURCES:
        first = path.read_text("utf-8").lstrip()
        assert first.startswith(('"""', 'r"""')), path


def test_no_module_is_longer_than_anybody_reads():
    long = [path for path in SOURCES if len(path.read_text("utf-8").splitlines()) > 600]
    assert long == []


def test_nothing_asks_the_clock_or_the_reactor_behind_its_callers_back():
    allowed = {"__main__.py", "reactor.py", "segments.py"}
    for path in SOURCES:
        if path.is_relative_to(ROOT / "cli"):
            continue
        text = path.read_text("utf-8")
        for word in ("time.time()", "datetime.now(", "from twisted.internet import reactor"):
            assert word not in text or path.name in allowed, (path, word)
