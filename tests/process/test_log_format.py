"""The formats of the daemon's own log: for people, for the journal and for machines."""

from __future__ import annotations

import ast
import io
import json
import os
from pathlib import Path

import pytest
from twisted.logger import Logger, LogPublisher
from twisted.python.failure import Failure

import wxgptd
from wxgptd.log_ids import MEANINGS
from wxgptd.process import log_format

LEVELS = ("debug", "info", "warn", "error", "critical", "failure", "emit")


@pytest.fixture
def line_of():
    def write(
        name: str, namespace: str = "wxgptd.events", *, level: str = "info", **more: object
    ) -> str:
        stream = io.StringIO()
        publisher = LogPublisher(log_format.observer(name, stream, {}))
        log = Logger(namespace=namespace, observer=publisher)
        getattr(log, level)(more.pop("form", "{who}: {line}"), **more)
        return stream.getvalue()

    return write


def test_the_text_format_has_a_time_and_a_level(line_of):
    line = line_of("text", who="main/ab12cd34", line="session s1 opened")
    stamp, rest = line.split(" ", 1)
    assert rest == "info: main/ab12cd34: session s1 opened\n"
    assert len(stamp) == len("2026-01-31T08:00:00+0800")


@pytest.mark.parametrize(
    ("level", "priority"), [("info", 6), ("warn", 4), ("error", 3), ("critical", 2)]
)
def test_the_journal_format_has_a_priority_and_no_time(line_of, level, priority):
    assert line_of("journal", level=level, who="a", line="b") == f"<{priority}>a: b\n"


def test_every_line_for_the_journal_has_a_priority(line_of):
    assert line_of("journal", level="error", form="one\ntwo") == "<3>one\n<3>two\n"


def test_the_json_format_includes_the_fields_of_the_message(line_of):
    line = json.loads(line_of("json", level="warn", who="main/ab12cd34", line="现在 allowed"))
    assert line["level"] == "warn"
    assert line["logger"] == "wxgptd.events"
    assert line["message"] == "main/ab12cd34: 现在 allowed"
    assert (line["who"], line["line"]) == ("main/ab12cd34", "现在 allowed")
    assert line["at"].endswith("Z")


def test_a_json_object_is_always_one_line(line_of):
    line = line_of("json", form="{why}", why="one\ntwo\ud83d")
    assert line.count("\n") == 1
    assert json.loads(line)["why"].startswith("one\ntwo")


def test_a_failure_and_its_traceback_are_one_json_object():
    stream = io.StringIO()
    log = Logger(namespace="wxgptd", observer=LogPublisher(log_format.observer("json", stream, {})))
    log.failure("it failed", Failure(ValueError("why")))
    (line,) = stream.getvalue().splitlines()
    assert "ValueError: why" in json.loads(line)["message"]


def test_libraries_log_nothing_below_warning_level(line_of):
    assert line_of("text", "twisted.web", who="a", line="b") == ""
    assert line_of("text", "twisted.web", level="warn", who="a", line="b")


def test_auto_selects_the_journal_format_when_connected_to_the_journal(tmp_path):
    with (tmp_path / "stream").open("w+") as stream:
        status = os.fstat(stream.fileno())
        environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        for given, expected in ((environ, "<6>hello\n"), ({}, "info: hello\n")):
            stream.truncate(0)
            stream.seek(0)
            log = Logger(
                namespace="wxgptd",
                observer=LogPublisher(log_format.observer("auto", stream, given)),
            )
            log.info("hello")
            stream.seek(0)
            assert stream.read().endswith(expected)


def test_a_line_ends_with_the_id_of_its_kind(line_of):
    assert line_of("text", form="ready", id="ready").endswith("info: ready [ready]\n")
    assert line_of("journal", form="ready", id="ready") == "<6>ready [ready]\n"
    assert line_of("journal", form="one\ntwo", id="x") == "<6>one [x]\n<6>two\n"
    assert json.loads(line_of("json", form="ready", id="ready"))["id"] == "ready"
    assert json.loads(line_of("json", form="of a library"))["id"] == ""


def test_every_line_has_an_id_with_a_meaning():
    found = set()
    for path in Path(wxgptd.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            logger = ast.unparse(node.func.value).rpartition(".")[2]
            if logger not in ("log", "_log") or node.func.attr not in LEVELS:
                continue
            given = {keyword.arg: keyword.value for keyword in node.keywords}
            where = f"{path.name}:{node.lineno}"
            assert "id" in given, f"{where}: a line without an id"
            if isinstance(given["id"], ast.Constant):
                found.add(given["id"].value)
                assert given["id"].value in MEANINGS, f"{where}: the id has no meaning"
    assert found == set(MEANINGS), "a meaning without a line"
