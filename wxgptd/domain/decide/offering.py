"""Replies to a user: fixed texts, parts of answers, and reminders of unseen answers."""

from __future__ import annotations

from dataclasses import replace

from wxgptd.domain.decide import commands as c
from wxgptd.domain.model import events as e
from wxgptd.domain.model import push_quota
from wxgptd.domain.model.reply_window import Settled
from wxgptd.domain.model.session import Completed, Failed, Pending
from wxgptd.domain.model.state import UserState
from wxgptd.domain.model.values import (
    CloseReason,
    DeliveryKey,
    FailureReason,
    Notice,
    Policy,
    ReplyKind,
    Standing,
    Style,
)
from wxgptd.domain.text import paging

Events = tuple[e.Event, ...]

PUSHED = "pushed"
"""The `about` of a reply sent before its answer is complete, if the rest will be pushed."""

IN_LINE = "in_line"
"""The `about` of a reply sent while its question is still waiting for a slot."""

IN_LINE_PUSHED = "in_line_pushed"

OPEN = "open"
"""The `about` of the help notice in a session: no command is needed to open one."""

ANSWER = "answer"
"""`about` of the notice that a session has ended, if that also stopped an answer."""


def notice(
    at: float,
    delivery: DeliveryKey,
    name: Notice,
    about: str = "",
    question: DeliveryKey = DeliveryKey(""),
) -> e.ReplyOffered:
    """Return the event that settles a window with a fixed text."""
    return e.ReplyOffered(
        at=at,
        delivery=delivery,
        kind=ReplyKind.NOTICE,
        notice=name,
        about=about,
        question=question,
        start=0,
        end=0,
        text="",
        style=Style.PLAIN,
        rest=False,
        reminder=DeliveryKey(""),
    )


def offer(state: UserState, command: c.OfferReply) -> Events:
    """Settle an open window with as much of its answer as is available."""
    window = state.windows.get(command.delivery)
    if window is None or isinstance(window, Settled) or not window.question:
        return ()
    question = state.question(window.question)
    answer = question.answer
    growing = isinstance(answer, Pending)
    style = question.style or command.policy.style
    text = paging.readable(command.written if growing else answer.text, style, growing=growing)
    start = question.offered
    if not text[start:].strip() and isinstance(answer, Completed):
        # Another window or a push has already delivered all of it.
        if command.delivery != question.delivery or question.pushed:
            return (notice(command.at, command.delivery, Notice.ALL_SAID, "", question.delivery),)
        start = 0
    if text[start:].strip():
        end = paging.cut(text, start, command.room, style, growing=growing)
        kind = ReplyKind.PARTIAL if growing else ReplyKind.ANSWER
    else:
        # A failure is reported after any text.
        start = end = 0 if growing else len(text)
        kind = ReplyKind.LINK if growing else ReplyKind.FAILURE
    return (
        e.ReplyOffered(
            at=command.at,
            delivery=command.delivery,
            kind=kind,
            notice="",
            about=_about(command, kind),
            question=question.delivery,
            start=start,
            end=end,
            text=paging.page(text, start, end, style) if kind is ReplyKind.PARTIAL else "",
            style=style,
            rest=growing or bool(text[end:].strip()),
            reminder=DeliveryKey(""),
        ),
    )


def _about(command: c.OfferReply, kind: ReplyKind) -> str:
    if kind is ReplyKind.LINK and command.in_line:
        return IN_LINE_PUSHED if command.pushes else IN_LINE
    return PUSHED if kind in (ReplyKind.LINK, ReplyKind.PARTIAL) and command.pushes else ""


def with_reminder(state: UserState, events: Events, at: float, policy: Policy) -> Events:
    """Add a reminder of an unseen answer, if any, to the reply among `events`."""
    if not state.unseen or any(
        isinstance(event, e.SessionClosed) and event.reason is CloseReason.CLEARED
        for event in events
    ):
        return events
    unseen = state.reminder(at, policy.link_ttl_s)
    if unseen is None:
        return events
    return tuple(
        replace(event, reminder=unseen.delivery)
        if isinstance(event, e.ReplyOffered) and event.question != unseen.delivery
        else event
        for event in events
    )


# Pushing.


def start_push(state: UserState, command: c.StartPush) -> Events:
    """Start pushing the next part of an answer that came too late for its window."""
    entry = state.find(command.question)
    if entry is None or state.push is not None:
        return ()
    session, question = entry
    if (
        isinstance(question.answer, Pending)
        or question.page_opened
        or not question.has_more()
        or not (question.late or question.offered == 0)  # its reply had the first part
        or session.closed in (CloseReason.CLEARED, CloseReason.UNSUBSCRIBED)
        or not push_quota.allows(state, command.at)
        or state.is_awaited(question.delivery, command.at)
        or state.standing_at(command.at) is Standing.BLOCKED
        or (isinstance(question.answer, Failed) and question.answer.reason is FailureReason.STOPPED)
    ):
        return ()
    style = question.style or command.policy.style
    text = paging.readable(question.answer.text, style)
    start = question.offered
    if text[start:].strip():
        end = paging.cut(text, start, command.room, style)
    elif isinstance(question.answer, Failed) and not question.failure_told:
        start = end = len(text)
    else:
        return ()
    return (
        e.PushStarted(
            at=command.at,
            question=question.delivery,
            start=start,
            end=end,
            style=style,
            rest=bool(text[end:].strip()),
        ),
    )


def settle_push(state: UserState, command: c.SettlePush) -> Events:
    """Record the outcome of the push in progress."""
    if state.push is None or state.push.before.delivery != command.question:
        return ()
    if command.delivered:
        return (e.PushDelivered(at=command.at, question=command.question),)
    return (
        e.PushFailed(
            at=command.at, question=command.question, code=command.code, detail=command.detail
        ),
    )
