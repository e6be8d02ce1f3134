"""The floors, held by import-linter; and what no tool holds."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from wxgptd.domain.model.events import Event

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
    allowed = {"main.py", "reactor.py", "segments.py"}
    for path in SOURCES:
        if path.is_relative_to(ROOT / "cli"):
            continue
        text = path.read_text("utf-8")
        for word in ("time.time()", "datetime.now(", "from twisted.internet import reactor"):
            assert word not in text or path.name in allowed, (path, word)


def called(names: set[str]) -> dict[str, set[str]]:
    """The methods of those names that the daemon calls, with the modules that call them."""
    found: dict[str, set[str]] = {name: set() for name in names}
    for path in ROOT.glob("wxgptd/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                on = ast.unparse(node.func.value)
                name = f"{on.rpartition('.')[2].strip('_')}.{node.func.attr}"
                if name in found:
                    found[name].add(path.name)
    return found


def test_state_has_one_door_and_what_follows_has_one_owner():
    assert called({"store.append", "flights.open", "flights.land", "flight.start"}) == {
        "store.append": {"journal.py"},
        "flights.open": {"answering.py"},
        "flights.land": {"answering.py"},
        "flight.start": {"answering.py"},
    }


def test_a_new_kind_of_event_is_named_in_four_modules():
    kinds = {kind.__name__ for kind in get_args(Event)}
    naming_all = {
        path.relative_to(ROOT).as_posix()
        for path in SOURCES
        if kinds <= set(re.findall(r"\w+", path.read_text("utf-8")))
    }
    assert naming_all == {
        "wxgptd/domain/model/events.py",  # what it carries
        "wxgptd/eventlog/codec.py",  # its tag, and what of it is encrypted
        "wxgptd/domain/evolve.py",  # what it does to the state, and its session
        "cli/wxgpt/render.py",  # its line
    }
