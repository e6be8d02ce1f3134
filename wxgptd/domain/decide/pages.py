"""Questions asked on a page, and the browsers that may ask them.

A question on a page is a message like any other: it belongs to the same user and session, and the
same limits apply. Its delivery key begins with `PAGE_PREFIX`, and no attempt of WeChat's waits for
it, so its answer counts as seen from the beginning.
"""

from __future__ import annotations

from dataclasses import replace

from wxgptd.domain.decide import closing, limits, questions
from wxgptd.domain.decide import commands as c
from wxgptd.domain.model import events as e
from wxgptd.domain.model.page_writing import MAX_SHARED_TURNS, MAX_SHARES
from wxgptd.domain.model.session import Pending, Question, Session
from wxgptd.domain.model.state import UserState
from wxgptd.domain.model.values import (
    AssistantName,
    CloseReason,
    DeliveryKey,
    Notice,
    Standing,
    Text,
)

Events = tuple[e.Event, ...]

LINKS_ENDED = (CloseReason.CLEARED, CloseReason.UNSUBSCRIBED)
"""The links to answers of sessions that ended in this way no longer work."""

SEEN_EVERY_S = 60.0
READING_FOR_S = 1_800.0
"""How long after a message or an answer its reader counts as active."""


def admit(state: UserState, command: c.AdmitWriter) -> Events:
    """Let a browser write in exchange for a secret, unless that secret is spent."""
    if command.question and state.find(command.question) is None:
        return ()
    cleared_at = max(
        (s.closed_at for s in state.past if s.closed is CloseReason.CLEARED), default=0.0
    )
    if (
        command.issued_at <= max(state.writing.spent_at, cleared_at)
        or state.standing_at(command.at) is Standing.BLOCKED
    ):
        return ()
    return (
        e.WriterAdmitted(
            at=command.at,
            question=command.question,
            cookie=command.cookie,
            issued_at=command.issued_at,
        ),
    )


def seen(state: UserState, fact: e.ReaderSeen) -> Events:
    """Record that the user is reading, once a minute, for a while after the last activity.

    A page that stays open must not keep a session, and the right to write, alive for ever.
    """
    entry = state.find(fact.question)
    if entry is None or fact.at - state.writing.seen_at < SEEN_EVERY_S:
        return ()
    answer = entry[1].answer
    answered_at = 0.0 if isinstance(answer, Pending) else answer.at
    active_at = max(state.heard_at, entry[1].asked_at, answered_at)
    return (fact,) if fact.at - active_at <= READING_FOR_S else ()


def share(state: UserState, fact: e.TurnsShared) -> Events:
    """Share turns that are readable, unless the user has too many such links already."""
    entries = [state.find(question) for question in fact.questions]
    can_be_shared = (
        bool(entries)
        and all(entry is not None and _is_finished(*entry) for entry in entries)
        and state.share(fact.delivery) is None
        and len(entries) <= MAX_SHARED_TURNS
        and sum(bool(share.questions) for share in state.shares) < MAX_SHARES
    )
    return (fact,) if can_be_shared else ()


def _is_finished(session: Session, question: Question) -> bool:
    return session.closed not in LINKS_ENDED and not isinstance(question.answer, Pending)


def ask(state: UserState, command: c.AskOnPage) -> Events:
    """Accept a question from a page, or decline it with a notice. Repeating it has no effect."""
    receive = command.message
    if receive.delivery in state.windows or state.find(receive.delivery) is not None:
        return ()
    expired = closing.expired(state, receive.at)
    declined = limits.limit_on_message(state, receive, silent=False)
    if declined is not None:
        return (*expired, *declined)
    live, resumed = _session(state, command)
    assistant = live.assistant if live is not None else _assistant(state, command)
    content = receive.message.content
    assert isinstance(content, Text)
    if command.image and assistant not in receive.policy.sighted:
        return (*expired, *questions.declined(receive, Notice.NOT_UNDERSTOOD, "image"))
    repeats = live is not None and command.retries in live.questions
    retries = command.retries if repeats else DeliveryKey("")
    asked = questions.ask(state, live, assistant, receive, content.text, command.image, retries)
    question = asked[-1]
    if not isinstance(question, e.QuestionAsked):
        return (*expired, *asked)
    question = replace(question, model=command.model)
    seen = e.PageOpened(at=receive.at, question=receive.delivery)
    return (*expired, *resumed, *asked[:-1], question, seen)


def _session(state: UserState, command: c.AskOnPage) -> tuple[Session | None, Events]:
    """Return the session that the question belongs to, and the event that resumes it, if any.

    That is the open session, else the page's own if it is the last one and has expired.
    """
    receive = command.message
    live = state.live_at(receive.at)
    last = state.live or state.past.last()
    if (
        live is not None
        or last is None
        or last.id != command.session
        or last.closed not in (None, CloseReason.EXPIRED)
        or last.assistant not in receive.message.assistants.values()
    ):
        return live, ()
    ttl_s = receive.policy.session_ttl_s
    resumed = e.SessionResumed(at=receive.at, session=last.id, ttl_s=ttl_s)
    return last.resumed(receive.at, ttl_s), (resumed,)


def _assistant(state: UserState, command: c.AskOnPage) -> AssistantName:
    """Return the assistant for a new session: that of the page's session, if it is configured."""
    configured = tuple(command.message.message.assistants.values())
    for session in state.sessions():
        if session.id == command.session and session.assistant in configured:
            return session.assistant
    return configured[0]
