"""The floors, held by import-linter; and what no tool holds."""

from __future__ import annotations

from pathlib import Path

from importlinter.cli import lint_imports

ROOT = Path(__file__).parent.parent
SOURCES = sorted([*ROOT.glob("wxgptd/**/*.py"), *ROOT.glob("cli/**/*.py")])


def test_the_floors_and_contracts_are_kept(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert lint_imports(no_logo=True) == 0, capsys.readouterr().out


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
