from __future__ import annotations

import signal

import pytest
from twisted.logger import LogEvent, eventAsText, globalLogPublisher


@pytest.fixture(autouse=True, scope="session")
def _signals_as_in_a_terminal():
    """Undo what `nohup` and a shell's `&` leave ignored: it would be for every process we start."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def logged():
    """What our own loggers said, line by line."""
    events: list[LogEvent] = []

    def keep(event: LogEvent) -> None:
        if str(event.get("log_namespace", "")).startswith("wxgptd"):
            events.append(event)

    globalLogPublisher.addObserver(keep)
    yield lambda: [eventAsText(event, includeTimestamp=False) for event in events]
    globalLogPublisher.removeObserver(keep)
