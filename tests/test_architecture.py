"""The import contracts, checked by import-linter, and rules that no tool checks."""

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


@pytest.mark.processes  # zope.interface confuses import-linter in a process that imported Twisted
def test_the_import_contracts_are_kept():
    command = [Path(sys.executable).parent / "lint-imports"]
    completed = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert completed.returncode == 0, completed.stdout


def test_every_module_has_a_docstring():
    for path in SOURCES:
        first = path.read_text("utf-8").lstrip()
        assert first.startswith(('"""', 'r"""')), path


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def functions():
    """Yield every function and method with its module."""
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
    """More parameters mean that a value object is missing."""
    crowded = []
    for path, function in functions():
        if function.name == "__init__":
            args = function.args
            count = len(args.posonlyargs + args.args + args.kwonlyargs) - 1
            if count > 6:
                crowded.append((name(path), count))
    assert crowded == []


def test_every_use_of_any_has_a_reason():
    unexplained = []
    for path in SOURCES:
        if name(path) == "wxgptd/untyped.py":
            continue
        lines = path.read_text("utf-8").splitlines()
        for number, line in enumerate(lines):
            code, _, comment = line.partition("#")
            if not re.search(r"\bAny\b", code) or "import" in code:
                continue
            above = lines[number - 1].strip()
            reason = comment or (above if above.startswith("# Any:") else "")
            if not re.search(r"Any: \w|noqa: ANN401 \(\w", reason):
                unexplained.append(f"{name(path)}:{number + 1}")
    assert unexplained == []


def test_no_module_reads_the_clock_or_imports_the_reactor_itself():
    allowed = {"main.py", "reactor.py", "segments.py"}
    for path in SOURCES:
        if path.is_relative_to(ROOT / "cli"):
            continue
        text = path.read_text("utf-8")
        for word in ("time.time()", "datetime.now(", "from twisted.internet import reactor"):
            assert word not in text or path.name in allowed, (path, word)


def calls(path: Path):
    """Yield the name and the number of arguments of each method call in a module."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node.func.attr, len(node.args) + len(node.keywords)


def modules_calling(method: str, arguments: int, importing: str) -> set[str]:
    """Return the service modules that mention `importing` and call such a method."""
    return {
        name(path).removeprefix("wxgptd/service/")
        for path in ROOT.glob("wxgptd/service/**/*.py")
        if re.search(rf"\b{importing}\b", path.read_text("utf-8"))
        and (method, arguments) in set(calls(path))
    }


def test_appends_and_flights_each_have_one_owner():
    # Three arguments (user, events, version) distinguish an append to the log from list.append.
    appending = {
        name(path)
        for path in ROOT.glob("wxgptd/**/*.py")
        if ("append", 3) in set(calls(path)) and "eventlog" not in path.parts
    }
    assert appending == {"wxgptd/service/state/journal.py"}
    assert modules_calling("open", 2, "InFlight") == {
        "answers/answer_runner.py",
        "answers/mirroring.py",  # while another node answers
        "answers/recovery.py",
    }
    assert modules_calling("land", 2, "InFlight") == {
        "answers/answer_runner.py",
        "answers/mirroring.py",
    }
    assert modules_calling("start", 3, "InFlight") == {"answers/answer_runner.py"}
    assert modules_calling("start", 2, "Flight") == {"answers/inflight.py"}


VALUES = {
    "Account", "Assistant", "Settings", "Links",  # configuration
    "Environment",  # outside the daemon
    "Base", "State", "Answers", "Rooms",  # built by the composition root
    "Entry", "Attempt",  # what happened
}  # fmt: skip
"""Value classes of the service that may have more than six fields, or hold collaborators."""


def test_no_service_class_has_more_than_six_fields_unless_listed():
    crowded = set()
    for path in ROOT.glob("wxgptd/service/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                fields = [line for line in node.body if isinstance(line, ast.AnnAssign)]
                if len(fields) > 6:
                    crowded.add(node.name)
    assert crowded <= VALUES, crowded - VALUES


def test_four_modules_name_every_kind_of_event():
    kinds = {kind.__name__ for kind in get_args(Event)}
    naming_all = {
        name(path) for path in SOURCES if kinds <= set(re.findall(r"\w+", path.read_text("utf-8")))
    }
    assert naming_all == {
        "wxgptd/domain/model/events.py",  # its fields
        "wxgptd/eventlog/codec.py",  # its tag, and which fields are encrypted
        "wxgptd/domain/evolve.py",  # its effect on the state, and its session
        "cli/wxgpt/log/rendering.py",  # its line of output
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
