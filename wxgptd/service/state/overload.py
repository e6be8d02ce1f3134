"""Whether more arrives than this process can handle.

A question costs far more than the sentence that turns it away. Once work queues up, every message
waits, WeChat gives up on it and sends it again, and soon only messages that have already failed are
worked on. So new questions are turned away as soon as a queue *persists*: a short burst is none
(K. Nichols and V. Jacobson, "Controlling Queue Delay", 2012).

Twisted offers no view of its queue, but a reactor's turn takes as long as its work: a message that
is read late in a long turn has waited for what came before it.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

MAX_TURN_S = 0.2
"""With longer turns there is a queue."""

PERSISTS_S = 0.5
"""A queue that was there for this long does not go away by itself."""


class Overload:
    """Measures the reactor's turns in which messages arrive, and those that follow a long one."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._turn_began = 0.0
        self._measures = False
        self._queued_since: float | None = None

    def check(self) -> bool:
        """Return whether the message that has just arrived should be turned away."""
        now = self._clock.seconds()
        if not self._measures:
            self._begin_turn(now)
        if self._queued_since is None and now - self._turn_began > MAX_TURN_S:
            self._queued_since = self._turn_began
        return self._queued_since is not None and now - self._queued_since > PERSISTS_S

    def _begin_turn(self, now: float) -> None:
        self._turn_began, self._measures = now, True
        self._clock.callLater(0.0, self._turn_ended)

    def _turn_ended(self) -> None:
        now, began = self._clock.seconds(), self._turn_began
        if now - began <= MAX_TURN_S:
            self._measures, self._queued_since = False, None
            return
        if self._queued_since is None:
            self._queued_since = began
        self._begin_turn(now)  # until a turn is short, even if no message arrives
