"""The rules of WeChat's three attempts, as numbers and two questions about them.

WeChat delivers a message, waits 5 s, hangs up and delivers it again, three times in all
("Passive user reply message"). An attempt that is not the last is held in silence, because
`success`, an empty body or an error status would be taken as final; the last one is answered
just before WeChat gives up. Who holds connections and timers is none of this module's business.
"""

from __future__ import annotations

from typing import NamedTuple

from wxgptd.domain.values import DeliveryKey, Reply

WECHAT_PATIENCE_S = 5.0
"""How long WeChat waits for a reply before it hangs up."""

HANG_UP_AFTER_S = 8.0
"""A peer that waits longer than this is not WeChat: its connection is closed, no byte sent."""

LAST_NUMBER = 3
"""WeChat asks this often, and then shows its fault text."""

LAST_AFTER_S = 9.0
"""From here on an attempt is the last whatever its number: one may never have reached us."""


class Open(NamedTuple):
    """Nothing has been said yet. `question` is what the reply will be about, if anything."""

    first_at: float
    attempts: int
    question: DeliveryKey


class Settled(NamedTuple):
    """The reply is decided; later attempts get the same one."""

    first_at: float
    attempts: int
    reply: Reply
    settled_at: float


Window = Open | Settled

OVER_AFTER_S = 20.0
"""By now WeChat has asked three times, or the daemon was away and missed it."""


def is_last(window: Window, at: float) -> bool:
    """Tell whether the newest attempt of `window`, arriving at `at`, is WeChat's last."""
    return window.attempts >= LAST_NUMBER or at - window.first_at >= LAST_AFTER_S


def still_answers(window: Settled, at: float, settled_for_s: float) -> bool:
    """Tell whether an attempt at `at` may still get the settled reply."""
    return at - window.settled_at <= settled_for_s


def is_over(window: Window, at: float) -> bool:
    """Tell whether nobody will come for the reply of `window` any more."""
    return isinstance(window, Settled) or at - window.first_at > OVER_AFTER_S
