"""Have questions answered: whose turn it is, and what becomes of the answer.

This is what is done about events, independently of whoever waits: a question that is on record
gets its answer on record, whether WeChat comes again or not.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger

from wxgptd.domain import commands as c
from wxgptd.domain import events as e
from wxgptd.domain.decider import recover
from wxgptd.domain.state import UserState
from wxgptd.domain.values import (
    AssistantName,
    CloseReason,
    DeliveryKey,
    FailureReason,
    Standing,
    User,
)
from wxgptd.errors import WxgptError
from wxgptd.ports import Breakdown, Completion
from wxgptd.service.asking import Asking
from wxgptd.service.departed import Departed
from wxgptd.service.fitting import Facts
from wxgptd.service.inflight import Flight, InFlight
from wxgptd.service.journal import Entry, Journal
from wxgptd.service.keeping import Keeping
from wxgptd.service.pushing import Pushing
from wxgptd.service.settings import Settings
from wxgptd.service.slots import Slots
from wxgptd.service.timeline import Timeline
from wxgptd.service.typing_indicator import TypingIndicator

log = Logger()


class Answering:
    """Carries out commands, and acts on what they lead to."""

    def __init__(
        self,
        *,
        settings: Settings,
        journal: Journal,
        flights: InFlight,
        asking: Asking,
        pushing: Pushing,
        keeping: Keeping,
        departed: Departed,
        timeline: Timeline,
        erased: Callable[[], None],
        slots: Slots,
        typing: TypingIndicator,
    ) -> None:
        self._typing = typing
        self._slots = slots
        self._keeping = keeping
        self._departed = departed
        self._settings = settings
        self._journal = journal
        self._flights = flights
        self._asking = asking
        self._pushing = pushing
        self._timeline = timeline
        self._erased = erased

    def begin(self) -> None:
        """Settle what a stop left open: above all, ask again what it left without an answer."""
        self._pushing.begin()
        for user, state in self._journal.awake():
            if state.unanswered or state.push is not None:
                self._recover(user, state)

    def _recover(self, user: User, state: UserState) -> None:
        for name in state.unanswered:
            if name not in state.heads():
                self._flights.open(user, name)  # it waits, as before
        policy = self._settings.account(user).policy
        for command in recover(state, self._timeline.now(), policy.link_ttl_s):
            if isinstance(command, c.FailAnswer):
                log.warn("answer {question} {why}", question=command.question, why=command.detail)
            self.carry_out(user, command)

    def end(self) -> None:
        """Stop all models. What they leave unanswered is asked again at the next start."""
        self._flights.cancel_all()
        self._pushing.end()

    def carry_out(self, user: User, command: c.Command) -> Entry:
        """Record `command`, act on what it leads to, and return that."""
        before = self._journal.state(user)
        entry = self._journal.record(user, command)
        erased = bool(entry.events) and isinstance(entry.events[-1], e.UserErased)
        if erased:  # before those who wait are told that their answer will not come
            self._departed.note(user, before, self._timeline.now())
            if not _by_operator(command):
                day_began_at, _ = self._timeline.day()
                self._departed.note_used(user, before, day_began_at)
        self._act(user, entry)
        if erased:
            self._keeping.note_erased()
            self._erased()
            if not _by_operator(command):
                self._block_again(user, before)
        return entry

    def written(self, user: User) -> tuple[c.Written, ...]:
        """Return what the answers that the user waits for have come to."""
        running = self._journal.state(user).heads()
        flights = [(name, self._flights.find(user, name)) for name in running]
        return tuple(self._written(name, flight) for name, flight in flights if flight is not None)

    def _written(self, question: DeliveryKey, flight: Flight) -> c.Written:
        facts = flight.charge() if flight.charge is not None else Facts(AssistantName(""))
        return c.Written(
            question=question,
            text=flight.written,
            tokens=facts.prompt_tokens + facts.completion_tokens,
            assistant=facts.assistant,
            cost=facts.cost,
        )

    def erase(self, user: User, reason: CloseReason) -> Deferred[bool]:
        """Erase `user`; fires with whether anything was known, once nothing is any more.

        Errs:
            OSError: a snapshot could not be replaced; it is tried again.
        """
        entry = self.carry_out(user, c.EraseUser(at=self._timeline.now(), reason=reason))
        if not entry.events:
            return succeed(False)
        done = self._journal.committed().addCallback(lambda _: self._keeping.forgotten())
        return done.addCallback(lambda _: True)

    def _block_again(self, user: User, before: UserState) -> None:
        """Keep a user blocked who is erased: that must not be the way around it."""
        now = self._timeline.now()
        if before.stands(now) is Standing.BLOCKED:
            until = before.standing_until
            blocked = c.ChangeStanding(at=now, standing=Standing.BLOCKED, until=until)
            self._journal.record(user, blocked)

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
                    self._pushing.consider(user, event.question)
                    pursue = True
                case _:
                    pass
        if pursue:
            self._pursue(user, entry.state)

    def _pursue(self, user: User, state: UserState) -> None:
        """Call the model for each question whose turn it is."""
        for name in state.heads():
            flight = self._flights.find(user, name)
            if flight is not None and not flight.started and not flight.in_line:
                flight.in_line = True
                found = state.find(name)
                assert found is not None
                assistant = found[0].assistant
                self._slots.take(assistant, partial(self._start, user, name, flight, assistant))

    def _start(
        self, user: User, name: DeliveryKey, flight: Flight, assistant: AssistantName
    ) -> bool:
        """Call the model, if that is still wanted; tell whether it is."""
        if self._flights.find(user, name) is not flight or flight.started:
            return False
        run = partial(self._run, user, name, flight)
        flight.start(run, partial(self._slots.give, assistant))
        self._typing.begin(user, flight)
        return True

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
        result, facts = await self._asking.ask(user, name, flight, self._stop_moderated)
        match result:
            case Completion():
                return c.CompleteAnswer(
                    at=self._timeline.now(),
                    question=name,
                    text=result.text,
                    finish=result.finish,
                    model=result.model,
                    prompt_tokens=facts.prompt_tokens,
                    completion_tokens=facts.completion_tokens,
                    first_text_s=result.first_text_s,
                    took_s=result.took_s,
                    assistant=facts.assistant,
                    estimated=facts.estimated,
                    prompt_bytes=facts.prompt_bytes,
                    cost=facts.cost,
                    withdrawn=result.withdrawn,
                )
            case Breakdown():
                log.warn(
                    "answer {question} failed: {reason}: {detail}",
                    question=name,
                    reason=result.reason,
                    detail=result.logged,
                    bounded_as=f"answer failed {facts.assistant} {result.reason}",
                )
                return self._failed(name, result, facts)

    def _stop_moderated(self, user: User, name: DeliveryKey, facts: Facts) -> None:
        objection = Breakdown(
            reason=FailureReason.MODERATED,
            text="",
            detail="the answer has a word from the moderation list in it",
        )
        self.carry_out(user, self._failed(name, objection, facts))

    def _failed(self, name: DeliveryKey, result: Breakdown, facts: Facts) -> c.FailAnswer:
        return c.FailAnswer(
            at=self._timeline.now(),
            question=name,
            reason=result.reason,
            text=result.text,
            detail=result.detail,
            retry_after_s=result.retry_after_s,
            tokens=facts.prompt_tokens + facts.completion_tokens,
            assistant=facts.assistant,
            cost=facts.cost,
        )


def _by_operator(command: c.Command) -> bool:
    return isinstance(command, c.EraseUser) and command.reason is CloseReason.OPERATOR
