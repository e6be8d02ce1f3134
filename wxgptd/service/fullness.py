"""What is full: said once in the log, counted in a metric, shown by `status`.

Everything that others can fill has a bound. An operator whose users read "too busy" has to find out
which bound that was, and whether it is too low.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twisted.logger import Logger

log = Logger()

RECENT_S = 300.0
"""How long `status` shows what was full."""

WHAT = {
    "connections": "as many connections are open as may be: [server] max_connections",
    "readers": "as many connections read pages as may: some are kept for WeChat",
    "link": "a link is used too often, or by too many at once",
    "pages": "more pages are asked for than can be rendered",
    "answers": "as many answers are being written as may be",
    "pictures": "as many pictures are in memory as may be",
}


class Fullness:
    """Notes what is full. `seconds` is a monotonic clock, `count` counts in a metric."""

    def __init__(self, seconds: Callable[[], float], count: Callable[[str], None]) -> None:
        self._seconds = seconds
        self._count = count
        self._last: dict[str, float] = {}

    def note(self, what: str) -> None:
        """Note that somebody was refused, or has to wait, because `what` is full."""
        self._count(what)
        self._last[what] = self._seconds()
        log.warn("full: {why}", why=WHAT[what], bounded_as=f"full {what}")

    def recent(self) -> Mapping[str, float]:
        """Return what was full lately, and how many seconds ago that was last."""
        now = self._seconds()
        return {what: round(now - at, 1) for what, at in self._last.items() if now - at < RECENT_S}
