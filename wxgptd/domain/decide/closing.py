"""The events that end a session, stop its answers, or erase its user."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from wxgptd.domain.decide.commands import PartialAnswer
from wxgptd.domain.model import events as e
from wxgptd.domain.model.session import Session
from wxgptd.domain.model.state import UserState
from wxgptd.domain.model.values import AnswerUsage, CloseReason, DeliveryKey, FailureReason

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
