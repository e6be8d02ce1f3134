"""Have questions answered: whose turn it is, what the model is told, what becomes of its answer.

This is what is done about events, independently of whoever waits: a question that is on record
gets its answer on record, whether WeChat comes again or not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from twisted.internet.defer import CancelledError, gatherResults
from twisted.logger import Logger

from wxgptd.domain import commands as c
from wxgptd.domain import context, tokens
from wxgptd.domain import events as e
from wxgptd.domain.context import Message
from wxgptd.domain.decider import recover
from wxgptd.domain.session import Session
from wxgptd.domain.state import UserState
from wxgptd.domain.values import DeliveryKey, FailureReason, User
from wxgptd.errors import WxgptError
from wxgptd.ports import Breakdown, Completion, Pictures
from wxgptd.service.inflight import Flight, InFlight
from wxgptd.service.journal import Entry, Journal
from wxgptd.service.moderation import Moderation
from wxgptd.service.pushing import Pushing
from wxgptd.service.settings import Assistant, Settings
from wxgptd.service.timeline import Timeline

log = Logger()

RETRY_WITHIN_S = 12.0
"""A retry that begins later than this after the question could not be answered in the chat."""


class Answering:
    """Carries out commands, and acts on what they lead to."""

    def __init__(
        self,
        *,
        settings: Settings,
        journal: Journal,
        flights: InFlight,
        pictures: Pictures,
        moderation: Moderation,
        pushing: Pushing,
        timeline: Timeline,
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._flights = flights
        self._pictures = pictures
        self._moderation = moderation
        self._pushing = pushing
        self._timeline = timeline

    def begin(self) -> None:
        """Settle what a stop left open: above all, ask again what it left without an answer."""
        self._pushing.begin()
        for user, state in self._journal.users():
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
        entry = self._journal.record(user, command)
        self._act(user, entry)
        return entry

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
        session, _ = found
        assistant = self._settings.assistants.get(session.assistant)
        if assistant is None:
            detail = f"no [assistant.{session.assistant}] is configured any more"
            result: Completion | Breakdown = Breakdown(
                reason=FailureReason.MISCONFIGURED, text="", detail=detail
            )
        else:
            told = context.messages(session, name, assistant.system_prompt)
            result = await self._answer(user, name, assistant, told, flight)
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
                    tokens=self._taken(session, name, assistant, result.text),
                )

    def _taken(
        self, session: Session, name: DeliveryKey, assistant: Assistant | None, written: str
    ) -> int:
        """Return about how many tokens an answer took that broke off: none if it never began."""
        if not written:
            return 0
        prompt = assistant.system_prompt if assistant is not None else ""
        told = context.messages(session, name, prompt)
        return tokens.estimate(written) + sum(tokens.estimate(one.content) for one in told)

    async def _answer(
        self,
        user: User,
        name: DeliveryKey,
        assistant: Assistant,
        told: Sequence[Message],
        flight: Flight,
    ) -> Completion | Breakdown:
        seen = await self._with_pictures(told if assistant.vision else self._without_pictures(told))
        if seen is None:
            return Breakdown(
                reason=FailureReason.PICTURE, text="", detail="the picture could not be fetched"
            )
        found = self._journal.state(user).find(name)
        assert found is not None
        asked_at = found[1].asked_at
        waited_s = self._timeline.now() - asked_at
        retry_for_s = max(0.0, RETRY_WITHIN_S - waited_s)
        session, _ = found
        write = self._moderated(user, name, session, assistant, flight)
        return await assistant.model.ask(seen, write, retry_for_s)

    def _without_pictures(self, told: Sequence[Message]) -> Sequence[Message]:
        """Return the messages as a model gets them that does not look at pictures any more."""
        text = self._settings.texts.page_picture
        return [
            replace(one, content=one.content or text, picture="") if one.picture else one
            for one in told
        ]

    async def _with_pictures(self, told: Sequence[Message]) -> Sequence[Message] | None:
        """Return the messages with their pictures fetched, or None without that of the question.

        WeChat keeps pictures for some days only: an earlier one that is gone is left out.
        """
        fetched = list(told)
        pictured = [place for place, message in enumerate(told) if message.picture]
        pictures = await gatherResults(
            [self._pictures.fetch(told[place].picture) for place in pictured]
        )
        for place, picture in zip(pictured, pictures, strict=True):
            message = told[place]
            if picture is None and place == len(told) - 1:
                return None
            text = message.content or self._settings.texts.page_picture
            fetched[place] = (
                replace(message, picture=picture)
                if picture is not None
                else replace(message, content=text, picture="")
            )
        return fetched

    def _moderated(
        self,
        user: User,
        name: DeliveryKey,
        session: Session,
        assistant: Assistant,
        flight: Flight,
    ) -> Callable[[str], None]:
        """Return what takes the pieces of an answer, and ends it where the words list objects."""
        watch = self._moderation.watch()

        def write(piece: str) -> None:
            if watch.objects(piece):
                self.carry_out(
                    user,
                    c.FailAnswer(
                        at=self._timeline.now(),
                        question=name,
                        reason=FailureReason.MODERATED,
                        text="",
                        detail="the answer has a word from the moderation list in it",
                        tokens=self._taken(session, name, assistant, flight.written + piece),
                    ),
                )
            else:
                flight.write(piece)

        return write
