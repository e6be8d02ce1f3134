"""Answer WeChat's attempts: find out who handles a message, and have it recorded.

Who handles it (`routing`) and what it leads to is decided by the domain. An attempt whose answer is
still to come is handed to `holding`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, assert_never

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from wxgptd.domain.decide import commands as c
from wxgptd.domain.intake import phrases, routing, rules
from wxgptd.domain.intake.routing import (
    Ask,
    Full,
    Hint,
    Known,
    Left,
    Membership,
    Message,
    Proceed,
    Route,
    Ruled,
)
from wxgptd.domain.intake.rules import Backend, Rule
from wxgptd.domain.model import reply_window
from wxgptd.domain.model.reply_window import Settled
from wxgptd.domain.model.values import (
    AccountName,
    Content,
    DeliveryKey,
    SessionId,
    Text,
    User,
    account_itself,
)
from wxgptd.domain.replies import wording
from wxgptd.ports.keys import PassingKeys
from wxgptd.ports.wechat import Forward, Ignore, Outcome, Present, Say, Silence
from wxgptd.service.answers.answering import Answering
from wxgptd.service.answers.moderation import Moderation
from wxgptd.service.conversation.clock_offset import ClockOffset
from wxgptd.service.conversation.holding import Attempt, Holding
from wxgptd.service.conversation.timeouts import DeliberateTimeouts
from wxgptd.service.state.departed import Departed
from wxgptd.service.state.journal import Journal
from wxgptd.service.state.metrics import Metrics
from wxgptd.service.state.projections import Spending
from wxgptd.service.state.settings import Links, Settings
from wxgptd.service.state.timeline import Timeline
from wxgptd.service.state.unanswered import Unanswered

_STOPPING = (phrases.EndSession, phrases.StopAnswer, phrases.Clear)

T = TypeVar("T")


class _Early:
    """An attempt that came before the log was loaded: also one that has left since.

    It is recorded with the time of its arrival, or WeChat's later attempts would be miscounted.
    """

    def __init__(self, attempt: Attempt) -> None:
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


class Conversations:
    """Answers attempts. Implements `wxgptd.ports.wechat.Conversations`."""

    def __init__(
        self,
        *,
        settings: Settings,
        journal: Journal,
        answering: Answering,
        holding: Holding,
        moderation: Moderation,
        timeouts: DeliberateTimeouts,
        clock_offset: ClockOffset,
        spending: Spending,
        departed: Departed,
        links: Links,
        metrics: Metrics,
        fresh_session: Callable[[], SessionId],
        store_full: Callable[[], bool],
        passing_keys: PassingKeys,
        unanswered: Unanswered,
        clock: IReactorTime,
        timeline: Timeline,
    ) -> None:
        self._departed = departed
        self._metrics = metrics
        self._fresh_session = fresh_session
        self._store_full = store_full
        self._passing_keys = passing_keys
        self._unanswered = unanswered
        self._settings = settings
        self._journal = journal
        self._answering = answering
        self._holding = holding
        self._moderation = moderation
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
        self._ended = self._holding.ended = True

    # An attempt.

    def attempt(
        self, user: User, delivery: DeliveryKey, content: Content, sent_at: int
    ) -> Deferred[Outcome]:
        """Answer one attempt; see `wxgptd.ports.wechat.Conversations`."""
        arrived, at = self._clock.seconds(), self._timeline.now()
        attempt = Attempt(user, delivery, content, sent_at, arrived, at)
        if self._early is not None:
            early = _Early(attempt)
            self._early.append(early)
            return early.outcome
        return self._answer(attempt)

    def _answer(self, attempt: Attempt) -> Deferred[Outcome]:
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

    def _decide(self, attempt: Attempt) -> Deferred[Outcome]:
        user, delivery, content, _, _, at = attempt
        if self._ended:
            return succeed(Silence())
        changed = self._timeouts.arrived(user, delivery, at)
        if changed is not None:
            self._journal.record(account_itself(user.account), c.Note(changed))
        message = self._read(attempt)
        match route := self._route(user, message, at):
            case Left(why=why):
                if why in routing.UNANSWERED:
                    self._unanswered.note(user.account)
                return succeed(Ignore())
            case Ruled(rule=rule):
                return succeed(self._by(rule, user.account))
            case Full():
                # Not on record, because that is what there is no room for.
                return succeed(Say(wording.storage_full(self._settings.texts)))
            case Known(rule=rule) | Membership(rule=rule):
                return self._take(attempt, message, rule)
            case Hint():
                return self._take(attempt, message, sealed=self._sealed(user, content, at))
            case routing.Command() | Proceed() | Ask():
                return self._take(attempt, message)
            case _:
                assert_never(route)

    def whose(self, user: User, content: Content) -> Route:
        """Return who would handle a message with that content if it came now."""
        at = self._timeline.now()
        fresh = Attempt(user, DeliveryKey(""), content, 0, 0.0, at)
        return self._route(user, self._read(fresh), at)

    def _route(self, user: User, message: Message, at: float) -> Route:
        policy = self._settings.account(user).policy
        return routing.route(self._journal.state(user), message, policy, at)

    def _read(self, attempt: Attempt) -> Message:
        """Return the message with what is known about it apart from its sender's state."""
        user, content = attempt.user, attempt.content
        account = self._settings.account(user)
        always = otherwise = None
        if account.rules:
            always = rules.first(account.rules, content, always=True)
            if always is None:
                welcome = account.policy.welcome
                otherwise = rules.first(account.rules, content, always=False, welcome=welcome)
        return Message(
            delivery=attempt.delivery,
            content=content,
            phrase=self._settings.vocabulary.read(content),
            assistants=self._settings.commands,
            always=always,
            otherwise=otherwise,
            erased=self._departed.knows(user, attempt.delivery, attempt.at),
            full=self._store_full(),
        )

    def _take(
        self, attempt: Attempt, message: Message, rule: Rule | None = None, sealed: bytes = b""
    ) -> Deferred[Outcome]:
        """Record a message, and wait for what is to be said; `rule` replies to an event."""
        user, delivery, _, sent_at, _, at = attempt
        day_began_at, day_ends_at = self._timeline.day()
        held = self._held_back(user, message, at)
        stops = isinstance(message.phrase.action, _STOPPING)
        entry = self._journal.record(
            user,
            c.Receive(
                at=at,
                message=message,
                policy=self._settings.account(user).policy,
                fresh_session=self._fresh_session(),
                link=self._links.hash(self._links.token(user, delivery)),
                day_began_at=day_began_at,
                day_ends_at=day_ends_at,
                moderated=self._moderation.objects(self._asked(user, message, held)),
                spent=self._spending.refusing(),
                used=self._departed.used(user, day_began_at),
                sent_at=sent_at,
                delay_s=reply_window.delay(at, sent_at, self._clock_offset.seconds(at)),
                written=self._answering.written(user) if stops else (),
                sealed=sealed,
                held=held,
            ),
        )
        window = entry.state.windows.get(delivery)
        if window is None:
            return succeed(self._by(rule, user.account))
        if isinstance(window, Settled):
            settled_for_s = self._settings.account(user).policy.settled_for_s
            if not reply_window.still_answers(window, at, settled_for_s):
                return succeed(Ignore())
            return self._holding.say(user, delivery)
        if not window.question:
            said = self._by(rule, user.account)
            return self._journal.committed().addCallback(lambda _: said)
        return Deferred.fromCoroutine(self._holding.hold(attempt, window))

    def _sealed(self, user: User, content: Content, at: float) -> bytes:
        """Return the words of a message that is held back; nothing of one that is too long."""
        words = phrases.spoken(content).strip().encode("utf-8", "surrogatepass")
        if len(words) > self._settings.account(user).policy.max_question_bytes:
            return b""
        return self._passing_keys.seal(words, at)

    def _asked(self, user: User, message: Message, held: str) -> Content:
        """Return what a message would ask: its own words, those held back, or the last question."""
        if held:
            return Text(held)
        state = self._journal.state(user)
        last = state.live or next(iter(state.past[-1:]), None)
        question = last.newest if last is not None else None
        if isinstance(message.phrase.action, phrases.Retry) and question is not None:
            return Text(question.text)
        return message.content

    def _held_back(self, user: User, message: Message, at: float) -> str:
        """Return the words that were held back, where `message` asks for them."""
        if not isinstance(message.phrase.action, phrases.Resume):
            return ""
        held = self._journal.state(user).held_at(at)
        words = self._passing_keys.open(held.sealed, at) if held is not None else None
        return words.decode("utf-8", "surrogatepass") if words is not None else ""
