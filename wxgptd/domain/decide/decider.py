"""What happens when something is asked of a user's state: no event, one, or a few.

`decide` proposes only what `evolve` accepts. A command that comes too late, or asks for what is
so already, decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from wxgptd.domain.decide import closing, offering
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
"""A question that outlived this many stops of the daemon may be what stops it."""

Events = tuple[e.Event, ...]


def decide(state: UserState, command: c.Command) -> Events:
    """Return the events that `command` leads to in `state`."""
    match command:
        case c.Receive():
            return receive(state, command)
        case c.OfferReply():
            settled = offering.offer(state, command)
            return offering.with_reminder(state, settled, command.at, command.policy)
        case c.CompleteAnswer():
            return _complete(state, command)
        case c.FailAnswer():
            return _fail(state, command)
        case c.RestartAnswer():
            return _restart(state, command)
        case c.ExpireSession():
            return closing.expired(state, command.at)
        case c.CloseSession():
            if state.live is None or state.live.id != command.session:
                return ()
            return closing.close(state, state.live, command.reason, command.at, command.written)
        case c.OpenPage():
            found = state.find(command.question)
            if found is None or found[1].page_opened:
                return ()
            return (e.PageOpened(at=command.at, question=command.question),)
        case c.StartPush():
            return offering.start_push(state, command)
        case c.SettlePush():
            return offering.settle_push(state, command)
        case c.ChangeStanding():
            return _change_standing(state, command)
        case c.TrimContext():
            return _trim(state, command)
        case c.NoteTrimmed(at=at, segment=segment, offset=offset, size=size):
            return (e.TailTrimmed(at=at, segment=segment, offset=offset, size=size),)
        case c.SetTimeoutBudget(at=at, size=size, ceiling=ceiling, timeouts=timeouts):
            return (e.TimeoutBudgetSet(at=at, size=size, ceiling=ceiling, timeouts=timeouts),)
        case c.NoteUnanswered(at=at, count=count):
            return (e.MessagesUnanswered(at=at, count=count),)
        case c.EraseUser(at=at, reason=reason):
            return closing.erased(state, reason, at)
        case _:
            assert_never(command)


def recover(state: UserState, now: float, link_ttl_s: float) -> tuple[c.Command, ...]:
    """Return the commands that settle what a stop of the daemon left open.

    The question whose turn it was is asked again; those behind it still wait. Given up are the
    ones too old for anybody to see their answer, and the one that is there at every stop.
    """
    settled: list[c.Command] = []
    if state.push is not None:
        settled.append(
            c.SettlePush(
                at=now,
                question=state.push.before.delivery,
                delivered=False,
                detail="the daemon stopped before WeChat had answered",
            )
        )
    heads = state.heads()
    for name in state.unanswered:
        question = state.question(name)
        if now - question.asked_at > link_ttl_s or (
            name in heads and question.restarts >= MAX_RESTARTS
        ):
            settled.append(
                c.FailAnswer(
                    at=now,
                    question=name,
                    reason=FailureReason.UNAVAILABLE,
                    text="",
                    detail="given up after a restart of the daemon",
                )
            )
        elif name in heads:
            settled.append(c.RestartAnswer(at=now, question=name))
    return tuple(settled)


def _if_pending(state: UserState, name: DeliveryKey, event: Callable[[Pending], e.Event]) -> Events:
    found = state.find(name)
    if found is None or not isinstance(found[1].answer, Pending):
        return ()
    return (event(found[1].answer),)


def _complete(state: UserState, command: c.CompleteAnswer) -> Events:
    return _if_pending(
        state,
        command.question,
        lambda _: e.AnswerCompleted(
            at=command.at,
            question=command.question,
            text=command.text,
            finish=command.finish,
            model=command.model,
            prompt_tokens=command.prompt_tokens,
            completion_tokens=command.completion_tokens,
            first_text_s=command.first_text_s,
            took_s=command.took_s,
            assistant=command.assistant,
            estimated=command.estimated,
            prompt_bytes=command.prompt_bytes,
            cost=command.cost,
            withdrawn=command.withdrawn,
        ),
    )


def _fail(state: UserState, command: c.FailAnswer) -> Events:
    return _if_pending(
        state,
        command.question,
        lambda _: e.AnswerFailed(
            at=command.at,
            question=command.question,
            reason=command.reason,
            text=command.text,
            detail=command.detail,
            retry_after_s=command.retry_after_s,
            tokens=command.tokens,
            assistant=command.assistant,
            cost=command.cost,
        ),
    )


def _restart(state: UserState, command: c.RestartAnswer) -> Events:
    return _if_pending(
        state,
        command.question,
        lambda _: e.AnswerRestarted(at=command.at, question=command.question),
    )


def _trim(state: UserState, command: c.TrimContext) -> Events:
    found = state.find(command.question)
    if found is None or found[0].trimmed or not isinstance(found[1].answer, Pending):
        return ()  # told once in a session
    trimmed = e.ContextTrimmed(at=command.at, question=command.question, turns=command.turns)
    return (trimmed,)


def _change_standing(state: UserState, command: c.ChangeStanding) -> Events:
    changed = e.StandingChanged(at=command.at, standing=command.standing, until=command.until)
    if command.standing is not Standing.BLOCKED:
        return (changed,)
    reason = CloseReason.OPERATOR
    given_up = closing.dropped(state.unanswered, reason, command.at)
    live = state.live
    closed = (closing.session_closed(live, reason, command.at),) if live is not None else ()
    return (*given_up, *closed, changed)
