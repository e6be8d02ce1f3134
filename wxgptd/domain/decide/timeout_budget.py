"""How many deliberate timeouts an account can afford, probed like a TCP congestion window.

WeChat counts each attempt that is left to time out as a failure of the account. After too many of
them it suspends the account: for about a minute it delivers nothing at all, not even expected
retries. The threshold is not published and may differ by account. So the budget grows when it is
used up and WeChat still retries as expected, and shrinks after a suspension.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from wxgptd.domain.model.values import OpenId

PERIOD_S = 300.0
"""The period that the budget covers, and after which it is reviewed."""

INITIAL_SIZE = 60

MIN_SIZE = 6
"""Below this a suspension could not be detected: that takes SUSPICIOUS_MISSES missing retries."""

BACKOFF_FACTOR = 0.85
"""After a suspension the budget is this share of the timeouts that caused it."""

REGROWTH_LIMIT = 0.95
"""The budget may regrow to this share of the ceiling during SUSPENSION_MEMORY_S."""

SUSPENSION_MEMORY_S = 7 * 86_400.0
"""How long after a suspension regrowth is limited, and another one halves the budget."""

RETRY_WITHIN_S = 6.0
"""A timeout is counted just before WeChat hangs up. According to reports, the retry follows at once
or within 5 s."""

SUSPICIOUS_MISSES = 5
SUSPICIOUS_USERS = 3
"""This many retries must be missing, from this many users: one user's retries prove nothing."""

SHORTEST_SUSPENSION_S = 45.0
LONGEST_SUSPENSION_S = 120.0

CONCLUSIVE_ARRIVALS = 10.0
"""A quiet account rarely misses five retries at once. If its usual traffic predicts this many
messages and none arrives, chance is ruled out (Poisson: e^-10, 1 in 22,000)."""

PLAUSIBLE_TIMEOUTS = 20
"""No suspension has been observed after fewer timeouts than this in five minutes. At least this
many are required if traffic is the only evidence, or for a ceiling to limit regrowth."""

TOLERATED_LOSS = 0.1
"""Share of the expected retries that may be missing while WeChat still counts as healthy."""


class Budget(NamedTuple):
    """The maximum number of timeouts in five minutes.

    `ceiling` is the number that caused the last suspension, which ended at `suspended_at`; both are
    0 if there was none.
    """

    size: int = INITIAL_SIZE
    ceiling: int = 0
    suspended_at: float = 0.0

    def after_growth(self, at: float) -> Budget:
        """Return the budget after a period in which it was used up and WeChat stayed healthy."""
        if not self.suspended_at:
            return self._replace(size=2 * self.size)
        size = max(self.size + 1, int(self.size * 1.1))
        limited = self.ceiling >= PLAUSIBLE_TIMEOUTS
        if limited and at - self.suspended_at < SUSPENSION_MEMORY_S:
            size = min(size, int(self.ceiling * REGROWTH_LIMIT))
        return self._replace(size=max(size, self.size))

    def after_suspension(self, timeouts: int, at: float) -> Budget:
        """Return the budget after a suspension that `timeouts` timeouts in five minutes caused."""
        size = int(timeouts * BACKOFF_FACTOR)
        if self.suspended_at and at - self.suspended_at < SUSPENSION_MEMORY_S:
            size = min(size, self.size // 2)
        return Budget(max(size, MIN_SIZE), timeouts, at)


class ExpectedRetry(NamedTuple):
    """A retry that WeChat is expected to make because this user's attempt timed out."""

    openid: OpenId
    spent_at: float


def is_well(came: int, missed: int) -> bool:
    """Return whether WeChat retried as expected: `came` retries arrived, `missed` did not."""
    return came > 0 and missed <= TOLERATED_LOSS * (came + missed)


def is_suspicious(missing: Sequence[ExpectedRetry]) -> bool:
    """Return whether these missing retries suggest a suspension.

    This assumes that nothing else has arrived since the first of them was due.
    """
    users = {retry.openid for retry in missing}
    return len(missing) >= SUSPICIOUS_MISSES and len(users) >= SUSPICIOUS_USERS


def was_suspension(
    missing: Sequence[ExpectedRetry], silent_s: float, usual_arrivals: float, timeouts: int
) -> bool:
    """Return whether a silence that has just ended was a suspension.

    `missing` holds the retries that did not arrive, `usual_arrivals` is the number of messages that
    usually arrive in `silent_s`, and `timeouts` the number of timeouts in the five minutes before.
    A network failure can last any length of time, a suspension about a minute.
    """
    if not SHORTEST_SUSPENSION_S <= silent_s <= LONGEST_SUSPENSION_S:
        return False
    by_traffic = usual_arrivals >= CONCLUSIVE_ARRIVALS and timeouts >= PLAUSIBLE_TIMEOUTS
    return is_suspicious(missing) or (bool(missing) and by_traffic)
