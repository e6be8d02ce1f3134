"""The events that end a session, stop its answers, delete it, or erase its user."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from wxgptd.domain.decide.commands import PartialAnswer
from wxgptd.domain.model import events as e
from wxgptd.domain.model.reply_window import OVER_AFTER_S, Open, Settled, Window
from wxgptd.domain.model.session import Session
from wxgptd.domain.model.state import UserState
from wxgptd.domain.model.values import (
    PAGE_PREFIX,
    AnswerUsage,
    CloseReason,
    DeliveryKey,
    FailureReason,
    SessionId,
)

Events = tuple[e.Event, ...]


def expired(state: UserState, at: float) -> Events:
    """Return the event that closes the session if it has expired by `at`."""
    if state.live is None or state.live_at(at) is not None:
        return ()
    return (session_closed(state.live, CloseReason.EXPIRED, at),)


def close(
    state: UserState,
    live: Session,
    reason: CloseReason,
    at: float,
    written: Sequence[PartialAnswer] = (),
) -> Events:
    """Close `live`, and stop its answers if the user or the operator ended it.

    The user's `/stop` also stops answers of earlier sessions. The text `written` so far is kept.
    """
    pending: Sequence[DeliveryKey] = ()
    match reason:
        case CloseReason.STOPPED:
            pending = state.unanswered
        case CloseReason.OPERATOR | CloseReason.CLEARED:
            pending = tuple(name for name in state.unanswered if name in live.questions)
        case _:
            pass
    return (*dropped(pending, reason, at, written), session_closed(live, reason, at))


def deleted(state: UserState, name: SessionId, at: float) -> Events:
    """Return the events that delete a session; none while something in it is being answered."""
    session = state.session(name)
    if session is None or is_busy(state, session, at):
        return ()
    closed = (
        () if session is not state.live else (session_closed(session, CloseReason.STOPPED, at),)
    )
    return (*closed, e.SessionDeleted(at=at, session=name, opened_at=session.opened_at))


def is_busy(state: UserState, session: Session, at: float) -> bool:
    """Return whether an answer of `session` is being written, pushed or waited for by WeChat."""
    push = state.push.before.delivery if state.push is not None else None
    if any(name in session.questions for name in (*state.unanswered, push)):
        return True
    return any(
        _may_be_asked_for(window, session) and at - window.first_at <= OVER_AFTER_S
        for key, window in state.windows.items()
        if not key.startswith(PAGE_PREFIX)
    )


def _may_be_asked_for(window: Window, session: Session) -> bool:
    """Return whether the reply of `window` needs `session`; a command's reply does not."""
    match window:
        case Open():
            return window.session == session.id
        case Settled(reply=reply):
            return reply.question in session.questions


def erased(state: UserState, reason: CloseReason, at: float) -> Events:
    """Return the events that stop the user's answers, close the session and erase the user."""
    if not state.version:
        return ()
    closed = (session_closed(state.live, reason, at),) if state.live is not None else ()
    return (*dropped(state.unanswered, reason, at), *closed, e.UserErased(at=at))


def dropped(
    questions: Iterable[DeliveryKey],
    reason: CloseReason,
    at: float,
    written: Sequence[PartialAnswer] = (),
) -> Events:
    """Return the events that stop the answers to `questions` because their session ends."""
    return tuple(stopped(name, f"session {reason}", at, written) for name in questions)


def stopped(
    question: DeliveryKey, why: str, at: float, written: Sequence[PartialAnswer] = ()
) -> e.AnswerFailed:
    """Return the event that stops the answer to `question`, with the text `written` so far."""
    empty = PartialAnswer(question, "", AnswerUsage())
    partial = next((part for part in written if part.question == question), empty)
    return e.AnswerFailed(
        at=at,
        question=question,
        reason=FailureReason.STOPPED,
        text=partial.text,
        detail=why,
        usage=partial.usage,
    )


def session_closed(live: Session, reason: CloseReason, at: float) -> e.SessionClosed:
    """Return the event that closes `live`."""
    return e.SessionClosed(at=at, session=live.id, reason=reason)
