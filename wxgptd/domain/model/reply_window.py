"""The rules of WeChat's three attempts, as constants and pure functions.

WeChat delivers a message, waits 5 s, hangs up and delivers it again, three times in all ("Passive
user reply message"). Every attempt but the last is held without a reply, because `success`, an
empty body or an error status would be taken as final; the last one is answered just before WeChat
gives up. Connections and timers are handled elsewhere.

WeChat's timeout starts when it first sends the message, which may be well before this process sees
it: attempts wait in a queue while the daemon starts, or never arrive. The message states when it
was sent (CreateTime), in whole seconds of WeChat's clock.
"""

from __future__ import annotations

from typing import NamedTuple

from wxgptd.domain.model.values import NO_SESSION, DeliveryKey, Reply, SessionId

WECHAT_PATIENCE_S = 5.0
"""How long WeChat waits for a reply before it hangs up."""

HANG_UP_AFTER_S = 8.0
"""A peer that waits longer than this is not WeChat: its connection is closed without a reply."""

LAST_NUMBER = 3
"""WeChat makes this many attempts, then shows its error message."""

WINDOW_S = 15.0
"""How long WeChat waits across all three attempts, counted from the first one."""

CREATE_TIME_UNIT_S = 1.0
"""CreateTime is in whole seconds: a message that seems late by less than this may have arrived
immediately."""

LAST_AFTER_S = 9.0
"""After this an attempt counts as the last, whatever its number: earlier ones may be lost."""


class Open(NamedTuple):
    """No reply has been sent. `question` is the question that the reply will be about, if any.

    `first_at` is when WeChat first sent the message, as far as is known. `session` is the session
    that the message belongs to, if any.
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
"""By now WeChat has made three attempts, or the daemon was down and missed them."""


def delay(at: float, sent_at: int, clock_offset: float) -> float:
    """Return how many seconds before its arrival at `at` WeChat first sent a message.

    `sent_at` is its CreateTime, or 0. `clock_offset` is how far our clock is ahead of WeChat's. It
    was learned from whole seconds too, so the true offset may be up to one second smaller, and a
    late message is assumed to be later by that much; but a clock that seems less than a second
    ahead is taken to be right. An implausible CreateTime is ignored and the message counts as just
    sent: 0 is returned.
    """
    apparent = at - sent_at - clock_offset
    if not CREATE_TIME_UNIT_S <= apparent < WINDOW_S:
        return 0.0
    is_right = 0.0 <= clock_offset < CREATE_TIME_UNIT_S
    return apparent + (clock_offset if is_right else CREATE_TIME_UNIT_S)


def patience(window: Window, at: float, *, last: bool) -> float:
    """Return how many more seconds WeChat waits for a reply to the attempt that arrived at `at`.

    The `last` attempt may have waited in a queue before it was seen.
    """
    if not last:
        return WECHAT_PATIENCE_S
    return min(WECHAT_PATIENCE_S, window.first_at + WINDOW_S - at)


def time_left(window: Window, at: float, *, may_wait: bool) -> float:
    """Return how many seconds after `at` WeChat keeps waiting for the reply of `window`.

    If `may_wait`, this includes attempts still to come; otherwise it ends with the newest one.
    """
    patience_s = WINDOW_S if may_wait else WECHAT_PATIENCE_S * window.attempts
    return window.first_at + min(patience_s, WINDOW_S) - at


def is_last(window: Window, at: float) -> bool:
    """Return whether the newest attempt of `window`, arriving at `at`, is WeChat's last."""
    return window.attempts >= LAST_NUMBER or at - window.first_at >= LAST_AFTER_S


def still_answers(window: Settled, at: float, settled_for_s: float) -> bool:
    """Return whether an attempt at `at` may still get the settled reply."""
    return at - window.settled_at <= settled_for_s


def is_over(window: Window, at: float) -> bool:
    """Return whether `window` is settled, or too old for WeChat to accept a reply."""
    return isinstance(window, Settled) or at - window.first_at > OVER_AFTER_S
