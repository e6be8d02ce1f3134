"""Asks models for titles of sessions, where the operator wants that.

A title is asked for once, after the first complete answer of a session, and only if a slot is free:
no question waits for a title. A failure, a restart or a used-up budget leaves the session with its
first question as its title.
"""

from __future__ import annotations

from functools import partial

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from wxgptd.domain.decide import commands as c
from wxgptd.domain.model import events as e
from wxgptd.domain.model.session import Completed, Question, Session
from wxgptd.domain.model.values import SessionId, Text, User
from wxgptd.domain.prompt.context import Message
from wxgptd.domain.text.bidi import without_controls
from wxgptd.errors import WxgptError
from wxgptd.ports.models import Completion, Prompt, ignore
from wxgptd.service.answers.context_window import ContextWindow
from wxgptd.service.answers.moderation import Moderation
from wxgptd.service.answers.slots import Slots
from wxgptd.service.state.event_clock import EventClock
from wxgptd.service.state.journal import Entry, Journal
from wxgptd.service.state.projections import Spending
from wxgptd.service.state.settings import Assistant, Settings

log = Logger()

MAX_CHARS = 40
MAX_TOKENS = 300
"""Enough for a title, and for a little thinking."""

SHOWN_CHARS = 1_000
"""How much of the question and of the answer the model sees, each."""

_AROUND = " \t*#`'\"“”‘’「」《》。.!！:：-"
"""What models put around a title."""


class Titling:
    """Acts on recorded answers: asks for titles, and records them."""

    def __init__(
        self,
        journal: Journal,
        settings: Settings,
        slots: Slots,
        context_window: ContextWindow,
        approval: Approval,
        event_clock: EventClock,
    ) -> None:
        self._journal = journal
        self._settings = settings
        self._slots = slots
        self._context_window = context_window
        self._approval = approval
        self._event_clock = event_clock
        self._running: dict[tuple[User, SessionId], Deferred[None]] = {}
        self._has_ended = False

    def __call__(self, entry: Entry) -> None:
        """Ask for a title if `entry` has the first complete answer of a session."""
        if not self._settings.titles:
            return
        for event in entry.events:
            if not isinstance(event, e.AnswerCompleted):
                continue
            found = entry.state.find(event.question)
            if found is not None and _untitled_turn(found[0]) is not None:
                start = partial(self._start, entry.user, found[0].id)
                # The answer gives its slot back at the end of this turn of the reactor.
                self._event_clock.clock.callLater(
                    0, self._slots.take_if_free, found[0].assistant, start
                )

    def begin(self) -> None:
        """Start asking, perhaps again."""
        self._has_ended = False

    def end(self) -> None:
        """Stop asking."""
        self._has_ended = True
        for running in tuple(self._running.values()):
            running.cancel()

    def _start(self, user: User, name: SessionId) -> bool:
        """Ask, if that is possible; return whether it is."""
        session = self._journal.state(user).session(name)
        turn = _untitled_turn(session) if session is not None else None
        assistant = self._settings.assistants.get(session.assistant) if session else None
        if session is None or turn is None or assistant is None or self._has_ended:
            return False
        if not self._approval.is_affordable(assistant):
            return False
        asking = Deferred.fromCoroutine(self._ask(user, session, turn, assistant))
        self._running[user, name] = asking
        asking.addBoth(self._done, user, name, assistant)
        return True

    def _done(self, _: object, user: User, name: SessionId, assistant: Assistant) -> None:
        self._running.pop((user, name), None)
        self._slots.give(assistant.name)

    async def _ask(
        self, user: User, session: Session, turn: Question, assistant: Assistant
    ) -> None:
        try:
            await self._journal.committed()
            messages = self._messages(turn)
            chosen = session.model_of(assistant.name)
            model = chosen if chosen in assistant.models else ""
            prompt = Prompt(messages=messages, model=model, asker=hash(user), max_tokens=MAX_TOKENS)
            result = await assistant.model.ask(prompt, ignore)
            if not isinstance(result, Completion):
                return
            title = _cleaned(result.text)
            titled = e.SessionTitled(
                at=self._event_clock.now(),
                session=session.id,
                title="" if self._approval.objects(title) else title,
                model=result.model,
                usage=self._context_window.usage(assistant, model, messages, result),
            )
            self._journal.record(user, c.RecordFact(titled))
        except (CancelledError, WxgptError):
            return  # the daemon is stopping, or is about to
        except Exception:  # noqa: BLE001 (a missing title must not look like a failure)
            log.failure("asking for a title failed unexpectedly", id="unexpected")

    def _messages(self, turn: Question) -> list[Message]:
        texts = self._settings.page_texts
        return [
            Message("user", turn.text[:SHOWN_CHARS] or texts.page_picture),
            Message("assistant", turn.answer.text[:SHOWN_CHARS]),
            Message("user", texts.title_request),
        ]


class Approval:
    """Whether a title may be asked for, and shown."""

    def __init__(self, spending: Spending, moderation: Moderation) -> None:
        self._spending = spending
        self._moderation = moderation

    def is_affordable(self, assistant: Assistant) -> bool:
        """Return whether the assistant has budget left and its server answers."""
        exhausted = assistant.name in self._spending.exhausted()
        return not exhausted and not assistant.model.circuit_open()

    def objects(self, title: str) -> bool:
        """Return whether a title contains a banned word."""
        return self._moderation.objects(Text(title))


def _untitled_turn(session: Session) -> Question | None:
    """Return the only turn of `session` with a complete answer, unless there is a title."""
    complete = [q for q in session.questions.values() if isinstance(q.answer, Completed)]
    has_one = not session.title and len(complete) == 1 and bool(complete[0].answer.text)
    return complete[0] if has_one else None


def _cleaned(text: str) -> str:
    """Return the title in a model's answer: its first line, without what is around it."""
    line = next((line for line in text.splitlines() if line.strip(_AROUND)), "")
    return without_controls(line).strip(_AROUND)[:MAX_CHARS].strip()
