"""Limit what outsiders can write to the log: one line of each kind every 10 s, with a count.

Forged posts and bad requests cost their sender nothing, and at full speed a line for each would
fill a disk in a day. A log line that an outsider can trigger names its kind (`bounded_as`). The
first line of a kind is written; those of the next 10 s are counted, and then the count is written.
Failures inside libraries are limited by their type, since outsiders may be able to trigger them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, eventAsText
from zope.interface import implementer

PERIOD_S = 10.0


@dataclass(slots=True)
class _Repeated:
    """The lines of one kind suppressed since the first, which was written."""

    until: float
    count: int = 0
    last: LogEvent | None = None


@implementer(ILogObserver)
class LineLimit:
    """Passes events on to `observer`, except those that are only counted.

    It sets no timer because threads may log: call `flush` often. `seconds` is a monotonic clock.
    """

    def __init__(self, observer: ILogObserver, seconds: Callable[[], float]) -> None:
        self._observer = observer
        self._seconds = seconds
        self._lock = threading.Lock()
        self._kinds: dict[str, _Repeated] = {}
        self._log = Logger(namespace="wxgptd", observer=observer)

    def __call__(self, event: LogEvent) -> None:
        kind = _kind(event)
        if kind:
            self.flush()
            with self._lock:
                repeated = self._kinds.get(kind)
                if repeated is not None:
                    repeated.count += 1
                    repeated.last = event
                    return
                self._kinds[kind] = _Repeated(self._seconds() + PERIOD_S)
        self._observer(event)

    def flush(self, *, everything: bool = False) -> None:
        """Write the counts that are due, or all of them."""
        now = self._seconds()
        with self._lock:
            due = [k for k, r in self._kinds.items() if everything or r.until <= now]
            ended = [self._kinds.pop(kind) for kind in due]
        for repeated in ended:
            if repeated.last is not None:
                self._write_count(repeated)

    def _write_count(self, repeated: _Repeated) -> None:
        last = repeated.last
        assert last is not None
        self._log.emit(
            last.get("log_level", LogLevel.warn),
            "{count} more like this suppressed in {seconds:g} s, last: {text}",
            id="suppressed",
            count=repeated.count,
            seconds=PERIOD_S,
            text=eventAsText(
                last, includeTimestamp=False, includeSystem=False, includeTraceback=False
            ),
        )


def _kind(event: LogEvent) -> str:
    """Return the kind by which an event is limited, or "" if it is not limited."""
    kind = str(event.get("bounded_as", ""))
    failure = event.get("log_failure")
    if kind or failure is None or str(event.get("log_namespace", "")).startswith("wxgptd"):
        return kind
    return f"{event.get('log_namespace')}: {failure.type.__qualname__}"
