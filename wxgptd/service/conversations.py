"""Answer WeChat's attempts: hold them on one answer, and say what there is in time.

This is where the reply window meets clocks and connections. What a message means and what a
reply consists of is decided by the domain; this module waits, and acts on what is durable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.defer import TimeoutError as WaitedLongEnough
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from wxgptd.domain import commands as c
from wxgptd.domain import context, reply_window, rules, texts
from wxgptd.domain import events as e
from wxgptd.domain.decider import disregards, recover
from wxgptd.domain.reply_window import Settled
from wxgptd.domain.rules import Backend, Rule
from wxgptd.domain.session import Pending
from wxgptd.domain.state import UserState
from wxgptd.domain.texts import Surroundings
from wxgptd.domain.values import (
    AccountName,
    AssistantName,
    Content,
    DeliveryKey,
    FailureReason,
    LinkHash,
    Notice,
    Policy,
    SessionId,
    Subscribe,
    Unsubscribe,
    User,
)
from wxgptd.errors import WxgptError
from wxgptd.ports import (
    Breakdown,
    ChatModel,
    Completion,
    Forward,
    Ignore,
    Outcome,
    Present,
    Say,
    Silence,
)
from wxgptd.service.inflight import Flight, InFlight
from wxgptd.service.journal import Entry, Journal
from wxgptd.service.projections import DeliberateTimeouts
from wxgptd.service.timeline import Timeline

log = Logger()

T = TypeVar("T")

RETRY_WITHIN_S = 12.0
"""A retry that begins later than this after the question could not be answered in the chat."""


@dataclass(frozen=True, slots=True)
class Assistant:
    """Who answers the questions of a session."""

    name: AssistantName
    command: str
    model: ChatModel
    system_prompt: str


@dataclass(frozen=True, slots=True)
class Account:
    """What differs from one 公众号 to the other."""

    policy: Policy
    welcome: str
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class Links:
    """How links are made: a token for each delivery, and the addresses it appears in."""

    token: Callable[[User, DeliveryKey], str]
    hash: Callable[[str], LinkHash]
    answer: Callable[[str], str]
    history: Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator configures about conversations."""

    accounts: Mapping[AccountName, Account]
    assistants: Mapping[AssistantName, Assistant]
    texts: texts.Texts
    reply_margin_s: float

    def around(self, account: Account) -> Surroundings:
        """Return what the texts of an account may speak of."""
        return Surroundings(
            commands={name: one.command for name, one in self.assistants.items()},
            minutes=round(account.policy.session_ttl_s / 60) or 1,
            days=round(account.policy.link_ttl_s / 86_400) or 1,
            welcome=account.welcome,
        )

    def commands(self) -> Mapping[str, AssistantName]:
        """Return which chat command opens a session with which assistant."""
        return {assistant.command: name for name, assistant in self.assistants.items()}


class _Arrival:
    """An attempt that came before the log was loaded, when it came: also one that has left since.

    It is recorded with the time of its arrival, or WeChat's later attempts would be miscounted.
    """

    def __init__(
        self, user: User, delivery: DeliveryKey, content: Content, arrived: float, at: float
    ) -> None:
        self.user = user
        self.delivery = delivery
        self.content = content
        self.arrived = arrived
        self.at = at
        self.outcome: Deferred[Outcome] = Deferred(self._leave)
        self._left = False
        self._attempt: Deferred[Outcome] | None = None

    def _leave(self, _: Deferred[Outcome]) -> None:
        self._left = True
        if self._attempt is not None:
            self._attempt.cancel()

    def follow(self, attempt: Deferred[Outcome]) -> None:
        """Have `attempt` decide, unless the peer has left."""
        if self._left:
            attempt.addErrback(lambda _: None)
            attempt.cancel()
        else:
            self._attempt = attempt
            attempt.chainDeferred(self.outcome)


def _outcome(rule: Rule | None) -> Outcome:
    match rule.action if rule is not None else None:
        case None:
            return Ignore()
        case Backend(url=url):
            return Forward(url)
        case reply:
            return Present(reply)


def _is_membership(content: Content) -> bool:
    """Tell whether it is to be recorded whatever a rule says to it."""
    return isinstance(content, Subscribe | Unsubscribe)


