"""Messages accepted as questions, and messages declined with a notice."""

from __future__ import annotations

from collections.abc import Callable

from wxgptd.domain.decide import commands as c
from wxgptd.domain.decide import limits, offering
from wxgptd.domain.intake import phrases, routing
from wxgptd.domain.model import events as e
from wxgptd.domain.model.session import Session
from wxgptd.domain.model.state import UserState
from wxgptd.domain.model.values import (
    AssistantName,
    DeliveryKey,
    Notice,
    Picture,
    Text,
    Unsupported,
)

Events = tuple[e.Event, ...]


def put(state: UserState, live: Session | None, command: c.Receive) -> Events:
    """Accept a message as a question in `live`, or in a new session."""
    assistant = live.assistant if live is not None else command.policy.open_with
    match command.message.content:
        case Text(text=text):
            return ask(state, live, assistant, command, text)
        case Picture(url=url) if url and assistant in command.policy.sighted:
            return ask(state, live, assistant, command, "", url)
        case Picture():
            return declined(command, Notice.NOT_UNDERSTOOD, "image")
        case Unsupported(kind=kind):
            return declined(command, Notice.NOT_UNDERSTOOD, kind)
        case other:
            raise AssertionError(other)  # events are routed elsewhere


def resumed(
    state: UserState, command: c.Receive, resumes: bool, then: Callable[[Session | None], Events]
) -> Events:
    """Return what `then` decides for the last session if `resumes`, else for the live one."""
    if not resumes:
        return then(state.live_at(command.at))
    last = routing.lapsed_session(state, command.message.assistants, command.policy, command.at)
    assert last is not None
    ttl_s = command.policy.session_ttl_s
    events = then(last.resumed(command.at, ttl_s))
    if not any(map(_needs_session, events)):
        return events  # a declined message resumes nothing
    return (e.SessionResumed(at=command.at, session=last.id, ttl_s=ttl_s), *events)


def _needs_session(event: e.Event) -> bool:
    match event:
        case e.QuestionAsked() | e.ModelChosen():
            return True
        case e.ReplyOffered(notice=name):
            return name in (Notice.SESSION_RESUMED, Notice.MODELS, Notice.NO_SUCH_MODEL)
        case _:
            return False


def ask(
    state: UserState,
    live: Session | None,
    assistant: AssistantName,
    command: c.Receive,
    text: str,
    image: str = "",
    retries: DeliveryKey = DeliveryKey(""),
    *,
    held: bool = False,
) -> Events:
    """Accept a question, opening a session for it if none is `live`."""
    question = text.strip()
    if not question and not image:
        return declined(command, Notice.NOT_UNDERSTOOD, "text")
    if len(question.encode("utf-8", "replace")) > command.policy.max_question_bytes:
        return declined(command, Notice.QUESTION_TOO_LONG, "")
    # Counted across all sessions: a replaced one may still have an answer running.
    if len(state.unanswered) > command.policy.max_waiting:
        return declined(command, Notice.TOO_MANY_WAITING, "")
    if command.moderated:
        return declined(command, Notice.MODERATED, "")
    if assistant in command.spent:
        return declined(command, Notice.BUDGET_SPENT, "")
    is_chat = isinstance(command.message.phrase.action, phrases.Say) and not command.is_on_page
    limited = limits.limit_on_question(state, command, silent=is_chat)
    if limited is not None:
        return limited
    opened = () if live is not None else (session_opened(command, assistant),)
    asked = e.QuestionAsked(
        at=command.at,
        session=live.id if live is not None else command.fresh_session,
        delivery=command.delivery,
        text=question,
        link=command.link,
        image=image,
        sent_at=command.sent_at,
        delay_s=command.delay_s,
        tapped=command.tapped,
        retries=retries,
        held=held,
    )
    return (*opened, asked)


def held_back(command: c.Receive) -> e.MessageHeld:
    """Return the event that holds a message back."""
    return e.MessageHeld(
        at=command.at,
        delivery=command.delivery,
        sealed=command.sealed,
        tapped=command.tapped,
    )


def declined(command: c.Receive, notice: Notice, about: str) -> Events:
    """Return the events that decline a message with a notice."""
    event = e.MessageDeclined(
        at=command.at,
        delivery=command.delivery,
        reason=notice,
        about=about,
        tapped=command.tapped,
    )
    return (event, noticed(command, notice, about))


def command_given(command: c.Receive, name: str) -> e.CommandGiven:
    """Return the event that records a chat command under its canonical name."""
    return e.CommandGiven(
        at=command.at,
        delivery=command.delivery,
        command=name,
        sent_at=command.sent_at,
        tapped=command.tapped,
    )


def session_opened(command: c.Receive, assistant: AssistantName) -> e.SessionOpened:
    """Return the event that opens a session."""
    return e.SessionOpened(
        at=command.at,
        session=command.fresh_session,
        assistant=assistant,
        ttl_s=command.policy.session_ttl_s,
    )


def noticed(command: c.Receive, notice: Notice, about: str = "") -> e.ReplyOffered:
    """Return a reply with a fixed text."""
    return offering.notice(command.at, command.delivery, notice, about)
