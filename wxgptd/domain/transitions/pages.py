"""The pages behind links: opened, written on, rated; and who may write at all."""

from __future__ import annotations

from wxgptd.domain.model import events as e
from wxgptd.domain.model.state import UserState
from wxgptd.domain.model.values import Standing
from wxgptd.domain.transitions.questions import touched


def opened(state: UserState, event: e.PageOpened) -> UserState:
    """Return the state with the page of an answer opened, by anyone."""
    live, past = state.sessions_with(state.question(event.question).seen())
    if event.extends:
        live = touched(live, event.question, event.at)
    unseen = state.unseen_without(event.question)
    return state._replace(live=live, past=past, unseen=unseen)


def writer_admitted(state: UserState, event: e.WriterAdmitted) -> UserState:
    """Return the state with another browser that may write, which counts as activity."""
    writing = state.writing.admitted(event.cookie, event.issued_at)
    return state._replace(
        live=touched(state.live, event.question, event.at), writing=writing.seen(event.at)
    )


def reader_seen(state: UserState, event: e.ReaderSeen) -> UserState:
    """Return the state with the user reading a page, which counts as activity."""
    return state._replace(
        live=touched(state.live, event.question, event.at), writing=state.writing.seen(event.at)
    )


def answer_rated(state: UserState, event: e.AnswerRated) -> UserState:
    """Return the state with an answer rated."""
    question = state.question(event.question)._replace(rating=event.rating)
    live, past = state.sessions_with(question)
    return state._replace(live=live, past=past)


def standing_changed(state: UserState, event: e.StandingChanged) -> UserState:
    """Return the state with another standing; a block ends the right to write for good."""
    blocked = event.standing is Standing.BLOCKED
    return state._replace(
        standing=event.standing,
        standing_until=event.until,
        is_marked=True,
        writing=state.writing.ended(event.at) if blocked else state.writing,
    )
