"""A histogram of durations, written by one thread and read by any."""

from __future__ import annotations

from bisect import bisect_left

from wxgptd.ports.record import SYNC_BOUNDS_S


class Durations:
    """Counts durations in the buckets of `SYNC_BOUNDS_S`, and beyond the last."""

    def __init__(self) -> None:
        self._buckets = [0] * (len(SYNC_BOUNDS_S) + 1)
        self.sum_s = 0.0

    def add(self, seconds: float) -> None:
        """Count a duration."""
        self._buckets[bisect_left(SYNC_BOUNDS_S, seconds)] += 1
        self.sum_s += seconds

    @property
    def buckets(self) -> tuple[int, ...]:
        """The number of durations in each bucket."""
        return tuple(self._buckets)
