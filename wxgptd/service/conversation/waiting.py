"""Wait for answers to be on record."""

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
    """Waits for what is on its way to a user: an answer that is written, or a push of it."""

    def __init__(
        self, journal: Journal, flights: InFlight, pushing: Pushing, event_clock: EventClock
    ) -> None:
        self._journal = journal
        self._flights = flights
        self._pushing = pushing
        self._clock = event_clock.clock

    async def by(self, deadline: float, user: User, delivery: DeliveryKey) -> bool:
        """Wait until the answer that `delivery` is about is on record, or `deadline`.

        That is in seconds of the monotonic clock. Return whether the answer is there.
        """
        state = self._journal.state(user)
        window = state.windows.get(delivery)
        if window is None or isinstance(window, Settled):
            return True
        landed = self._landed(user, state, window.question)
        if landed is None:
            return not isinstance(state.question(window.question).answer, Pending)
        left = deadline - self._clock.seconds()
        if left <= 0:
            landed.cancel()
            landed.addErrback(lambda _: None)
            return False
        try:
            await landed.addTimeout(left, self._clock)
        except WaitedLongEnough:
            return False
        return True

    def _landed(self, user: User, state: UserState, question: DeliveryKey) -> Deferred[None] | None:
        """Return what fires when the answer is on record and no push of it is on its way.

        None if that is so already, or never will be because the service has ended.
        """
        if isinstance(state.question(question).answer, Pending):
            flight = self._flights.find(user, question)
            return flight.landed() if flight is not None else None
        if state.push is not None and state.push.before.delivery == question:
            return self._pushing.settled(user)
        return None
