"""Which limits were reached: logged, counted in a metric, and shown by `status`.

Everything that others can fill has a limit. If users get "too busy", the operator must be able to
find out which limit was reached, and whether it is too low.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twisted.logger import Logger

log = Logger()

RECENT_S = 300.0
"""How long `status` shows that a limit was reached."""

WHAT = {
    "connections": "connection limit reached: raise [server] max_connections",
    "readers": "reader limit reached: a quarter of [server] max_connections is reserved for WeChat",
    "load": "more questions than this machine can answer, so some are turned away",
    "link": "one follower's links are used too often, or by too many readers at once",
    "pages": "page rendering limit reached: more pages are requested than can be rendered",
    "answers": "answer limit reached, further questions are queued: see max_running",
    "pictures": "picture memory limit reached, further questions with pictures are queued",
}


class Fullness:
    """Records limits reached. `seconds` is a monotonic clock, `count` increments a metric."""

    def __init__(self, seconds: Callable[[], float], count: Callable[[str], None]) -> None:
        self._seconds = seconds
        self._count = count
        self._last: dict[str, float] = {}

    def note(self, what: str) -> None:
        """Record that a request was rejected, or has to wait, because `what` is full."""
        self._count(what)
        self._last[what] = self._seconds()
        log.warn("full: {why}", id="overloaded", why=WHAT[what], bounded_as=f"full {what}")

    def recent(self) -> Mapping[str, float]:
        """Return the limits reached recently, and how many seconds ago each was last reached."""
        now = self._seconds()
        return {what: round(now - at, 1) for what, at in self._last.items() if now - at < RECENT_S}
