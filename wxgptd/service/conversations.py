"""Answer WeChat's attempts: hold them on one answer, and say what there is in time.

This is where the reply window meets clocks and connections. What a message means and what a
reply consists of is decided by the domain; this module waits, and says what is durable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.internet.defer import TimeoutError as WaitedLongEnough
from twisted.internet.interfaces import IReactorTime

from wxgptd.domain import commands as c
from wxgptd.domain import reply_window, rules, slash, wording
from wxgptd.domain.decider import disregards, leaves_to_others
from wxgptd.domain.reply_window import Open, Settled
from wxgptd.domain.rules import Backend, Rule
from wxgptd.domain.session import Pending, Question
from wxgptd.domain.state import UserState
from wxgptd.domain.values import (
    AccountName,
    AssistantName,
    Content,
    DeliveryKey,
    Ignorable,
    Notice,
    SessionId,
    Subscribe,
    Text,
    Unsubscribe,
    User,
    account_itself,
)
from wxgptd.ports import Forward, Ignore, Outcome, Present, Say, Silence
from wxgptd.service.answering import Answering
from wxgptd.service.clock_offset import ClockOffset
from wxgptd.service.departed import Departed
from wxgptd.service.inflight import InFlight
from wxgptd.service.journal import Journal
from wxgptd.service.metrics import Metrics
from wxgptd.service.moderation import Moderation
from wxgptd.service.projections import Spending
from wxgptd.service.pushing import Pushing
from wxgptd.service.settings import Links, Settings
from wxgptd.service.timeline import Timeline
from wxgptd.service.timeouts import DeliberateTimeouts

T = TypeVar("T")


class _Attempt(NamedTuple):
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


class _Early:
    """An attempt that came before the log was loaded: also one that has left since.

    It is recorded with the time of its arrival, or WeChat's later attempts would be miscounted.
    """

    def __init__(self, attempt: _Attempt) -> None:
        self.attempt = attempt
        self.outcome: Deferred[Outcome] = Deferred(self._leave)
        self._left = False
        self._answering: Deferred[Outcome] | None = None

    def _leave(self, _: Deferred[Outcome]) -> None:
        self._left = True
        if self._answering is not None:
            self._answering.cancel()

    def follow(self, answering: Deferred[Outcome]) -> None:
        """Have `answering` decide, unless the peer has left."""
        if self._left:
            answering.addErrback(lambda _: None)
            answering.cancel()
        else:
            self._answering = answering
            answering.chainDeferred(self.outcome)


def _is_membership(content: Content) -> bool:
    """Tell whether it is to be recorded whatever a rule says to it."""
    return isinstance(content, Subscribe | Unsubscribe)


def _adds(
    state: UserState,
    delivery: DeliveryKey,
    content: Content,
    commands: Mapping[str, AssistantName],
) -> bool:
    """Tell whether a message opens a session or asks: what a full disk has no room for."""
    if delivery in state.windows or isinstance(content, Subscribe | Unsubscribe | Ignorable):
        return False
    line = slash.parse(content.text, commands) if isinstance(content, Text) else slash.Say()
    return isinstance(line, slash.Open | slash.Say)


class Conversations:
    """Answers attempts. Implements `wxgptd.ports.Conversations`."""

    def __init__(
        self,
        *,
        settings: Settings,
        journal: Journal,
        flights: InFlight,
        answering: Answering,
        moderation: Moderation,
        pushing: Pushing,
        timeouts: DeliberateTimeouts,
        clock_offset: ClockOffset,
        spending: Spending,
        departed: Departed,
        links: Links,
        metrics: Metrics,
        fresh_session: Callable[[], SessionId],
        store_full: Callable[[], bool],
        clock: IReactorTime,
        timeline: Timeline,
    ) -> None:
        self._departed = departed
        self._metrics = metrics
        self._fresh_session = fresh_session
        self._store_full = store_full
        self._settings = settings
        self._journal = journal
        self._flights = flights
        self._answering = answering
        self._moderation = moderation
        self._pushing = pushing
        self._timeouts = timeouts
        self._clock_offset = clock_offset
        self._spending = spending
        self._links = links
        self._clock = clock
        self._timeline = timeline
        self._early: list[_Early] | None = []
        self._ended = False
        self._held = 0

    @property
    def held(self) -> int:
        """How many attempts are waiting just now, for an answer or for the log."""
        return self._held

    def begin(self) -> None:
        """Take up work once the log is loaded."""
        early, self._early = self._early or [], None
        for one in early:
            one.follow(self._answer(one.attempt))

    def end(self) -> None:
        """Let every attempt from here on end in silence, so that WeChat asks the next process."""
        self._ended = True

    # An attempt.

    def attempt(
        self, user: User, delivery: DeliveryKey, content: Content, sent_at: int
    ) -> Deferred[Outcome]:
        """Answer one attempt; see `wxgptd.ports.Conversations`."""
        arrived, at = self._clock.seconds(), self._timeline.now()
        attempt = _Attempt(user, delivery, content, sent_at, arrived, at)
        if self._early is not None:
            early = _Early(attempt)
            self._early.append(early)
            return early.outcome
        return self._answer(attempt)

    def _answer(self, attempt: _Attempt) -> Deferred[Outcome]:
        account = attempt.user.account
        outcome = self._decide(attempt)
        if outcome.called:
            self._metrics.attempt(account, outcome.result)
        else:
            self._held += 1
            outcome.addBoth(self._release, account)
        return outcome

    def _release(self, outcome: T, account: AccountName) -> T:
        self._held -= 1
        self._metrics.attempt(account, outcome)
        return outcome

    def _by(self, rule: Rule | None, account: AccountName) -> Outcome:
        """Return what becomes of a message that `rule` takes, or nobody."""
        if rule is None:
            return Ignore()
        self._metrics.rule(account, rule.number)
        match rule.action:
            case Backend(url=url):
                return Forward(url)
            case reply:
                return Present(reply)

    def _decide(self, attempt: _Attempt) -> Deferred[Outcome]:
        user, delivery, content, sent_at, _, at = attempt
        if self._ended:
            return succeed(Silence())
        changed = self._timeouts.arrived(user, delivery, at)
        if changed is not None:
            self._journal.record(account_itself(user.account), changed)
        if self._departed.knows(user, delivery, at):
            return succeed(Ignore())
        account = self._settings.account(user)
        state = self._journal.state(user)
        rule: Rule | None = None
        policy = account.policy
        if account.rules and (delivery not in state.windows or _is_membership(content)):
            rule = rules.first(account.rules, content, always=True)
            if rule is not None and not _is_membership(content):
                return succeed(self._by(rule, user.account))
            rule = rule or rules.first(account.rules, content, always=False, welcome=policy.welcome)
            if rule is not None:
                policy = replace(policy, open_with=AssistantName(""), welcome=False)
        if disregards(state, delivery, content, policy, self._settings.commands):
            return succeed(self._by(rule, user.account))
        if self._store_full() and _adds(state, delivery, content, self._settings.commands):
            # Not on record, because that is what there is no room for.
            return succeed(Say(wording.storage_full(self._settings.texts)))
        day_began_at, day_ends_at = self._timeline.day()
        entry = self._answering.carry_out(
            user,
            c.Receive(
                at=at,
                delivery=delivery,
                content=content,
                policy=policy,
                assistants=self._settings.commands,
                fresh_session=self._fresh_session(),
                link=self._links.hash(self._links.token(user, delivery)),
                day_began_at=day_began_at,
                day_ends_at=day_ends_at,
                moderated=self._moderation.objects(content),
                spent=self._spending.refusing(),
                used=self._departed.used(user, day_began_at),
                sent_at=sent_at,
                delay_s=reply_window.delay(at, sent_at, self._clock_offset.seconds(at)),
            ),
        )
        window = entry.state.windows.get(delivery)
        if window is None:
            left = leaves_to_others(entry.state, content, policy, self._settings.commands)
            return succeed(self._by(rule, user.account) if left else Ignore())
        if isinstance(window, Settled):
            if not reply_window.still_answers(window, at, account.policy.settled_for_s):
                return succeed(Ignore())
            return self._say(user, delivery)
        if not window.question:
            return self._journal.committed().addCallback(lambda _: self._by(rule, user.account))
        return Deferred.fromCoroutine(self._wait(attempt, window))

    async def _wait(self, attempt: _Attempt, window: Open) -> Outcome:
        try:
            return await self._hold(attempt, window)
        finally:
            held_s = self._clock.seconds() - attempt.arrived
            self._metrics.held(attempt.user.account, held_s)

    async def _hold(self, attempt: _Attempt, window: Open) -> Outcome:
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
        if self._ended:
            return Silence()
        if delivery not in self._journal.state(user).windows:
            return Ignore()  # erased meanwhile; in silence WeChat would ask once more
        self._offer(user, delivery)
        return await self._say(user, delivery)

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

    def _say(self, user: User, delivery: DeliveryKey) -> Deferred[Outcome]:
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
        around = self._settings.around(self._settings.account(user))
        reminded = state.find(reply.reminder) if reply.reminder else None
        reminder = self._reminder(user, reminded[1] if reminded is not None else None)
        said = Say(wording.render(reply, question, link, self._settings.texts, around, reminder))
        return self._journal.committed().addCallback(lambda _: said)
