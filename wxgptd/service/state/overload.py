"""Whether more arrives than this process can handle.

A question costs far more than the sentence that turns it away. Once work queues up, every message
waits, WeChat gives up on it and sends it again, and soon only messages that have already failed are
worked on. So new questions are turned away when a queue *persists*. A burst is no such queue; after
an overload, the next one is noticed sooner (as in "Controlling Queue Delay", K. Nichols and
V. Jacobson, 2012).

The queue itself is out of sight, in the kernel and in the connections that it has not accepted. But
as long as there is one, each of the reactor's turns finds something to do.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

IDLE_TURN_S = 0.005
"""A turn that takes no longer found little to do, so nothing has queued up."""

BURST_S = 3.0
"""A queue that was there for so long is no burst."""

AGAIN_S = 1.0
"""The same within `RECENT_S` of an overload."""

RECENT_S = 10.0

MAX_TURN_S = 1.0
"""A longer turn counts as this long: the machine may have stood still."""


class Overload:
    """Watches the reactor's turns, from a message's arrival until one of them is idle."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._turn_began = 0.0
        self._busy_s: float | None = None
        """How long the turns before this one took; None if no turn is being watched."""
        self._overloaded_at = float("-inf")

    def check(self) -> bool:
        """Return whether the message that has just arrived should be turned away."""
        now = self._clock.seconds()
        if self._busy_s is None:
            self._busy_s = 0.0
            self._watch_turn(now)
        recently = now - self._overloaded_at < RECENT_S
        busy_s = self._busy_s + min(now - self._turn_began, MAX_TURN_S)
        if busy_s <= (AGAIN_S if recently else BURST_S):
            return False
        self._overloaded_at = now
        return True

    def _watch_turn(self, now: float) -> None:
        self._turn_began = now
        self._clock.callLater(0.0, self._turn_ended)

    def _turn_ended(self) -> None:
        now = self._clock.seconds()
        took_s = now - self._turn_began
        if took_s <= IDLE_TURN_S or self._busy_s is None:
            self._busy_s = None
        else:
            self._busy_s += min(took_s, MAX_TURN_S)
            self._watch_turn(now)
