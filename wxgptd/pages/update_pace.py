"""How often the pages of answers in progress are updated: as often as the CPU allows.

An update costs rendering and sending, for every answer that is being read and every reader. While
there is room, updates are frequent enough to look continuous: pages may use what everything else
leaves of most of a core. When the webhook is busy or there are too many readers, updates become
rarer, down to a quarter of a core for all pages; beyond the longest interval, being late would be
worse than being busy.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from twisted.internet.interfaces import IReactorTime

SHORTEST_S = 0.05
LONGEST_S = 3.0

CPU_SHARE = 0.25
"""Of one core, for the updates of all pages, however busy the rest is."""

CPU_LIMIT = 0.8
"""Of one core, for the whole process: pages may use what is left of it."""

REVIEW_S = 0.25
LARGEST_STEP = 1.5
SMALLEST_STEP = 0.6
"""By how much the interval changes in one review: quickly up, slowly down."""


class UpdatePace:
    """The interval between updates.

    `cpu_s` returns the CPU time that the calling thread has used, `process_s` that of the process.
    """

    def __init__(
        self,
        clock: IReactorTime,
        cpu_s: Callable[[], float] = time.thread_time,
        process_s: Callable[[], float] = time.process_time,
    ) -> None:
        self.clock = clock
        self.cpu_s = cpu_s
        self._process_s = process_s
        self.interval_s = SHORTEST_S
        self._spent_s = 0.0
        self._since: float | None = None
        self._process_since_s = 0.0

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
            self._begin(now)
            return
        self._spent_s += seconds
        passed_s = now - self._since
        if passed_s >= REVIEW_S:
            load = self._spent_s / passed_s / self._share(passed_s)
            step = min(max(load, SMALLEST_STEP), LARGEST_STEP)
            self.interval_s = min(max(self.interval_s * step, SHORTEST_S), LONGEST_S)
            self._begin(now)

    def _begin(self, now: float) -> None:
        self._spent_s, self._since = 0.0, now
        self._process_since_s = self._process_s()

    def _share(self, passed_s: float) -> float:
        """Return the share of a core that pages may use."""
        others_s = self._process_s() - self._process_since_s - self._spent_s
        return max(CPU_SHARE, CPU_LIMIT - others_s / passed_s)
