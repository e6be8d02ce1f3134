"""Detects reactor stalls, to track how long this process has been responsive."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from wxgptd.service.state.event_clock import EventClock

TICK_S = 1.0

MAX_LAG_S = 2.0
"""A tick later than this means that the reactor was blocked."""


class LagMonitor:
    """Ticks once a second while the daemon runs.

    `rejected_s_ago` returns how many seconds ago a connection was rejected because the
    connection limit was reached, or None if that was not recent.
    """

    def __init__(
        self,
        clock: IReactorTime,
        event_clock: EventClock,
        rejected_s_ago: Callable[[], float | None],
    ) -> None:
        self._event_clock = event_clock
        self._rejected_s_ago = rejected_s_ago
        self._responsive_since: float | None = None
        self._last_at = 0.0
        self._loop = LoopingCall(self._tick)
        self._loop.clock = clock

    def begin(self) -> None:
        """Start ticking."""
        self._responsive_since = self._last_at = self._event_clock.now()
        self._loop.start(TICK_S)

    def end(self) -> None:
        """Stop ticking."""
        if self._loop.running:
            self._loop.stop()
        self._responsive_since = None

    def responsive_since(self) -> float | None:
        """Return when connections began to be served promptly, or None if none are served."""
        self._check()
        rejected_s_ago = self._rejected_s_ago()
        if self._responsive_since is None or rejected_s_ago is None:
            return self._responsive_since
        return max(self._responsive_since, self._event_clock.now() - rejected_s_ago)

    def _tick(self) -> None:
        self._check()
        self._last_at = self._event_clock.now()

    def _check(self) -> None:
        now = self._event_clock.now()
        if self._responsive_since is not None and now - self._last_at > TICK_S + MAX_LAG_S:
            self._responsive_since = now
