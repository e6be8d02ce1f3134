"""Wait for answers to be recorded."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as WaitedLongEnough

from wxgptd.domain.model.reply_window import Settled
from wxgptd.domain.model.session import Pending
from wxgptd.domain.model.state import UserState
from wxgptd.domain.model.values import DeliveryKey, User
from wxgptd.service.answers.inflight import InFlight
from wxgptd.service.answers.pushing import Pushing
from wxgptd.service.state.event_clock import EventClock
from wxgptd.service.state.journal import Journal


class Waiting:
    """Waits for an answer that is being written, or for the push of one."""

    def __init__(
        self, journal: Journal, flights: InFlight, pushing: Pushing, event_clock: EventClock
    ) -> None:
        self._journal = journal
        self._flights = flights
        self._pushing = pushing
        self._clock = event_clock.clock

    async def by(self, deadline: float, user: User, delivery: DeliveryKey) -> bool:
        """Wait until the answer for `delivery` is recorded, or until `deadline`.

        `deadline` is a monotonic time in seconds. Return whether the answer is recorded.
        """
        state = self._journal.state(user)
        window = state.windows.get(delivery)
        if window is None or isinstance(window, Settled):
            return True
        landed = self._landed(user, state, window.question)
        if landed is None:
            return not isinstance(state.question(window.question).answer, Pending)
        remaining_s = deadline - self._clock.seconds()
        if remaining_s <= 0:
            landed.cancel()
            landed.addErrback(lambda _: None)
            return False
        try:
            await landed.addTimeout(remaining_s, self._clock)
        except WaitedLongEnough:
            return False
        return True

    def _landed(self, user: User, state: UserState, question: DeliveryKey) -> Deferred[None] | None:
        """Return a Deferred that fires when the answer is recorded and no push of it is pending.

        Return None if that is already the case, or never will be because the service has ended.
        """
        if isinstance(state.question(question).answer, Pending):
            flight = self._flights.find(user, question)
            return flight.landed() if flight is not None else None
        if state.push is not None and state.push.before.delivery == question:
            return self._pushing.settled(user)
        return None
