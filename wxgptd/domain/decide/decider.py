"""Turn a command and the state of a user into events: none, one or a few.

`decide` proposes only what `evolve` accepts. A command that comes too late, or would change
nothing, produces no events.
"""

from __future__ import annotations

from typing import assert_never

from wxgptd.domain.decide import closing, offering, pages
from wxgptd.domain.decide import commands as c
from wxgptd.domain.decide.receiving import receive
from wxgptd.domain.model import events as e
from wxgptd.domain.model.session import Pending
from wxgptd.domain.model.state import UserState
from wxgptd.domain.model.values import (
    CloseReason,
    DeliveryKey,
    FailureReason,
    Standing,
)

MAX_RESTARTS = 3
"""A question that was running when the daemon stopped this many times may be the cause."""

Events = tuple[e.Event, ...]


def decide(state: UserState, command: c.Command) -> Events:
    """Return the events that `command` produces in `state`."""
    match command:
        case c.Receive():
            return receive(state, command)
        case c.AskOnPage():
            return pages.ask(state, command)
        case c.AdmitWriter():
            return pages.admit(state, command)
        case c.DeleteSession():
            return closing.deleted(state, command.session, command.at)
        case c.OfferReply():
            settled = offering.offer(state, command)
            return offering.with_reminder(state, settled, command.at, command.policy)
        case c.RecordFact(fact=fact):
            return _note(state, fact)
        case c.ExpireSession():
            return closing.expired(state, command.at)
        case c.CloseSession():
            if state.live is None or state.live.id != command.session:
                return ()
            return closing.close(state, state.live, command.reason, command.at, command.written)
        case c.StartPush():
            return offering.start_push(state, command)
        case c.SettlePush():
            return offering.settle_push(state, command)
        case c.EraseUser(at=at, reason=reason):
            return closing.erased(state, reason, at)
        case _:
            assert_never(command)


def recover(state: UserState, now: float, link_ttl_s: float) -> tuple[c.Command, ...]:
    """Return the commands that settle what was unfinished when the daemon stopped.

    The running question of each session is sent to the model again; queued ones keep waiting.
    Questions whose link has expired are abandoned, and so is one that was restarted too often.
    """
    settled: list[c.Command] = []
    if state.push is not None:
        settled.append(
            c.SettlePush(
                at=now,
                question=state.push.before.delivery,
                delivered=False,
                detail="the daemon stopped before WeChat answered",
            )
        )
    heads = state.next_questions()
    for name in state.unanswered:
        question = state.question(name)
        if now - question.asked_at > link_ttl_s or (
            name in heads and question.restarts >= MAX_RESTARTS
        ):
            settled.append(
                c.RecordFact(
                    e.AnswerFailed(
                        at=now,
                        question=name,
                        reason=FailureReason.UNAVAILABLE,
                        text="",
                        detail="abandoned after a restart of the daemon",
                    )
                )
            )
        elif name in heads:
            settled.append(c.RecordFact(e.AnswerRestarted(at=now, question=name)))
    return tuple(settled)


def _note(state: UserState, fact: e.Fact) -> Events:
    """Return `fact`, with its consequences, if it still applies."""
    match fact:
        case e.AnswerCompleted() | e.AnswerFailed() | e.AnswerRestarted():
            return (fact,) if _is_pending(state, fact.question) else ()
        case e.ContextTrimmed():
            entry = state.find(fact.question)
            is_told = entry is None or entry[0].trimmed  # the user is notified once per session
            return () if is_told or not _is_pending(state, fact.question) else (fact,)
        case e.PageOpened():
            entry = state.find(fact.question)
            return () if entry is None or entry[1].page_opened else (fact,)
        case e.ReaderSeen():
            return pages.seen(state, fact)
        case e.AnswerRated():
            entry = state.find(fact.question)
            unchanged = entry is None or (entry[1].rating is fact.rating and not fact.words)
            return () if unchanged else (fact,)
        case e.TurnsShared():
            return pages.share(state, fact)
        case e.ShareWithdrawn():
            share = state.share(fact.delivery)
            return (fact,) if share is not None and share.questions else ()
        case e.SessionTitled():
            return (fact,) if state.session(fact.session) is not None else ()
        case e.StandingChanged():
            return _standing_changed(state, fact)
        case e.UserNamed():
            return (fact,) if fact.name != state.name else ()
        case _ if isinstance(fact, e.AccountFact):
            return (fact,)
        case _:
            assert_never(fact)


def _is_pending(state: UserState, name: DeliveryKey) -> bool:
    entry = state.find(name)
    return entry is not None and isinstance(entry[1].answer, Pending)


def _standing_changed(state: UserState, changed: e.StandingChanged) -> Events:
    if changed.standing is not Standing.BLOCKED:
        return (changed,)
    reason = CloseReason.OPERATOR
    stopped = closing.dropped(state.unanswered, reason, changed.at)
    live = state.live
    closed = (closing.session_closed(live, reason, changed.at),) if live is not None else ()
    return (*stopped, *closed, changed)
