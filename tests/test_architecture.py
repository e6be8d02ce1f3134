"""The floors, held by import-linter; and what no tool holds."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from wxgptd.domain.model.events import Event
from wxgptd.service.state.projections import Projection

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


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def functions():
    """Every function and method, with its module."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield path, node


def test_no_module_has_more_than_400_lines():
    lengths = {name(path): len(path.read_text("utf-8").splitlines()) for path in SOURCES}
    assert {path: length for path, length in lengths.items() if length > 400} == {}


def test_no_function_has_more_than_60_lines():
    long = [
        (name(path), function.name)
        for path, function in functions()
        if function.end_lineno - function.lineno >= 60
    ]
    assert long == []


def test_no_constructor_takes_more_than_six_parameters():
    """More are a value object that nobody has named yet."""
    crowded = []
    for path, function in functions():
        if function.name == "__init__":
            args = function.args
            count = len(args.posonlyargs + args.args + args.kwonlyargs) - 1
            if count > 6:
                crowded.append((name(path), count))
    assert crowded == []


def test_any_is_named_with_a_reason_or_has_one_in_its_alias():
    without = []
    for path in SOURCES:
        if name(path) == "wxgptd/loose.py":
            continue
        lines = path.read_text("utf-8").splitlines()
        for number, line in enumerate(lines):
            code, _, comment = line.partition("#")
            if not re.search(r"\bAny\b", code) or "import" in code:
                continue
            above = lines[number - 1].strip()
            said = comment or (above if above.startswith("# Any:") else "")
            if not re.search(r"Any: \w|noqa: ANN401 \(\w", said):
                without.append(f"{name(path)}:{number + 1}")
    assert without == []


def test_nothing_asks_the_clock_or_the_reactor_behind_its_callers_back():
    allowed = {"main.py", "reactor.py", "segments.py"}
    for path in SOURCES:
        if path.is_relative_to(ROOT / "cli"):
            continue
        text = path.read_text("utf-8")
        for word in ("time.time()", "datetime.now(", "from twisted.internet import reactor"):
            assert word not in text or path.name in allowed, (path, word)


def calls(path: Path):
    """The methods that a module calls: name and number of arguments."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node.func.attr, len(node.args) + len(node.keywords)


def calling(method: str, arguments: int, importing: str) -> set[str]:
    """The modules of the service that call such a method, of those that import that name."""
    return {
        name(path).removeprefix("wxgptd/service/")
        for path in ROOT.glob("wxgptd/service/**/*.py")
        if re.search(rf"\b{importing}\b", path.read_text("utf-8"))
        and (method, arguments) in set(calls(path))
    }


def test_state_has_one_door_and_what_follows_has_one_owner():
    # An append has a user, events and a version; no list's has three arguments.
    appending = {
        name(path)
        for path in ROOT.glob("wxgptd/**/*.py")
        if ("append", 3) in set(calls(path)) and "eventlog" not in path.parts
    }
    assert appending == {"wxgptd/service/state/journal.py"}
    assert calling("open", 2, "InFlight") == {"answers/answer_runner.py", "answers/recovery.py"}
    assert calling("land", 2, "InFlight") == {"answers/answer_runner.py"}
    assert calling("start", 3, "InFlight") == {"answers/answer_runner.py"}
    assert calling("start", 2, "Flight") == {"answers/inflight.py"}


VALUES = {
    "Account", "Assistant", "Settings", "Links",  # what is configured
    "Environment",  # what is outside
    "Base", "State", "Answers", "Rooms",  # what the composition root has built
    "Entry", "Attempt",  # what happened
}  # fmt: skip
"""The values of the service that have more than six fields, or stand for collaborators."""


def test_no_value_of_the_service_is_a_bag_in_disguise():
    crowded = set()
    for path in ROOT.glob("wxgptd/service/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                fields = [line for line in node.body if isinstance(line, ast.AnnAssign)]
                if len(fields) > 6:
                    crowded.add(node.name)
    assert crowded <= VALUES, crowded - VALUES


def test_a_new_kind_of_event_is_named_in_four_modules():
    kinds = {kind.__name__ for kind in get_args(Event)}
    naming_all = {
        name(path) for path in SOURCES if kinds <= set(re.findall(r"\w+", path.read_text("utf-8")))
    }
    assert naming_all == {
        "wxgptd/domain/model/events.py",  # what it carries
        "wxgptd/eventlog/codec.py",  # its tag, and what of it is encrypted
        "wxgptd/domain/evolve.py",  # what it does to the state, and its session
        "cli/wxgpt/log/rendering.py",  # its line
    }


def test_a_projection_that_replays_events_keeps_its_state_in_snapshots():
    """Events before the newest snapshot are not replayed: what they did has to be in it."""
    modules = sorted((ROOT / "wxgptd" / "service").rglob("*.py"))
    for module in modules:
        name = ".".join(module.relative_to(ROOT).with_suffix("").parts)
        if "(Projection)" in module.read_text("utf-8"):
            importlib.import_module(name)
    kinds = Projection.__subclasses__()
    assert len(kinds) >= 8
    for kind in kinds:
        restored = {"on_link", "on_user"} & set(vars(kind))
        assert "replays" not in vars(kind) or kind.name or restored, kind
