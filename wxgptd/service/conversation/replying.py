"""Settle the reply to a message, and render it."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed

from wxgptd.domain.decide import commands as c
from wxgptd.domain.model.reply_window import Settled
from wxgptd.domain.model.session import Question
from wxgptd.domain.model.values import DeliveryKey, Notice, User
from wxgptd.domain.replies import wording
from wxgptd.ports.wechat import Ignore, Outcome, Say
from wxgptd.service.answers.inflight import InFlight
from wxgptd.service.answers.pushing import Pushing
from wxgptd.service.state.journal import Journal
from wxgptd.service.state.settings import Links, Settings


class Replying:
    """Settles windows and renders their replies."""

    def __init__(
        self,
        settings: Settings,
        journal: Journal,
        flights: InFlight,
        pushing: Pushing,
        links: Links,
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._flights = flights
        self._pushing = pushing
        self._links = links

    @property
    def margin_s(self) -> float:
        """How many seconds before WeChat's timeout a reply must be sent."""
        return self._settings.reply_margin_s

    def offer(self, user: User, delivery: DeliveryKey, at: float) -> None:
        """Settle the window of `delivery` at `at`, with as much of the answer as is written."""
        state = self._journal.state(user)
        window = state.windows[delivery]
        if isinstance(window, Settled):
            return
        settings, policy = self._settings, self._settings.account(user).policy
        reminder = self._reminder(user, state.reminder(at, policy.link_ttl_s), at)
        token = self._links.token(user, window.question, ())
        room = wording.room(settings.texts, self._links.answer_in_chat(token, at))
        flight = self._flights.find(user, window.question)
        self._journal.record(
            user,
            c.OfferReply(
                at=at,
                delivery=delivery,
                written=flight.written if flight is not None else "",
                room=max(room - len(reminder.encode("utf-8", "replace")), wording.LEAST_ROOM_BYTES),
                policy=policy,
                pushes=self._pushing.would(user),
                in_line=flight is not None and not flight.started,
            ),
        )

    def say(self, user: User, delivery: DeliveryKey) -> Deferred[Outcome]:
        """Fire with the settled reply once everything it depends on is durable."""
        state = self._journal.state(user)
        window = state.windows[delivery]
        assert isinstance(window, Settled)
        reply, at = window.reply, window.settled_at
        link = ""
        if reply.notice == Notice.HISTORY:
            issued = [link for link, _ in state.history_links]
            link = self._links.history_in_chat(self._links.token(user, delivery, issued), at)
        found = state.find(reply.question) if reply.question else None
        if reply.question and found is None:  # its session has been deleted since
            return succeed(Ignore())
        question = found[1] if found is not None else None
        if question is not None:
            link = self._link(user, question, at)
        context = self._settings.reply_context(user)
        reminded = state.find(reply.reminder) if reply.reminder else None
        reminder = self._reminder(user, reminded[1] if reminded is not None else None, at)
        text = wording.render(reply, question, link, self._settings.texts, context, reminder)
        return self._journal.committed().addCallback(lambda _: Say(text))

    def _link(self, user: User, question: Question, at: float) -> str:
        token = self._links.token(user, question.delivery, (question.link,))
        return self._links.answer_in_chat(token, at)

    def _reminder(self, user: User, unseen: Question | None, at: float) -> str:
        """Return the reminder of an unseen answer, or "" if there is none."""
        if unseen is None:
            return ""
        return wording.reminder(unseen, self._link(user, unseen, at), self._settings.texts)
