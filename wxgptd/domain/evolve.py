"""How each event changes the state of its user, and which session it belongs to.

`evolve` raises `Inconsistent` for an event that cannot follow, so a log that folds is consistent.
The details of each event are in `transitions`.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import assert_never

from wxgptd.domain.model import events as e
from wxgptd.domain.model.reply_window import Open, Settled, Window
from wxgptd.domain.model.state import EMPTY, UserState
from wxgptd.domain.model.values import NO_SESSION, SessionId
from wxgptd.domain.transitions import pages, pushes, questions, sessions, windows

HISTORY_LINKS = 50
"""The maximum number of history links per user; beyond it the oldest is dropped."""


def fold(events: Iterable[e.Event], state: UserState = EMPTY) -> UserState:
    """Return `state` after `events`."""
    return reduce(evolve, events, state)


def evolve(state: UserState, event: e.Event) -> UserState:
    """Return `state` after `event`.

    Raises:
        Inconsistent: `event` cannot occur in `state`.
    """
    # Reading states and verifying a log call this often; `_replace` takes four times as long.
    return UserState(state.version + 1, *_evolved(state, event)[1:])


def _evolved(state: UserState, event: e.Event) -> UserState:
    match event:
        case e.QuestionAsked():
            return questions.asked(state, event)
        case e.ReplyOffered():
            return windows.offered(state, event)
        case e.AnswerCompleted():
            return questions.completed(state, event)
        case e.AnswerFailed():
            return questions.failed(state, event)
        case e.AttemptRepeated():
            return windows.repeated(state, event)
        case e.CommandGiven():
            return sessions.command_given(state, event)
        case e.MessageDeclined() | e.UserSubscribed():
            return windows.opened(state, event)
        case e.ContinuationAsked():
            state.question(event.question)
            return windows.opened(state, event, event.question, event.delay_s)
        case e.UserUnsubscribed():
            return sessions.unsubscribed(state, event)
        case e.SessionOpened():
            return sessions.opened(state, event)
        case e.SessionResumed():
            return sessions.resumed(state, event)
        case e.MessageHeld():
            return sessions.message_held(state, event)
        case e.SessionClosed():
            return sessions.closed(state, event)
        case e.AnswerRestarted():
            return questions.restarted(state, event)
        case e.HistoryLinkIssued():
            issued = (*state.history_links, (event.link, event.at))
            return state._replace(history_links=issued[-HISTORY_LINKS:])
        case e.SessionTitled():
            return sessions.titled(state, event)
        case e.SessionDeleted():
            return sessions.deleted(state, event)
        case e.PushStarted() | e.PushDelivered() | e.PushFailed():
            return pushes.evolved(state, event)
        case e.ContextTrimmed():
            return questions.trimmed(state, event)
        case e.ModelChosen():
            return sessions.model_chosen(state, event)
        case _ if isinstance(event, e.PageEvent):
            return pages.evolved(state, event)
        case e.UserErased():
            return EMPTY
        case e.StandingChanged():
            return pages.standing_changed(state, event)
        case e.UserNamed():
            return state._replace(name=event.name, is_marked=True)
        case e.TailTrimmed() | e.TimeoutBudgetSet() | e.MessagesUnanswered():
            return state
        case _:
            assert_never(event)


def session_of(state: UserState, event: e.Event) -> SessionId:
    """Return the session that `event` belongs to, given the state after it; empty for none.

    An event about a question belongs to that question's session; an event about a message, to the
    session that was open when the message arrived.
    """
    match event:
        case (
            e.ReplyOffered()
            | e.AttemptRepeated()
            | e.CommandGiven()
            | e.ContinuationAsked()
            | e.MessageHeld()
            | e.MessageDeclined()
            | e.UserSubscribed()
            | e.UserUnsubscribed()
            | e.HistoryLinkIssued()
        ):
            return _of_window(state, state.windows.get(event.delivery))
        case (
            e.QuestionAsked()
            | e.SessionOpened()
            | e.SessionClosed()
            | e.SessionResumed()
            | e.SessionTitled()
            | e.SessionDeleted()
            | e.ModelChosen()
        ):
            return event.session
        case (
            e.AnswerCompleted()
            | e.AnswerFailed()
            | e.AnswerRestarted()
            | e.PageOpened()
            | e.WriterAdmitted()
            | e.ReaderSeen()
            | e.AnswerRated()
            | e.PushStarted()
            | e.PushDelivered()
            | e.PushFailed()
            | e.ContextTrimmed()
        ):
            return state.session_of(event.question)
        case (
            e.UserErased()
            | e.TurnsShared()
            | e.ShareWithdrawn()
            | e.StandingChanged()
            | e.UserNamed()
            | e.TailTrimmed()
            | e.TimeoutBudgetSet()
            | e.MessagesUnanswered()
        ):
            return NO_SESSION
        case _:
            assert_never(event)


def _of_window(state: UserState, window: Window | None) -> SessionId:
    match window:
        case None:
            return NO_SESSION
        case Open(question=question, session=session):
            return session or state.session_of(question)  # older snapshots do not record it
        case Settled(reply=reply, session=session):
            return session or state.session_of(reply.question)
