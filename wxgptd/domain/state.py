"""The state of one user, and how each event changes it.

State is immutable and shared freely between threads. `evolve` refuses, with `Inconsistent`,
an event that cannot follow: a log that folds is a log that makes sense. What belongs to more
than one user (links, budgets, metrics) is not here but in projections of the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from typing import NamedTuple, assert_never

from wxgptd.domain import events as e
from wxgptd.domain.reply_window import Open, Settled, Window
from wxgptd.domain.session import (
    Completed,
    Failed,
    Pending,
    Question,
    Session,
)
from wxgptd.domain.values import CloseReason, DeliveryKey, Reply, ReplyKind, SessionId
from wxgptd.errors import WxgptError

REMEMBERED_FOR_S = 900.0
"""How long a window is kept: WeChat's attempts are 15 s apart at most, late pushes a minute."""

_NOTHING = DeliveryKey("")
_TELLING = frozenset({ReplyKind.ANSWER, ReplyKind.PARTIAL, ReplyKind.FAILURE})


class Inconsistent(WxgptError):
    """an event in the log cannot follow the ones before it"""

    exit_status = 5


NO_WINDOWS: Mapping[DeliveryKey, Window] = {}


class UserState(NamedTuple):
    """One user of one account. `version` counts the events that led here."""

    version: int = 0
    live: Session | None = None
    past: tuple[Session, ...] = ()
    windows: Mapping[DeliveryKey, Window] = NO_WINDOWS
    unanswered: tuple[DeliveryKey, ...] = ()

    def sessions(self) -> Iterator[Session]:
        """Yield the user's sessions, newest first."""
        if self.live is not None:
            yield self.live
        yield from reversed(self.past)

    def find(self, question: DeliveryKey) -> tuple[Session, Question] | None:
        """Return the question of that name with its session, or None."""
        for session in self.sessions():
            found = session.questions.get(question)
            if found is not None:
                return session, found
        return None

    def question(self, name: DeliveryKey) -> Question:
        """Return the question of that name.

        Raises:
            Inconsistent: there is none.
        """
        found = self.find(name)
        if found is None:
            raise Inconsistent(f"no question {name}")
        return found[1]

    def heads(self) -> tuple[DeliveryKey, ...]:
        """Return the questions whose turn it is: the oldest unanswered one of each session."""
        heads: dict[SessionId, DeliveryKey] = {}
        for name in self.unanswered:
            found = self.find(name)
            if found is not None:
                heads.setdefault(found[0].id, name)
        return tuple(heads.values())


EMPTY = UserState()


def fold(events: Iterable[e.Event], state: UserState = EMPTY) -> UserState:
    """Return what `state` becomes through `events`."""
    return reduce(evolve, events, state)


def evolve(state: UserState, event: e.Event) -> UserState:
    """Return what `state` becomes through `event`.

    Raises:
        Inconsistent: `event` cannot follow.
    """
    changed = _evolved(state, event)
    return UserState(
        state.version + 1, changed.live, changed.past, changed.windows, changed.unanswered
    )


def _evolved(state: UserState, event: e.Event) -> UserState:
    match event:
        case e.QuestionAsked():
            return _asked(state, event)
        case e.ReplyOffered():
            return _offered(state, event)
        case e.AnswerCompleted():
            completed = Completed(
                text=event.text,
                finish=event.finish,
                model=event.model,
                at=event.at,
                took_s=event.took_s,
            )
            return _answered(state, event.question, completed)
        case e.AnswerFailed():
            failed = Failed(
                reason=event.reason,
                text=event.text,
                at=event.at,
                retry_after_s=event.retry_after_s,
            )
            return _answered(state, event.question, failed)
        case e.AttemptRepeated():
            return _repeated(state, event)
        case e.CommandGiven() | e.MessageDeclined() | e.UserSubscribed():
            return _opened_window(state, event.at, event.delivery, _NOTHING)
        case e.ContinuationAsked():
            state.question(event.question)
            return _opened_window(state, event.at, event.delivery, event.question)
        case e.UserUnsubscribed():
            left = _opened_window(state, event.at, event.delivery, _NOTHING)
            gone = tuple(one.closed_as(CloseReason.UNSUBSCRIBED, event.at) for one in state.past)
            return left._replace(past=gone)
        case e.SessionOpened():
            if state.live is not None:
                raise Inconsistent(f"session {event.session} opened beside {state.live.id}")
            opened = Session(
                id=event.session,
                assistant=event.assistant,
                opened_at=event.at,
                last_at=event.at,
                ttl_s=event.ttl_s,
            )
            return state._replace(live=opened)
        case e.SessionClosed():
            if state.live is None or state.live.id != event.session:
                raise Inconsistent(f"session {event.session} closed, but it was not open")
            closed = state.live.closed_as(event.reason, event.at)
            return state._replace(live=None, past=(*state.past, closed))
        case e.AnswerRestarted():
            live, past = _with_question(state, _pending(state, event.question).restarted())
            return state._replace(live=live, past=past)
        case e.PageOpened():
            live, past = _with_question(state, state.question(event.question).seen())
            return state._replace(live=live, past=past)
        case e.HistoryLinkIssued():
            return state
        case _:
            assert_never(event)


