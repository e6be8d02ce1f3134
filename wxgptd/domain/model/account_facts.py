"""Facts about an account, or about the log itself: events that belong to no user."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TailTrimmed:
    """At startup `size` bytes at `offset` of a segment were trimmed: a torn tail left by a crash.

    None of the events in it was ever acknowledged. The event belongs to the log itself, not to a
    user.
    """

    at: float
    segment: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class TimeoutBudgetSet:
    """From now on the account lets WeChat time out at most `size` times in five minutes.

    `timeouts` is the number that led to a suspension that had just ended, or 0 if there was none;
    `ceiling` is that number for the latest suspension. Recorded for the account, not for a user.
    """

    at: float
    size: int
    ceiling: int
    timeouts: int


@dataclass(frozen=True, slots=True)
class MessagesUnanswered:
    """`count` messages have gone unanswered since the last such event: no session, no rule.

    Recorded for the account, not for a user, and without any message text.
    """

    at: float
    count: int


AccountFact = TailTrimmed | TimeoutBudgetSet | MessagesUnanswered
"""No user's state can contradict them."""
