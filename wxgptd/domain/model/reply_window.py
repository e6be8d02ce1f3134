"""The rules of WeChat's three attempts, as numbers and two questions about them.

WeChat delivers a message, waits 5 s, hangs up and delivers it again, three times in all
("Passive user reply message"). An attempt that is not the last is held in silence, because
`success`, an empty body or an error status would be taken as final; the last one is answered
just before WeChat gives up. Who holds connections and timers is none of this module's business.

WeChat's time runs from when it first sent the message, which may be well before this process saw
it: attempts wait in a queue while the daemon starts, or never arrive. The message says when it was
sent (CreateTime), in whole seconds of WeChat's clock.
"""

from __future__ import annotations

from typing import NamedTuple

from wxgptd.domain.model.values import NO_SESSION, DeliveryKey, Reply, SessionId

WECHAT_PATIENCE_S = 5.0
"""How long WeChat waits for a reply before it hangs up."""

HANG_UP_AFTER_S = 8.0
"""A peer that waits longer than this is not WeChat: its connection is closed, no byte sent."""

LAST_NUMBER = 3
"""WeChat asks this often, and then shows its fault text."""

WINDOW_S = 15.0
"""How long WeChat waits in all three attempts, from the first sending."""

CREATE_TIME_UNIT_S = 1.0
"""CreateTime has whole seconds: what seems to be late by less than this may have come at once."""

LAST_AFTER_S = 9.0
"""From here on an attempt is the last whatever its number: one may never have reached us."""


class Open(NamedTuple):
    """Nothing has been said yet. `question` is what the reply will be about, if anything.

    `first_at` is when WeChat sent the message for the first time, as far as is known. `session` is
    the one that the message belongs to, if any.
    """

    first_at: float
    attempts: int
    question: DeliveryKey
    session: SessionId = NO_SESSION


class Settled(NamedTuple):
    """The reply is decided; later attempts get the same one."""

    first_at: float
    attempts: int
    reply: Reply
    settled_at: float
    session: SessionId = NO_SESSION


Window = Open | Settled

OVER_AFTER_S = 20.0
"""By now WeChat has asked three times, or the daemon was away and missed it."""


def delay(at: float, sent_at: int, clock_offset: float) -> float:
    """Return how many seconds before its arrival at `at` WeChat first sent a message.

    `sent_at` is its CreateTime, or 0. `clock_offset` is by how much our clock is ahead of WeChat's;
    it was learned from whole seconds, too, and may be less by one, so a late message is taken to be
    later by that. A CreateTime that cannot be right is no evidence, and the arrival counts: 0 is
    returned.
    """
    apparent = at - sent_at - clock_offset
    if CREATE_TIME_UNIT_S <= apparent < WINDOW_S:
        return apparent + min(clock_offset, CREATE_TIME_UNIT_S)
    return 0.0


def patience(window: Window, at: float, *, last: bool) -> float:
    """Return for how many seconds WeChat still waits for a reply to the attempt of `at`.

    The `last` one may have waited in a queue before it was seen.
    """
    if not last:
        return WECHAT_PATIENCE_S
    return min(WECHAT_PATIENCE_S, window.first_at + WINDOW_S - at)


def time_left(window: Window, at: float, *, may_wait: bool) -> float:
    """Return how many seconds from `at` on WeChat will wait for the reply of `window`.

    In all its attempts, or only in the newest where the others may not be waited for.
    """
    patience_s = WINDOW_S if may_wait else WECHAT_PATIENCE_S * window.attempts
    return window.first_at + min(patience_s, WINDOW_S) - at


def is_last(window: Window, at: float) -> bool:
    """Tell whether the newest attempt of `window`, arriving at `at`, is WeChat's last."""
    return window.attempts >= LAST_NUMBER or at - window.first_at >= LAST_AFTER_S


def still_answers(window: Settled, at: float, settled_for_s: float) -> bool:
    """Tell whether an attempt at `at` may still get the settled reply."""
    return at - window.settled_at <= settled_for_s


def is_over(window: Window, at: float) -> bool:
    """Tell whether nobody will come for the reply of `window` any more."""
    return isinstance(window, Settled) or at - window.first_at > OVER_AFTER_S