class Conversations:
    """Answers attempts. Implements `wxgptd.ports.Conversations`."""

    def __init__(
        self,
        *,
        settings: Settings,
        journal: Journal,
        flights: InFlight,
        budget: DeliberateTimeouts,
        links: Links,
        fresh_session: Callable[[], SessionId],
        clock: IReactorTime,
        timeline: Timeline,
    ) -> None:
        self._fresh_session = fresh_session
        self._settings = settings
        self._commands = settings.commands()
        self._journal = journal
        self._flights = flights
        self._budget = budget
        self._links = links
        self._clock = clock
        self._timeline = timeline
        self._arrivals: list[_Arrival] | None = []
        self._ended = False
        self._held = 0

    @property
    def held(self) -> int:
        """How many attempts are waiting just now, for an answer or for the log."""
        return self._held

    def begin(self) -> None:
        """Take up work once the log is loaded: ask again what a stop left without an answer."""
        for user, state in self._journal.users():
            if state.unanswered:
                self._recover(user, state)
        arrivals, self._arrivals = self._arrivals or [], None
        for one in arrivals:
            one.follow(self._attempt(one.user, one.delivery, one.content, one.arrived, one.at))

    def _recover(self, user: User, state: UserState) -> None:
        for name in state.unanswered:
            if name not in state.heads():
                self._flights.open(user, name)  # it waits, as before
        policy = self._account(user).policy
        for command in recover(state, self._timeline.now(), policy.link_ttl_s):
            if isinstance(command, c.FailAnswer):
                log.warn("answer {question} {why}", question=command.question, why=command.detail)
            self._act(user, self._journal.record(user, command))

    def end(self) -> None:
        """Stop all models. What they leave unanswered is asked again at the next start.

        From here on every attempt ends in silence, so that WeChat asks the next process.
        """
        self._ended = True
        self._flights.cancel_all()

    # An attempt.

    def attempt(self, user: User, delivery: DeliveryKey, content: Content) -> Deferred[Outcome]:
        """Answer one attempt; see `wxgptd.ports.Conversations`."""
        arrived, at = self._clock.seconds(), self._timeline.now()
        if self._arrivals is not None:
            arrival = _Arrival(user, delivery, content, arrived, at)
            self._arrivals.append(arrival)
            return arrival.outcome
        return self._attempt(user, delivery, content, arrived, at)

    def _attempt(
        self, user: User, delivery: DeliveryKey, content: Content, arrived: float, at: float
    ) -> Deferred[Outcome]:
        outcome = self._decide(user, delivery, content, arrived, at)
        if not outcome.called:
            self._held += 1
            outcome.addBoth(self._release)
        return outcome

    def _release(self, outcome: T) -> T:
        self._held -= 1
        return outcome

    def _decide(
        self, user: User, delivery: DeliveryKey, content: Content, arrived: float, at: float
    ) -> Deferred[Outcome]:
        if self._ended:
            return succeed(Silence())
        account = self._account(user)
        state = self._journal.state(user)
        rule: Rule | None = None
        policy = account.policy
        if account.rules and (delivery not in state.windows or _is_membership(content)):
            rule = rules.first(account.rules, content, always=True)
            if rule is not None and not _is_membership(content):
                return succeed(_outcome(rule))
            rule = rule or rules.first(account.rules, content, always=False)
            if rule is not None:
                policy = replace(policy, open_with=AssistantName(""), welcome=False)
        if disregards(state, delivery, content, policy, self._commands):
            return succeed(_outcome(rule))
        entry = self._journal.record(
            user,
            c.Receive(
                at=at,
                delivery=delivery,
                content=content,
                policy=policy,
                assistants=self._commands,
                fresh_session=self._fresh_session(),
                link=self._links.hash(self._links.token(user, delivery)),
            ),
        )
        self._act(user, entry)
        window = entry.state.windows.get(delivery)
        if window is None:
            return succeed(_outcome(rule))
        if isinstance(window, Settled):
            if not reply_window.still_answers(window, at, account.policy.settled_for_s):
                return succeed(Ignore())
            return self._say(user, delivery)
        if not window.question:
            return self._journal.committed().addCallback(lambda _: _outcome(rule))
        last = reply_window.is_last(window, at)
        return Deferred.fromCoroutine(self._wait(user, delivery, arrived, last))

    async def _wait(self, user: User, delivery: DeliveryKey, arrived: float, last: bool) -> Outcome:
        deadline = arrived + reply_window.WECHAT_PATIENCE_S - self._settings.reply_margin_s
        if not await self._landed_by(deadline, user, delivery):
            silent = not last and self._budget.spend(user.account, self._timeline.now())
            if silent and not await self._landed_by(
                arrived + reply_window.HANG_UP_AFTER_S, user, delivery
            ):
                return Silence()
        if self._ended or delivery not in self._journal.state(user).windows:
            return Silence()
        self._offer(user, delivery)
        return await self._say(user, delivery)

    async def _landed_by(self, deadline: float, user: User, delivery: DeliveryKey) -> bool:
        """Wait until the answer that `delivery` is about is on record, or `deadline`."""
        state = self._journal.state(user)
        window = state.windows.get(delivery)
        if window is None or isinstance(window, Settled):
            return True
        if not isinstance(state.question(window.question).answer, Pending):
            return True
        flight = self._flights.find(user, window.question)
        if flight is None:
            return False  # the service has ended
        left = deadline - self._clock.seconds()
        if left <= 0:
            return False
        try:
            await flight.landed().addTimeout(left, self._clock)
        except WaitedLongEnough:
            return False
        return True

    def _offer(self, user: User, delivery: DeliveryKey) -> None:
        """Settle the window with what there is of the answer."""
        window = self._journal.state(user).windows[delivery]
        if isinstance(window, Settled):
            return
        flight = self._flights.find(user, window.question)
        link = self._links.answer(self._links.token(user, window.question))
        self._journal.record(
            user,
            c.OfferReply(
                at=self._timeline.now(),
                delivery=delivery,
                written=flight.written if flight is not None else "",
                room=texts.room(self._settings.texts, link),
            ),
        )

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
        around = self._settings.around(self._account(user))
        said = Say(texts.render(reply, question, link, self._settings.texts, around))
        return self._journal.committed().addCallback(lambda _: said)

    def _account(self, user: User) -> Account:
        found = self._settings.accounts.get(user.account)
        # A user of an account that is no longer configured still has a state to settle.
        return found or Account(Policy(), "")

    # What is done about events.

    def carry_out(self, user: User, command: c.Command) -> None:
        """Record `command` and act on what it leads to."""
        self._act(user, self._journal.record(user, command))

    def _act(self, user: User, entry: Entry) -> None:
        """Do what `entry` asks for, independently of whoever waits for it."""
        pursue = False
        for event in entry.events:
            match event:
                case e.QuestionAsked():
                    self._flights.open(user, event.delivery)
                    pursue = True
                case e.AnswerRestarted():
                    self._flights.open(user, event.question)
                    pursue = True
                case e.AnswerCompleted() | e.AnswerFailed():
                    flight = self._flights.find(user, event.question)
                    self._flights.land(user, event.question)
                    if flight is not None:
                        flight.cancel()
                    pursue = True
                case _:
                    pass
        if pursue:
            self._pursue(user, entry.state)

    def _pursue(self, user: User, state: UserState) -> None:
        """Call the model for each question whose turn it is."""
        for name in state.heads():
            flight = self._flights.find(user, name)
            if flight is not None and not flight.started:
                flight.start(partial(self._run, user, name, flight))

    async def _run(self, user: User, name: DeliveryKey, flight: Flight) -> None:
        """Have one question answered, and the answer recorded."""
        try:
            await self._journal.committed()
            command = await self._ask(user, name, flight)
        except CancelledError:
            return  # by `/clear`, or by a stop: whoever cancelled has settled what follows
        except WxgptError:
            return  # the log cannot be written any more, and the daemon is about to stop
        except Exception:  # noqa: BLE001 (whatever it was, the user gets a sentence)
            log.failure("asking the model failed unexpectedly")
            command = c.FailAnswer(
                at=self._timeline.now(),
                question=name,
                reason=FailureReason.UNAVAILABLE,
                text=flight.written,
                detail="unexpected error, see the log",
            )
        flight.finished()
        self.carry_out(user, command)

    async def _ask(
        self, user: User, name: DeliveryKey, flight: Flight
    ) -> c.CompleteAnswer | c.FailAnswer:
        found = self._journal.state(user).find(name)
        assert found is not None
        session, question = found
        assistant = self._settings.assistants.get(session.assistant)
        if assistant is None:
            detail = f"no [assistant.{session.assistant}] is configured any more"
            result: Completion | Breakdown = Breakdown(
                reason=FailureReason.MISCONFIGURED, text="", detail=detail
            )
        else:
            told = context.messages(session, name, assistant.system_prompt)
            waited_s = self._timeline.now() - question.asked_at
            retry_for_s = max(0.0, RETRY_WITHIN_S - waited_s)
            result = await assistant.model.ask(told, flight.write, retry_for_s)
        at = self._timeline.now()
        match result:
            case Completion():
                return c.CompleteAnswer(
                    at=at,
                    question=name,
                    text=result.text,
                    finish=result.finish,
                    model=result.model,
                    prompt_tokens=result.prompt_tokens,
                    completion_tokens=result.completion_tokens,
                    first_text_s=result.first_text_s,
                    took_s=result.took_s,
                )
            case Breakdown():
                log.warn(
                    "answer {question} failed: {reason}: {detail}",
                    question=name,
                    reason=result.reason,
                    detail=result.detail,
                )
                return c.FailAnswer(
                    at=at,
                    question=name,
                    reason=result.reason,
                    text=result.text,
                    detail=result.detail,
                    retry_after_s=result.retry_after_s,
                )