def _opened_window(
    state: UserState, at: float, delivery: DeliveryKey, question: DeliveryKey
) -> UserState:
    if delivery in state.windows:
        raise Inconsistent(f"delivery {delivery} arrived for the first time twice")
    windows = {**_remembered(state.windows, at), delivery: Open(at, 1, question)}
    live = state.live.touched(at) if state.live is not None else None
    return UserState(state.version, live, state.past, windows, state.unanswered)


def _remembered(windows: Mapping[DeliveryKey, Window], at: float) -> Mapping[DeliveryKey, Window]:
    oldest = at - REMEMBERED_FOR_S
    first = next(iter(windows.values()), None)
    if first is None or first.first_at > oldest:
        return windows  # they stand in the order in which they were opened
    return {key: window for key, window in windows.items() if window.first_at > oldest}


def _asked(state: UserState, event: e.QuestionAsked) -> UserState:
    if state.live is None or state.live.id != event.session:
        raise Inconsistent(f"question {event.delivery} asked outside session {event.session}")
    if event.delivery in state.live.questions:
        raise Inconsistent(f"question {event.delivery} asked twice")
    question = Question(
        delivery=event.delivery, text=event.text, asked_at=event.at, link=event.link
    )
    state = _opened_window(state, event.at, event.delivery, event.delivery)
    assert state.live is not None
    return state._replace(
        live=state.live.with_question(question),
        unanswered=(*state.unanswered, event.delivery),
    )


def _repeated(state: UserState, event: e.AttemptRepeated) -> UserState:
    window = state.windows.get(event.delivery)
    if window is None:
        raise Inconsistent(f"delivery {event.delivery} repeated, but it never came")
    again = window._replace(attempts=event.number)
    return state._replace(windows={**state.windows, event.delivery: again})


def _offered(state: UserState, event: e.ReplyOffered) -> UserState:
    window = state.windows.get(event.delivery)
    if not isinstance(window, Open):
        raise Inconsistent(f"a reply to {event.delivery} offered outside an open window")
    reply = Reply(
        kind=event.kind,
        notice=event.notice,
        about=event.about,
        question=event.question,
        start=event.start,
        end=event.end,
        text=event.text,
    )
    settled = Settled(window.first_at, window.attempts, reply, event.at)
    windows = {**state.windows, event.delivery: settled}
    live, past = state.live, state.past
    if event.kind in _TELLING:
        live, past = _with_question(state, state.question(event.question).offered_to(event.end))
    return UserState(state.version, live, past, windows, state.unanswered)


def _answered(state: UserState, name: DeliveryKey, answer: Completed | Failed) -> UserState:
    live, past = _with_question(state, _pending(state, name).answered(answer))
    unanswered = tuple(other for other in state.unanswered if other != name)
    return UserState(state.version, live, past, state.windows, unanswered)


def _pending(state: UserState, name: DeliveryKey) -> Question:
    question = state.question(name)
    if not isinstance(question.answer, Pending):
        raise Inconsistent(f"question {name} has its answer already")
    return question


Sessions = tuple[Session | None, tuple[Session, ...]]


def _with_question(state: UserState, question: Question) -> Sessions:
    """Return the live session and the past ones with `question` changed in one of them."""
    live, past = state.live, state.past
    if live is not None and question.delivery in live.questions:
        return live.with_question(question), past
    return live, tuple(
        session.with_question(question) if question.delivery in session.questions else session
        for session in past
    )
