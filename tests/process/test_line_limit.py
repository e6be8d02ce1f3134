"""The limit on log lines that outsiders can trigger."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock
from twisted.logger import Logger, eventAsText

from wxgptd.process.line_limit import PERIOD_S, LineLimit


class Lines:
    def __init__(self) -> None:
        self.clock = Clock()
        self.written: list[str] = []
        self.limit = LineLimit(
            lambda event: self.written.append(
                eventAsText(event, includeTimestamp=False, includeSystem=False)
            ),
            self.clock.seconds,
        )
        self.log = Logger(namespace="wxgptd.test", observer=self.limit)

    def after(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.limit.flush()


@pytest.fixture
def lines():
    return Lines()


def test_only_the_first_line_of_a_kind_is_written_and_the_rest_are_counted(lines):
    for number in range(1_000):
        lines.log.warn("refused {number}", number=number, bounded_as="refused")
    assert lines.written == ["refused 0"]
    lines.after(PERIOD_S)
    assert lines.written[1:] == ["999 more like this suppressed in 10 s, last: refused 999"]


def test_a_line_is_written_again_after_the_period(lines):
    lines.log.warn("refused", bounded_as="refused")
    lines.after(PERIOD_S)
    lines.log.warn("refused", bounded_as="refused")
    assert lines.written == ["refused", "refused"]


def test_kinds_are_limited_separately(lines):
    for kind in ("forged", "malformed"):
        lines.log.warn("{kind}", kind=kind, bounded_as=kind)
    assert lines.written == ["forged", "malformed"]


def test_a_line_without_a_kind_is_always_written(lines):
    for _ in range(3):
        lines.log.error("the disk is full")
    assert len(lines.written) == 3


def test_failures_in_a_library_are_limited_by_type(lines):
    library = Logger(namespace="twisted.web", observer=lines.limit)
    for _ in range(5):
        try:
            b"\xff".decode()
        except UnicodeDecodeError:
            library.failure("")
    assert len(lines.written) == 1
    lines.after(PERIOD_S)
    assert len(lines.written) == 2
    assert "Traceback" not in lines.written[1]


def test_a_final_flush_writes_all_counts(lines):
    lines.log.warn("refused", bounded_as="refused")
    lines.log.warn("refused", bounded_as="refused")
    lines.limit.flush(everything=True)
    assert lines.written[1].startswith("1 more like this suppressed in")
