"""The limits on one user, and the notices that decline messages beyond them.

Each notice says when the user can try again, if that is known. At most one is sent per minute, so
that a flood of messages does not cause a flood of replies; a command over a limit gets a reply each
time.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

from wxgptd.domain.decide import commands as c
from wxgptd.domain.decide.offering import notice
from wxgptd.domain.model import events as e
from wxgptd.domain.model.reply_window import Settled, Window
from wxgptd.domain.model.session import Completed, Failed, Question
from wxgptd.domain.model.state import UserState
from wxgptd.domain.model.values import (
    EVENT_PREFIX,
    PAGE_PREFIX,
    DeliveryKey,
    Notice,
    Standing,
    Usage,
)

Events = tuple[e.Event, ...]

SILENT_FOR_S = 60.0
"""How long after a limit notice a user gets no other."""

MINUTE_S = 60.0

LIMIT_NOTICES = frozenset(
    {
        Notice.BLOCKED,
        Notice.NOT_ALLOWED,
        Notice.TOO_MANY_MESSAGES,
        Notice.TOO_MANY_QUESTIONS,
        Notice.TOO_MANY_TOKENS,
    }
)


def limit_on_message(
    state: UserState, command: c.Receive, *, costs: bool = True, silent: bool = True
) -> Events | None:
    """Return the events that decline a message, or None if it is within the limits.

    The per-minute limit applies only to a message that `costs`. If `silent`, a user who has just
    received a limit notice gets no other.
    """
    standing = state.standing_at(command.at)
    limits = command.policy.limits
    if standing is Standing.BLOCKED:
        until = state.standing_until
        return _limited(state, command, Notice.BLOCKED, until - command.at if until else 0.0)
    if standing is Standing.ALLOWED:
        return None
    if limits.only_allowed:
        return _limited(state, command, Notice.NOT_ALLOWED, 0.0)
    if limits.messages_per_minute and costs:
        recent = [
            window.first_at
            for delivery, window in state.windows.items()
            if window.first_at > command.at - MINUTE_S and _costs(delivery, window)
        ]
        if len(recent) >= limits.messages_per_minute:
            free_at = recent[-limits.messages_per_minute] + MINUTE_S
            for_s = free_at - command.at
            return _limited(state, command, Notice.TOO_MANY_MESSAGES, for_s, silent=silent)
    return None


def _costs(delivery: DeliveryKey, window: Window) -> bool:
    """Return whether a message counts towards the per-minute limit, as help, for one, does not."""
    question = window.reply.question if isinstance(window, Settled) else window.question
    if question:
        return question == delivery
    free = isinstance(window, Settled) and window.reply.notice in FREE
    return not free and not delivery.startswith(EVENT_PREFIX)


FREE = LIMIT_NOTICES | {
    Notice.HELP,
    Notice.HISTORY,
    Notice.NO_SUCH_COMMAND,
    Notice.ALL_SAID,
    Notice.NO_SESSION,
    Notice.SESSION_STOPPED,
    Notice.ANSWER_STOPPED,
    Notice.EXPIRED_HINT,
}
"""Messages that were answered with one of these do not count towards the per-minute limit."""


def limit_on_question(
    state: UserState, command: c.Receive, *, silent: bool = True
) -> Events | None:
    """Return the events that decline a question, or None; `silent` is as in `limit_on_message`."""
    limits = command.policy.limits
    if state.standing_at(command.at) is Standing.ALLOWED or not (
        limits.questions_per_day or limits.tokens_per_day
    ):
        return None
    today = usage_since(state, command.day_began_at)
    tomorrow = command.day_ends_at - command.at
    question_count = today.questions + command.used.questions
    token_count = today.tokens + command.used.tokens
    if limits.questions_per_day and question_count >= limits.questions_per_day:
        return _limited(state, command, Notice.TOO_MANY_QUESTIONS, tomorrow, silent=silent)
    if limits.tokens_per_day and token_count >= limits.tokens_per_day:
        return _limited(state, command, Notice.TOO_MANY_TOKENS, tomorrow, silent=silent)
    return None


def _questions_since(state: UserState, at: float) -> Iterator[Question]:
    """Yield the questions asked since `at`, newest first."""
    for session in state.sessions():
        if session.last_at < at:
            return
        for question in reversed(session.questions.values()):  # type: ignore[call-overload]
            if question.asked_at >= at:
                yield question


def usage_since(state: UserState, at: float) -> Usage:
    """Return what the questions asked since `at` used, those in deleted sessions included.

    Tokens are estimated if none were reported.
    """
    questions = list(_questions_since(state, at))
    forgotten = [question for question in state.forgotten if question.asked_at >= at]
    tokens = sum(
        question.answer.tokens
        for question in questions
        if isinstance(question.answer, Completed | Failed)
    )
    return Usage(
        questions=len(questions) + len(forgotten),
        tokens=tokens + sum(question.tokens for question in forgotten),
    )


def _limited(
    state: UserState, command: c.Receive, name: Notice, for_s: float, *, silent: bool = True
) -> Events:
    if silent and any(
        _is_limit_notice(window)
        and window.first_at > command.at - SILENT_FOR_S
        and not delivery.startswith(PAGE_PREFIX)
        for delivery, window in state.windows.items()
    ):
        return ()
    about = str(ceil(for_s)) if for_s > 0 else ""
    declined = e.MessageDeclined(
        at=command.at,
        delivery=command.delivery,
        reason=name,
        about=about,
        tapped=command.tapped,
    )
    return (declined, notice(command.at, command.delivery, name, about))


def _is_limit_notice(window: Window) -> bool:
    return isinstance(window, Settled) and window.reply.notice in LIMIT_NOTICES
