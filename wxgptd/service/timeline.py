"""The time that events are stamped with.

It starts at the wall clock's reading and goes on with the monotonic clock: a wall clock that is
set forward or back while the daemon runs ends no session and settles no window. A restart takes
the new reading.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime


class Timeline:
    """Seconds since the epoch that never jump."""

    def __init__(self, clock: IReactorTime, wall: Callable[[], float]) -> None:
        self._clock = clock
        self._offset = wall() - clock.seconds()

    def now(self) -> float:
        """Return the time, in seconds since the epoch."""
        return self._offset + self._clock.seconds()
