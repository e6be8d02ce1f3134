"""How often the links of one owner may be used, and by how many readers at once.

Links fall into the wrong hands, and a follower has many of them. All links of one owner share an
allowance for each kind of request: a burst, and the rate at which it refills. A link posted in a
group of five hundred people is opened eight times a second, well below the limit; a script that
keeps reloading a page exceeds it.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

from twisted.internet.interfaces import IReactorTime


class Allowance(NamedTuple):
    """`burst` requests at once, plus `per_s` more each second."""

    burst: float
    per_s: float


ANSWER = Allowance(200, 20)
LIVE = Allowance(1_000, 100)
"""Streams and polls; a reader without server-sent events polls three times a second."""

HISTORY = Allowance(20, 1)
SEARCH = Allowance(6, 0.5)
DOWNLOAD = Allowance(4, 0.1)
CHANGE = Allowance(10, 0.2)
"""Changes made from a page: erasing."""

WRITE = Allowance(60, 1)
"""What is written on pages: questions, ratings, a sign of life a minute."""

MAX_READERS = 1_000
"""How many readers may follow one answer at once."""

MAX_OWNERS = 20_000
"""How many buckets are remembered; a forgotten bucket starts full again."""


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


class LinkLimits:
    """The allowances of the owners whose links were used recently."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._buckets: OrderedDict[tuple[str, Allowance], _Bucket] = OrderedDict()

    def admit(self, owner: str, allowance: Allowance) -> int:
        """Use up one request; return 0, or how many seconds to wait if none is left."""
        now = self._clock.seconds()
        key = owner, allowance
        bucket = self._buckets.pop(key, None) or _Bucket(allowance.burst, now)
        bucket.left = min(allowance.burst, bucket.left + (now - bucket.at) * allowance.per_s)
        bucket.at = now
        self._buckets[key] = bucket
        if len(self._buckets) > MAX_OWNERS:
            self._buckets.popitem(last=False)
        if bucket.left >= 1:
            bucket.left -= 1
            return 0
        return ceil((1 - bucket.left) / allowance.per_s)
