"""The clock that stamps events.

It starts at the wall clock's time and then follows the monotonic clock: setting the wall clock
forward or back while the daemon runs ends no session and settles no window. A restart reads the
wall clock again.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from twisted.internet.interfaces import IReactorTime


class EventClock:
    """Seconds since the epoch that never jump.

    `clock` is the monotonic clock that it follows, for setting timers.
    """

    def __init__(self, clock: IReactorTime, wall: Callable[[], float]) -> None:
        self.clock = clock
        self._offset = wall() - clock.seconds()
        self._day = (0.0, 0.0)

    def now(self) -> float:
        """Return the time, in seconds since the epoch."""
        return self._offset + self.clock.seconds()

    def day(self) -> tuple[float, float]:
        """Return when today began and when it ends, in the daemon's time zone."""
        now = self.now()
        if not self._day[0] <= now < self._day[1]:
            today = datetime.fromtimestamp(now).replace(hour=0, minute=0, second=0, microsecond=0)
            self._day = today.timestamp(), (today + timedelta(days=1)).timestamp()
        return self._day
