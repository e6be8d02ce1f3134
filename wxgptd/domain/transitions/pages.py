"""The pages behind links: opened, written on, rated, shared; and who may write at all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from wxgptd.domain.model import events as e
from wxgptd.domain.model.page_writing import MAX_WITHDRAWN, Share
from wxgptd.domain.model.state import UserState
from wxgptd.domain.model.values import Standing
from wxgptd.domain.transitions.questions import touched


def evolved(state: UserState, event: e.PageEvent) -> UserState:
    """Return `state` after something happened on a page."""
    match event:
        case e.PageOpened():
            return opened(state, event)
        case e.WriterAdmitted():
            return writer_admitted(state, event)
        case e.ReaderSeen():
            return reader_seen(state, event)
        case e.AnswerRated():
            return answer_rated(state, event)
        case e.TurnsShared():
            return turns_shared(state, event)
        case e.ShareWithdrawn():
            return share_withdrawn(state, event)
        case _:
            assert_never(event)


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


def turns_shared(state: UserState, event: e.TurnsShared) -> UserState:
    """Return the state with another link to chosen turns."""
    shared = Share(event.delivery, event.questions, event.at)
    return state._replace(shares=(*state.shares, shared), writing=state.writing.seen(event.at))


def share_withdrawn(state: UserState, event: e.ShareWithdrawn) -> UserState:
    """Return the state without a link to chosen turns."""
    shares = (
        share._replace(questions=()) if share.delivery == event.delivery else share
        for share in state.shares
    )
    return state._replace(
        shares=without_old_withdrawals(shares), writing=state.writing.seen(event.at)
    )


def without_old_withdrawals(shares: Iterable[Share]) -> tuple[Share, ...]:
    """Return the links to shared turns, without the oldest of too many withdrawn ones."""
    shares = tuple(shares)
    surplus = sum(not share.questions for share in shares) - MAX_WITHDRAWN
    kept = []
    for share in shares:
        if not share.questions and surplus > 0:
            surplus -= 1
        else:
            kept.append(share)
    return tuple(kept)


def standing_changed(state: UserState, event: e.StandingChanged) -> UserState:
    """Return the state with another standing; a block ends the right to write for good."""
    blocked = event.standing is Standing.BLOCKED
    return state._replace(
        standing=event.standing,
        standing_until=event.until,
        is_marked=True,
        writing=state.writing.ended(event.at) if blocked else state.writing,
    )
