"""How often the pages of answers in progress are updated: as often as the CPU allows.

An update costs rendering and sending, for every answer that is being read and every reader. While
all of that together takes less than a quarter of a core, updates are frequent enough to look
continuous. With more readers they become rarer, so that the webhook keeps most of the CPU; beyond
the longest interval, being late would be worse than being busy.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from twisted.internet.interfaces import IReactorTime

SHORTEST_S = 0.05
LONGEST_S = 0.7

CPU_SHARE = 0.25
"""Of one core, for the updates of all pages."""

REVIEW_S = 0.25
LARGEST_STEP = 3.0
SMALLEST_STEP = 0.8
"""By how much the interval changes in one review: quickly up, slowly down."""


class UpdatePace:
    """The interval between updates. `cpu_s` returns the CPU time that the calling thread used."""

    def __init__(self, clock: IReactorTime, cpu_s: Callable[[], float] = time.thread_time) -> None:
        self.clock = clock
        self.cpu_s = cpu_s
        self.interval_s = SHORTEST_S
        self._spent_s = 0.0
        self._since: float | None = None

    @contextmanager
    def spending(self) -> Iterator[None]:
        """Count the CPU time of the block, which must not wait for anything."""
        began = self.cpu_s()
        yield
        self.spent(self.cpu_s() - began)

    def spent(self, seconds: float) -> None:
        """Note that updates took so much CPU time."""
        now = self.clock.seconds()
        if self._since is None:
            self._since = now
        self._spent_s += seconds
        passed_s = now - self._since
        if passed_s >= REVIEW_S:
            load = self._spent_s / passed_s / CPU_SHARE
            step = min(max(load, SMALLEST_STEP), LARGEST_STEP)
            self.interval_s = min(max(self.interval_s * step, SHORTEST_S), LONGEST_S)
            self._spent_s, self._since = 0.0, now
