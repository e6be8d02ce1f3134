"""What it takes to end a session."""

from __future__ import annotations

from collections.abc import Iterable

from wxgptd.domain import events as e
from wxgptd.domain.session import Session
from wxgptd.domain.state import UserState
from wxgptd.domain.values import AssistantName, CloseReason, DeliveryKey, FailureReason

Events = tuple[e.Event, ...]


def expired(live: Session | None, at: float) -> Events:
    """Return what closes `live` if its time is over at `at`."""
    if live is None or at < live.expires_at:
        return ()
    return (session_closed(live, CloseReason.EXPIRED, at),)


def close(state: UserState, live: Session, reason: CloseReason, at: float) -> Events:
    """Close `live`, and drop what its user has no more use for.

    `/stop` leaves the running answer to whoever waits for it and drops the questions behind it;
    `/clear` drops that answer too, since its link dies with the session.
    """
    pending = [name for name in state.unanswered if name in live.questions]
    match reason:
        case CloseReason.STOPPED | CloseReason.OPERATOR:
            useless = pending[1:]
        case CloseReason.CLEARED:
            useless = pending
        case _:
            useless = []
    return (*dropped(useless, reason, at), session_closed(live, reason, at))


def erased(state: UserState, reason: CloseReason, at: float) -> Events:
    """Return what gives up on everything about the user, and has it erased."""
    if not state.version:
        return ()
    closed = (session_closed(state.live, reason, at),) if state.live is not None else ()
    return (*dropped(state.unanswered, reason, at), *closed, e.UserErased(at=at))


def dropped(questions: Iterable[DeliveryKey], reason: CloseReason, at: float) -> Events:
    """Return what gives up on `questions` because their session ends."""
    return tuple(
        e.AnswerFailed(
            at=at,
            question=name,
            reason=FailureReason.STOPPED,
            text="",
            detail=f"session {reason}",
            retry_after_s=0.0,
            tokens=0,
            assistant=AssistantName(""),
            cost=0.0,
        )
        for name in questions
    )


def session_closed(live: Session, reason: CloseReason, at: float) -> e.SessionClosed:
    """Return what closes `live`."""
    return e.SessionClosed(at=at, session=live.id, reason=reason)
