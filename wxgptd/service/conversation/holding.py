"""Hold WeChat's attempts on one answer, and say what there is in time.

This is where the reply window meets clocks and connections. What a reply consists of is decided by
the domain; this module waits, and says what is durable.
"""

from __future__ import annotations

from typing import NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as WaitedLongEnough
from twisted.internet.interfaces import IReactorTime

from wxgptd.domain.decide import commands as c
from wxgptd.domain.model import reply_window
from wxgptd.domain.model.reply_window import Open, Settled
from wxgptd.domain.model.session import Pending, Question
from wxgptd.domain.model.state import UserState
from wxgptd.domain.model.values import Content, DeliveryKey, Notice, User
from wxgptd.domain.replies import wording
from wxgptd.ports.wechat import Ignore, Outcome, Say, Silence
from wxgptd.service.answers.inflight import InFlight
from wxgptd.service.answers.pushing import Pushing
from wxgptd.service.conversation.timeouts import DeliberateTimeouts
from wxgptd.service.state.journal import Journal
from wxgptd.service.state.metrics import Metrics
from wxgptd.service.state.settings import Links, Settings
from wxgptd.service.state.timeline import Timeline


class Attempt(NamedTuple):
    """One of WeChat's attempts to deliver a message.

    `sent_at` is when WeChat sent the message first, by its clock; the attempt arrived at `arrived`
    by the monotonic clock, which is `at` on the timeline.
    """

    user: User
    delivery: DeliveryKey
    content: Content
    sent_at: int
    arrived: float
    at: float


class Holding:
    """Holds attempts. Once it has `ended`, each one ends in silence."""

    def __init__(
        self,
        *,
        settings: Settings,
        journal: Journal,
        flights: InFlight,
        pushing: Pushing,
        timeouts: DeliberateTimeouts,
        links: Links,
        metrics: Metrics,
        clock: IReactorTime,
        timeline: Timeline,
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._flights = flights
        self._pushing = pushing
        self._timeouts = timeouts
        self._links = links
        self._metrics = metrics
        self._clock = clock
        self._timeline = timeline
        self.ended = False

    async def hold(self, attempt: Attempt, window: Open) -> Outcome:
        """Wait for the answer that `window` is about, and say what there is of it in time."""
        try:
            return await self._hold(attempt, window)
        finally:
            held_s = self._clock.seconds() - attempt.arrived
            self._metrics.held(attempt.user.account, held_s)

    async def _hold(self, attempt: Attempt, window: Open) -> Outcome:
        user, delivery, arrived = attempt.user, attempt.delivery, attempt.arrived
        last = reply_window.is_last(window, attempt.at)
        patience_s = reply_window.patience(window, attempt.at, last=last)
        deadline = arrived + patience_s - self._settings.reply_margin_s
        if not await self._landed_by(deadline, user, delivery):
            now = self._timeline.now()
            if not last and self._timeouts.spend(user, delivery, now):
                if not await self._landed_by(
                    arrived + reply_window.HANG_UP_AFTER_S, user, delivery
                ):
                    return Silence()
                self._timeouts.refund(user, delivery)  # WeChat was still connected
        if self.ended:
            return Silence()
        if delivery not in self._journal.state(user).windows:
            return Ignore()  # erased meanwhile; in silence WeChat would ask once more
        self._offer(user, delivery)
        return await self.say(user, delivery)

    async def _landed_by(self, deadline: float, user: User, delivery: DeliveryKey) -> bool:
        """Wait until the answer that `delivery` is about is on record, or `deadline`."""
        state = self._journal.state(user)
        window = state.windows.get(delivery)
        if window is None or isinstance(window, Settled):
            return True
        landed = self._landing(user, state, window.question)
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

    def _landing(
        self, user: User, state: UserState, question: DeliveryKey
    ) -> Deferred[None] | None:
        """Return what fires when the answer is on record and no push of it is on its way.

        None if that is so already, or never will be because the service has ended.
        """
        if isinstance(state.question(question).answer, Pending):
            flight = self._flights.find(user, question)
            return flight.landed() if flight is not None else None
        if state.push is not None and state.push.before.delivery == question:
            return self._pushing.settled(user)
        return None

    def _offer(self, user: User, delivery: DeliveryKey) -> None:
        """Settle the window with what there is of the answer."""
        window = self._journal.state(user).windows[delivery]
        if isinstance(window, Settled):
            return
        flight = self._flights.find(user, window.question)
        link = self._links.answer(self._links.token(user, window.question))
        settings, policy = self._settings, self._settings.account(user).policy
        at = self._timeline.now()
        reminder = self._reminder(user, self._journal.state(user).reminder(at, policy.link_ttl_s))
        self._journal.record(
            user,
            c.OfferReply(
                at=at,
                delivery=delivery,
                written=flight.written if flight is not None else "",
                room=max(
                    wording.room(settings.texts, link) - len(reminder.encode("utf-8", "replace")),
                    wording.LEAST_ROOM_BYTES,
                ),
                policy=policy,
                pushes=self._pushing.would(user),
                in_line=flight is not None and flight.in_line,
            ),
        )

    def _reminder(self, user: User, unseen: Question | None) -> str:
        """Return the line about an answer that nobody has seen; nothing if there is none."""
        if unseen is None:
            return ""
        link = self._links.answer(self._links.token(user, unseen.delivery))
        return wording.reminder(unseen, link, self._settings.texts)

    def say(self, user: User, delivery: DeliveryKey) -> Deferred[Outcome]:
        """Fire with the settled reply once everything it rests on is durable."""
        state = self._journal.state(user)
        window = state.windows[delivery]
        assert isinstance(window, Settled)
        reply = window.reply
        link = ""
        if reply.notice == Notice.HISTORY:
            link = self._links.history(self._links.token(user, delivery))
        elif reply.question:
            link = self._links.answer(self._links.token(user, reply.question))
        question = state.question(reply.question) if reply.question else None
        around = self._settings.around(user)
        reminded = state.find(reply.reminder) if reply.reminder else None
        reminder = self._reminder(user, reminded[1] if reminded is not None else None)
        said = Say(wording.render(reply, question, link, self._settings.texts, around, reminder))
        return self._journal.committed().addCallback(lambda _: said)
