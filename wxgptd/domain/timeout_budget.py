"""How many deliberate timeouts an account may afford, found out as TCP finds out its window.

An attempt that is left to time out is one more failure of the account in WeChat's eyes. Too many of
them, and WeChat suspends the account: for about a minute it delivers nothing at all, expected
retries included. Where that begins is not published and may differ by account. So the budget
grows while it is used up and WeChat comes again as it should, and shrinks with a suspension.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from wxgptd.domain.values import OpenId

PERIOD_S = 300.0
"""The budget is for five minutes, and judged after as much."""

FIRST_SIZE = 60

SMALLEST_SIZE = 6
"""With fewer, five users could not tell any more whether WeChat comes again."""

OF_CEILING = 0.85
"""What a suspension leaves of the timeouts that led to it."""

BELOW_CEILING = 0.95
"""How near to those the budget may grow again."""

LATELY_S = 7 * 86_400.0
"""How long a suspension is remembered."""

COMES_WITHIN_S = 6.0
"""An attempt is given up just before WeChat hangs up; about 5 s later WeChat has come again."""

SUSPICIOUS_MISSES = 5
SUSPICIOUS_USERS = 3
"""So many attempts that were expected, of so many users: one user's network is not WeChat."""

SHORTEST_SUSPENSION_S = 45.0
LONGEST_SUSPENSION_S = 120.0

TELLING_ARRIVALS = 10.0
"""An account with few users misses few attempts at once; but that so many messages fail to come,
as its traffic has been, is no chance either (1 in 20,000)."""


class Budget(NamedTuple):
    """How many timeouts fit into five minutes.

    `ceiling` is how many led to the last suspension, which was at `suspended_at`; both are 0
    where there was none.
    """

    size: int = FIRST_SIZE
    ceiling: int = 0
    suspended_at: float = 0.0

    def grown(self, at: float) -> Budget:
        """Return the budget after five minutes in which it was used up and all was well."""
        if not self.suspended_at:
            return self._replace(size=2 * self.size)
        size = max(self.size + 1, int(self.size * 1.1))
        if at - self.suspended_at < LATELY_S:
            size = min(size, int(self.ceiling * BELOW_CEILING))
        return self._replace(size=max(size, self.size))

    def suspended(self, timeouts: int, at: float) -> Budget:
        """Return the budget after a suspension that `timeouts` in five minutes led to."""
        size = int(timeouts * OF_CEILING)
        if self.suspended_at and at - self.suspended_at < LATELY_S:
            size = min(size, self.size // 2)
        return Budget(max(size, SMALLEST_SIZE), timeouts, at)


class Expected(NamedTuple):
    """An attempt that WeChat has to make, since one of this user's was left to time out."""

    openid: OpenId
    spent_at: float


def is_suspicious(missing: Sequence[Expected]) -> bool:
    """Tell whether these expected attempts, none of which came, suggest a suspension.

    Nothing else has come either since the first of them was due.
    """
    users = {one.openid for one in missing}
    return len(missing) >= SUSPICIOUS_MISSES and len(users) >= SUSPICIOUS_USERS


def was_suspension(missing: Sequence[Expected], silent_s: float, usual_arrivals: float) -> bool:
    """Tell whether a silence that is over now was a suspension.

    `missing` are the expected attempts that did not come, and `usual_arrivals` is how many messages
    come in `silent_s` otherwise. A network that fails is silent for as long as it likes, WeChat for
    about a minute.
    """
    if not SHORTEST_SUSPENSION_S <= silent_s <= LONGEST_SUSPENSION_S:
        return False
    return is_suspicious(missing) or (bool(missing) and usual_arrivals >= TELLING_ARRIVALS)
