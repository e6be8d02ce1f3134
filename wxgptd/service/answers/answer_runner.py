"""Runs answers: decides whose turn it is, and records the result.

This acts on events, whether or not an attempt is waiting: every recorded question gets a recorded
answer, even if WeChat never retries.
"""

from __future__ import annotations

from functools import partial

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from wxgptd.domain.decide import commands as c
from wxgptd.domain.model import events as e
from wxgptd.domain.model.state import UserState
from wxgptd.domain.model.values import (
    AnswerUsage,
    AssistantName,
    DeliveryKey,
    FailureReason,
    User,
)
from wxgptd.errors import WxgptError
from wxgptd.ports.models import Completion, ModelFailure
from wxgptd.service.answers.inflight import Flight, InFlight
from wxgptd.service.answers.model_router import ModelRouter
from wxgptd.service.answers.pushing import Pushing
from wxgptd.service.answers.slots import Slots
from wxgptd.service.state.event_clock import EventClock
from wxgptd.service.state.journal import Entry, Journal

log = Logger()


class AnswerRunner:
    """Acts on recorded events: gets questions answered, and records the answers."""

    def __init__(
        self,
        journal: Journal,
        flights: InFlight,
        slots: Slots,
        router: ModelRouter,
        pushing: Pushing,
        event_clock: EventClock,
    ) -> None:
        self._slots = slots
        self._journal = journal
        self._flights = flights
        self._router = router
        self._pushing = pushing
        self._event_clock = event_clock

    def end(self) -> None:
        """Stop all models. Unanswered questions are retried at the next start."""
        self._flights.cancel_all()

    def written(self, user: User) -> tuple[c.PartialAnswer, ...]:
        """Return the partial answers that the user is waiting for."""
        heads = self._journal.state(user).next_questions()
        flights = [(question, self._flights.find(user, question)) for question in heads]
        return tuple(
            self._written(question, flight) for question, flight in flights if flight is not None
        )

    def _written(self, question: DeliveryKey, flight: Flight) -> c.PartialAnswer:
        usage = flight.charge() if flight.charge is not None else AnswerUsage()
        return c.PartialAnswer(question, flight.written, usage)

    def __call__(self, entry: Entry) -> None:
        """Act on `entry`, whether or not anyone is waiting for it."""
        user, heads_changed = entry.user, False
        for event in entry.events:
            match event:
                case e.QuestionAsked():
                    self._flights.open(user, event.delivery)
                    heads_changed = True
                case e.AnswerRestarted():
                    self._flights.open(user, event.question)
                    heads_changed = True
                case e.AnswerCompleted() | e.AnswerFailed():
                    flight = self._flights.find(user, event.question)
                    self._flights.land(user, event.question)
                    if flight is not None:
                        flight.cancel()
                    self._pushing.consider(user, event.question)
                    heads_changed = True
                case _:
                    pass
        if heads_changed:
            self._queue_heads(user, entry.state)

    def _queue_heads(self, user: User, state: UserState) -> None:
        """Request a slot for each question whose turn it is."""
        for question in state.next_questions():
            flight = self._flights.find(user, question)
            if flight is not None and not flight.started and not flight.in_line:
                flight.in_line = True
                lookup = state.find(question)
                assert lookup is not None
                assistant = lookup[0].assistant
                self._slots.take(assistant, partial(self._start, flight, assistant))

    def _start(self, flight: Flight, assistant: AssistantName) -> bool:
        """Call the model if the answer is still wanted; return whether it is."""
        if self._flights.find(flight.user, flight.question) is not flight or flight.started:
            return False
        run = partial(self._run, flight)
        self._flights.start(flight, run, partial(self._slots.give, assistant))
        return True

    async def _run(self, flight: Flight) -> None:
        """Get one question answered, and record the answer."""
        try:
            await self._journal.committed()
            answer = await self._ask(flight)
        except CancelledError:
            return  # cancelled by `/clear` or at shutdown; the canceller does the rest
        except WxgptError:
            return  # the log can no longer be written, and the daemon is about to stop
        except Exception:  # noqa: BLE001 (whatever happened, the user must get a reply)
            log.failure("calling the model failed unexpectedly", id="unexpected")
            answer = e.AnswerFailed(
                at=self._event_clock.now(),
                question=flight.question,
                reason=FailureReason.UNAVAILABLE,
                text=flight.written,
                detail="unexpected error, see the log",
            )
        flight.finished()
        self._journal.record(flight.user, c.RecordFact(answer))

    async def _ask(self, flight: Flight) -> e.AnswerCompleted | e.AnswerFailed:
        result, usage = await self._router.ask(flight, self._stop_moderated)
        match result:
            case Completion():
                return e.AnswerCompleted(
                    at=self._event_clock.now(),
                    question=flight.question,
                    text=result.text,
                    finish=result.finish,
                    model=result.model,
                    first_text_s=result.first_text_s,
                    took_s=result.took_s,
                    usage=usage,
                    withdrawn=result.withdrawn,
                )
            case ModelFailure():
                log.warn(
                    "answer {question} failed: {reason}: {detail}",
                    id="answer-failed",
                    question=flight.question,
                    reason=result.reason,
                    detail=result.logged,
                    bounded_as=f"answer failed {usage.assistant} {result.reason}",
                )
                return self._failed(flight.question, result, usage)

    def _stop_moderated(self, flight: Flight, usage: AnswerUsage) -> None:
        breakdown = ModelFailure(
            reason=FailureReason.MODERATED,
            text="",
            detail="the answer contains a word from the moderation list",
        )
        failed = self._failed(flight.question, breakdown, usage)
        self._journal.record(flight.user, c.RecordFact(failed))

    def _failed(
        self, question: DeliveryKey, result: ModelFailure, usage: AnswerUsage
    ) -> e.AnswerFailed:
        return e.AnswerFailed(
            at=self._event_clock.now(),
            question=question,
            reason=result.reason,
            text=result.text,
            detail=result.detail,
            retry_after_s=result.retry_after_s,
            usage=usage,
        )
