"""What the daemon's own log looks like, for people, for the journal and for machines."""

from __future__ import annotations

import io
import json
import os

import pytest
from twisted.logger import Logger, LogPublisher
from twisted.python.failure import Failure

from wxgptd.process import log_format


@pytest.fixture
def said():
    def say(
        name: str, namespace: str = "wxgptd.events", *, level: str = "info", **more: object
    ) -> str:
        stream = io.StringIO()
        publisher = LogPublisher(log_format.observer(name, stream, {}))
        log = Logger(namespace=namespace, observer=publisher)
        getattr(log, level)(more.pop("form", "{who}: {line}"), **more)
        return stream.getvalue()

    return say


def test_people_read_a_time_and_a_level(said):
    line = said("text", who="main/ab12cd34", line="session s1 opened")
    stamp, rest = line.split(" ", 1)
    assert rest == "info: main/ab12cd34: session s1 opened\n"
    assert len(stamp) == len("2026-01-31T08:00:00+0800")


@pytest.mark.parametrize(
    ("level", "priority"), [("info", 6), ("warn", 4), ("error", 3), ("critical", 2)]
)
def test_the_journal_reads_a_priority_and_has_its_own_clock(said, level, priority):
    assert said("journal", level=level, who="a", line="b") == f"<{priority}>a: b\n"


def test_each_line_of_what_the_journal_reads_has_its_priority(said):
    assert said("journal", level="error", form="one\ntwo") == "<3>one\n<3>two\n"


def test_machines_read_an_object_with_what_the_line_is_made_of(said):
    line = json.loads(said("json", level="warn", who="main/ab12cd34", line="现在 allowed"))
    assert line["level"] == "warn"
    assert line["logger"] == "wxgptd.events"
    assert line["message"] == "main/ab12cd34: 现在 allowed"
    assert (line["who"], line["line"]) == ("main/ab12cd34", "现在 allowed")
    assert line["at"].endswith("Z")


def test_an_object_is_one_line_whatever_is_in_it(said):
    line = said("json", form="{why}", why="one\ntwo\ud83d")
    assert line.count("\n") == 1
    assert json.loads(line)["why"].startswith("one\ntwo")


def test_a_failure_is_told_with_its_traceback_in_one_object():
    stream = io.StringIO()
    log = Logger(namespace="wxgptd", observer=LogPublisher(log_format.observer("json", stream, {})))
    log.failure("it failed", Failure(ValueError("why")))
    (line,) = stream.getvalue().splitlines()
    assert "ValueError: why" in json.loads(line)["message"]


def test_of_libraries_only_warnings_are_told(said):
    assert said("text", "twisted.web", who="a", line="b") == ""
    assert said("text", "twisted.web", level="warn", who="a", line="b")


def test_auto_is_the_journal_s_format_where_that_is_connected(tmp_path):
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
