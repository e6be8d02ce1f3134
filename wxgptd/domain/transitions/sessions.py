"""Sessions: opened, resumed, closed, titled, deleted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from wxgptd.domain.model import events as e
from wxgptd.domain.model.past import Past
from wxgptd.domain.model.reply_window import Open, Settled, Window
from wxgptd.domain.model.session import Forgotten, Pending, Session
from wxgptd.domain.model.state import Held, Inconsistent, UserState
from wxgptd.domain.model.values import CloseReason, Reply, ReplyKind
from wxgptd.domain.transitions import pages, windows

LONGEST_DAY_S = 25 * 3_600.0
"""The length of the day on which clocks are set back."""


def opened(state: UserState, event: e.SessionOpened) -> UserState:
    """Return the state with a session open."""
    if state.live is not None:
        raise Inconsistent(f"session {event.session} opened while {state.live.id} was open")
    session = Session(
        id=event.session,
        assistant=event.assistant,
        opened_at=event.at,
        last_at=event.at,
        ttl_s=event.ttl_s,
    )
    return state._replace(live=session)


def closed(state: UserState, event: e.SessionClosed) -> UserState:
    """Return the state with its open session ended."""
    if state.live is None or state.live.id != event.session:
        raise Inconsistent(f"session {event.session} closed, but it was not open")
    session = state.live.closed_as(event.reason, event.at)
    unseen = state.unseen
    if unseen and event.reason is CloseReason.CLEARED:
        unseen = tuple(name for name in unseen if name not in session.questions)
    writing = state.writing
    if event.reason is CloseReason.CLEARED:
        writing = writing.ended(event.at)
    return state._replace(
        live=None, past=state.past.appended(session), unseen=unseen, writing=writing
    )


def model_chosen(state: UserState, event: e.ModelChosen) -> UserState:
    """Return the state with another model for the open session."""
    if state.live is None or state.live.id != event.session:
        raise Inconsistent(f"model chosen outside session {event.session}")
    updated = windows.opened(state, event)
    assert updated.live is not None
    return updated._replace(live=updated.live._replace(model=event.model))


def titled(state: UserState, event: e.SessionTitled) -> UserState:
    """Return the state with a title for a session."""
    if state.live is not None and state.live.id == event.session:
        return state._replace(live=state.live._replace(title=event.title))
    titled = (
        session._replace(title=event.title) if session.id == event.session else session
        for session in state.past
    )
    return state._replace(past=Past(titled))


def deleted(state: UserState, event: e.SessionDeleted) -> UserState:
    """Return the state without a past session, and without anything that was said in it."""
    session = state.session(event.session)
    if session is None or session is state.live:
        raise Inconsistent(f"session {event.session} deleted, but it was not a past one")
    questions = session.questions
    windows = {
        key: _without_words(window, event.at) if _is_about(window, session) else window
        for key, window in state.windows.items()
    }
    shares = (
        share._replace(questions=tuple(name for name in share.questions if name not in questions))
        for share in state.shares
    )
    return state._replace(
        past=state.past.without(session.id),
        windows=windows,
        unseen=tuple(name for name in state.unseen if name not in questions),
        shares=pages.without_old_withdrawals(shares),
        writing=state.writing.seen(event.at),
        forgotten=(*_lately(state.forgotten, event.at), *_lately(_remains(session), event.at)),
    )


def _is_about(window: Window, session: Session) -> bool:
    """Return whether a message belongs to `session`, or its reply is about one of its questions."""
    question = window.question if isinstance(window, Open) else window.reply.question
    return window.session == session.id or question in session.questions


def _without_words(window: Window, at: float) -> Window:
    """Return `window` settled, without anything that was said; a late attempt gets no reply."""
    match window:
        case Open(question=question):
            reply = Reply(ReplyKind.NOTICE, question=question)
            return Settled(window.first_at, window.attempts, reply, at, window.session)
        case Settled(reply=reply):
            return window._replace(reply=reply._replace(text="", about=""))


def _remains(session: Session) -> Iterator[Forgotten]:
    for question in session.questions.values():
        tokens = 0 if isinstance(question.answer, Pending) else question.answer.tokens
        yield Forgotten(question.asked_at, tokens)


def _lately(forgotten: Iterable[Forgotten], at: float) -> Iterator[Forgotten]:
    return (question for question in forgotten if question.asked_at > at - LONGEST_DAY_S)


def message_held(state: UserState, event: e.MessageHeld) -> UserState:
    """Return the state with a message held back, replacing an older one."""
    held = Held(event.sealed, event.at) if event.sealed else None
    return windows.opened(state, event)._replace(held=held, hinted_at=event.at)


def command_given(state: UserState, event: e.CommandGiven) -> UserState:
    """Return the state after a command, except for effects that other events record."""
    updated = windows.opened(state, event)
    match event.command:
        case "stop":
            return _stopped(updated)
        case "clear":
            return updated._replace(history_links=(), writing=updated.writing.ended(event.at))
        case "clear session":
            return updated._replace(writing=updated.writing.ended(event.at))
        case _:
            return updated


def unsubscribed(state: UserState, event: e.UserUnsubscribed) -> UserState:
    """Return the state of a user who unfollowed the account: all links are invalid."""
    updated = windows.opened(state, event)
    past = Past(session.closed_as(CloseReason.UNSUBSCRIBED, event.at) for session in state.past)
    return updated._replace(past=past, unseen=(), spoke_at=0.0, tapped_at=0.0, history_links=())


def _stopped(state: UserState) -> UserState:
    """Return the state after a `/stop`, which also ends an expired session for good."""
    last = state.past.last()
    if state.live is not None or last is None or last.closed is not CloseReason.EXPIRED:
        return state._replace(held=None)
    session = last.closed_as(CloseReason.STOPPED, last.closed_at)
    return state._replace(past=state.past.without_last().appended(session), held=None)


def resumed(state: UserState, event: e.SessionResumed) -> UserState:
    """Return the state with its last session, which had expired, open again."""
    last = state.past.last()
    if state.live is not None or last is None or last.id != event.session:
        raise Inconsistent(f"session {event.session} resumed, but it was not the last one")
    if last.closed is not CloseReason.EXPIRED:
        raise Inconsistent(f"session {event.session} resumed, but it had not expired")
    session = last.resumed(event.at, event.ttl_s)
    return state._replace(live=session, past=state.past.without_last(), hinted_at=0.0)
