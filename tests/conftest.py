from __future__ import annotations

import pytest
from twisted.logger import LogEvent, eventAsText, globalLogPublisher


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
