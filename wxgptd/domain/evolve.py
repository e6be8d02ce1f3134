"""How each event changes the state of its user.

`evolve` refuses, with `Inconsistent`, an event that cannot follow: a log that folds is a log that
makes sense.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import reduce
from typing import assert_never

from wxgptd.domain.model import events as e
from wxgptd.domain.model import push_quota
from wxgptd.domain.model.reply_window import Open, Settled, Window
from wxgptd.domain.model.session import (
    Completed,
    Failed,
    Pending,
    Question,
    Session,
)
from wxgptd.domain.model.state import EMPTY, Held, Inconsistent, Push, UserState
from wxgptd.domain.model.values import (
    CloseReason,
    DeliveryKey,
    FailureReason,
    Notice,
    Reply,
    ReplyKind,
)
from wxgptd.domain.prompt import tokens

REMEMBERED_FOR_S = 900.0
"""How long a window is kept: WeChat's attempts are 15 s apart at most, late pushes a minute."""

HISTORY_LINKS = 50
"""How many links to a history a user may have: the oldest one dies then."""

_NOTHING = DeliveryKey("")
_TELLING = frozenset({ReplyKind.ANSWER, ReplyKind.PARTIAL, ReplyKind.FAILURE})


def fold(events: Iterable[e.Event], state: UserState = EMPTY) -> UserState:
    """Return what `state` becomes through `events`."""
    return reduce(evolve, events, state)


def evolve(state: UserState, event: e.Event) -> UserState:
    """Return what `state` becomes through `event`.

    Raises:
        Inconsistent: `event` cannot follow.
    """
    # To wake a user, or to verify a log, does this many times: `_replace` takes four times as long.
    return UserState(state.version + 1, *_evolved(state, event)[1:])


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
                tokens=event.prompt_tokens + event.completion_tokens or tokens.estimate(event.text),
            )
            return _answered(state, event.question, completed, event.at, withdrawn=event.withdrawn)
        case e.AnswerFailed():
            failed = Failed(
                reason=event.reason,
                text=event.text,
                at=event.at,
                retry_after_s=event.retry_after_s,
                tokens=event.tokens,
            )
            return _answered(state, event.question, failed, event.at)
        case e.AttemptRepeated():
            return _repeated(state, event)
        case e.CommandGiven(command="stop"):
            return _stopped(_opened_window(state, event))
        case e.CommandGiven(command="clear"):
            cleared = _opened_window(state, event)
            return cleared._replace(history_links=())
        case e.CommandGiven() | e.MessageDeclined() | e.UserSubscribed():
            return _opened_window(state, event)
        case e.ContinuationAsked():
            state.question(event.question)
            return _opened_window(state, event, event.question, event.delay_s)
        case e.UserUnsubscribed():
            left = _opened_window(state, event)
            gone = tuple(one.closed_as(CloseReason.UNSUBSCRIBED, event.at) for one in state.past)
            return left._replace(
                past=gone, unseen=(), spoke_at=0.0, tapped_at=0.0, history_links=()
            )
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
        case e.SessionResumed():
            return _resumed(state, event)
        case e.MessageHeld():
            held = Held(event.sealed, event.at) if event.sealed else None
            return _opened_window(state, event)._replace(held=held, hinted_at=event.at)
        case e.SessionClosed():
            if state.live is None or state.live.id != event.session:
                raise Inconsistent(f"session {event.session} closed, but it was not open")
            closed = state.live.closed_as(event.reason, event.at)
            unseen = state.unseen
            if unseen and event.reason is CloseReason.CLEARED:
                unseen = tuple(name for name in unseen if name not in closed.questions)
            return state._replace(live=None, past=(*state.past, closed), unseen=unseen)
        case e.AnswerRestarted():
            live, past = _with_question(state, _pending(state, event.question).restarted())
            return state._replace(live=live, past=past)
        case e.PageOpened():
            live, past = _with_question(state, state.question(event.question).seen())
            live = _touched(live, event.question, event.at)
            return state._replace(live=live, past=past, unseen=_without(state, event.question))
        case e.HistoryLinkIssued():
            issued = (*state.history_links, (event.link, event.at))
            return state._replace(history_links=issued[-HISTORY_LINKS:])
        case e.TailTrimmed() | e.TimeoutBudgetSet() | e.MessagesUnanswered():
            return state
        case e.PushStarted():
            return _push_started(state, event)
        case e.PushDelivered():
            _require_push(state, event.question)
            pushed = state.question(event.question)._replace(pushed=True)
            live, past = _with_question(state, pushed)
            unseen = _without(state, event.question)
            return state._replace(live=live, past=past, push=None, unseen=unseen)
        case e.PushFailed():
            return _push_failed(state, event)
        case e.ContextTrimmed():
            return _trimmed(state, event)
        case e.ModelChosen():
            if state.live is None or state.live.id != event.session:
                raise Inconsistent(f"a model chosen outside session {event.session}")
            chosen = _opened_window(state, event)
            assert chosen.live is not None
            return chosen._replace(live=chosen.live._replace(model=event.model))
        case e.UserErased():
            return EMPTY
        case e.StandingChanged():
            return state._replace(
                standing=event.standing, standing_until=event.until, is_marked=True
            )
        case _:
            assert_never(event)


_Arrived = (
    e.QuestionAsked
    | e.MessageHeld
    | e.ContinuationAsked
    | e.CommandGiven
    | e.MessageDeclined
    | e.ModelChosen
    | e.UserSubscribed
    | e.UserUnsubscribed
)


def _opened_window(
    state: UserState,
    event: _Arrived,
    question: DeliveryKey = _NOTHING,
    delay_s: float = 0.0,
) -> UserState:
    at, delivery = event.at, event.delivery
    if delivery in state.windows:
        raise Inconsistent(f"delivery {delivery} arrived for the first time twice")
    window = Open(at - delay_s, 1, question)
    windows = {**_remembered(state.windows, at), delivery: window}
    live = state.live.touched(at) if state.live is not None else None
    match event:
        case e.UserSubscribed() | e.UserUnsubscribed():  # following is no message
            return state._replace(live=live, windows=windows)
        case _ if event.tapped:
            return state._replace(live=live, windows=windows, tapped_at=at, tap_pushes=0)
        case _:
            return state._replace(live=live, windows=windows, spoke_at=at, pushes=0)


def _remembered(windows: Mapping[DeliveryKey, Window], at: float) -> Mapping[DeliveryKey, Window]:
    oldest = at - REMEMBERED_FOR_S
    first = next(iter(windows.values()), None)
    if first is None or first.first_at > oldest:
        return windows  # roughly in order of opening (delays can reorder them)
    return {key: window for key, window in windows.items() if window.first_at > oldest}


def _asked(state: UserState, event: e.QuestionAsked) -> UserState:
    if state.live is None or state.live.id != event.session:
        raise Inconsistent(f"question {event.delivery} asked outside session {event.session}")
    if event.delivery in state.live.questions:
        raise Inconsistent(f"question {event.delivery} asked twice")
    question = Question(
        event.delivery, event.text, event.at, event.link, event.image, retries=event.retries
    )
    state = _opened_window(state, event, event.delivery, event.delay_s)
    assert state.live is not None
    return state._replace(
        live=state.live.with_question(question),
        unanswered=(*state.unanswered, event.delivery),
        held=None if event.held else state.held,
    )


def _stopped(state: UserState) -> UserState:
    """Return the state after a `/stop`: what has expired is over for good, too."""
    last = next(iter(state.past[-1:]), None)
    if state.live is not None or last is None or last.closed is not CloseReason.EXPIRED:
        return state._replace(held=None)
    ended = last.closed_as(CloseReason.STOPPED, last.closed_at)
    return state._replace(past=(*state.past[:-1], ended), held=None)


def _resumed(state: UserState, event: e.SessionResumed) -> UserState:
    last = next(iter(state.past[-1:]), None)
    if state.live is not None or last is None or last.id != event.session:
        raise Inconsistent(f"session {event.session} resumed, but it was not the last one")
    if last.closed is not CloseReason.EXPIRED:
        raise Inconsistent(f"session {event.session} resumed, but it had not expired")
    resumed = last.resumed(event.at, event.ttl_s)
    return state._replace(live=resumed, past=state.past[:-1], hinted_at=0.0)


def _touched(live: Session | None, question: DeliveryKey, at: float) -> Session | None:
    """Return the open session after some activity, if `question` is one of its own."""
    return live.touched(at) if live is not None and question in live.questions else live


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
    rest = event.rest
    live, past, unseen = state.live, state.past, state.unseen
    if event.kind in _TELLING or (event.notice == Notice.ALL_SAID and event.question):
        question = state.question(event.question)
        if rest is None:  # an older log: positions are those of the answer as it was written
            rest = isinstance(question.answer, Pending) or bool(
                question.answer.text[event.end :].strip()
            )
        style = question.style or event.style  # a notice has none of its own
        offered = question.offered_to(event.end, style, rest=rest)
        live, past = _with_question(state, offered)
        if not (event.notice and state.push is not None):
            unseen = _without(
                state, event.question
            )  # else it may fail yet, and be unseen after all
    if event.reminder:
        unseen = tuple(name for name in unseen if name != event.reminder)
    reply = Reply(
        event.kind,
        event.notice,
        event.about,
        event.question,
        event.start,
        event.end,
        event.text,
        event.style,
        bool(rest),
        event.reminder,
    )
    settled = Settled(window.first_at, window.attempts, reply, event.at)
    windows = {**state.windows, event.delivery: settled}
    return state._replace(live=live, past=past, windows=windows, unseen=unseen)


def _answered(
    state: UserState,
    name: DeliveryKey,
    answer: Completed | Failed,
    at: float,
    *,
    withdrawn: bool = False,
) -> UserState:
    question = _pending(state, name)
    if withdrawn:
        question = question._replace(offered=0)
    late = not isinstance(state.windows.get(name), Open)
    live, past = _with_question(state, question.answered(answer, late=late))
    live = _touched(live, name, at)
    unanswered = tuple(other for other in state.unanswered if other != name)
    unseen = state.unseen
    if _is_worth_a_look(answer) and not question.page_opened:
        unseen = (*unseen, name)  # a window that waits for it takes it out at once
    return state._replace(live=live, past=past, unanswered=unanswered, unseen=unseen)


def _is_worth_a_look(answer: Completed | Failed) -> bool:
    return isinstance(answer, Completed) or (
        answer.reason is FailureReason.INTERRUPTED and bool(answer.text)
    )


def _trimmed(state: UserState, event: e.ContextTrimmed) -> UserState:
    found = state.find(event.question)
    if found is None:
        raise Inconsistent(f"no question {event.question}")
    session, question = found
    changed = session.with_question(question._replace(trimmed=True))._replace(trimmed=True)
    if state.live is not None and state.live.id == session.id:
        return state._replace(live=changed)
    past = tuple(changed if one.id == session.id else one for one in state.past)
    return state._replace(past=past)


def _without(state: UserState, name: DeliveryKey) -> tuple[DeliveryKey, ...]:
    """Return the unseen questions without `name`."""
    unseen = state.unseen
    return tuple(other for other in unseen if other != name) if name in unseen else unseen


def _push_started(state: UserState, event: e.PushStarted) -> UserState:
    if state.push is not None:
        raise Inconsistent(f"a push of {event.question} started beside another one")
    before = state.question(event.question)
    pushed = before.offered_to(event.end, event.style, rest=event.rest)
    live, past = _with_question(state, pushed)
    counted = push_quota.with_one_more(state, event.at)
    return counted._replace(live=live, past=past, push=Push(before))


def _push_failed(state: UserState, event: e.PushFailed) -> UserState:
    # Whatever was asked for meanwhile came behind it: better twice than never.
    before = _require_push(state, event.question).before
    restored = state.question(event.question)._replace(
        offered=before.offered,
        all_offered=before.all_offered,
        failure_told=before.failure_told,
        style=before.style,
        pushed=False,
    )
    live, past = _with_question(state, restored)
    return state._replace(live=live, past=past, push=None)


def _require_push(state: UserState, name: DeliveryKey) -> Push:
    if state.push is None or state.push.before.delivery != name:
        raise Inconsistent(f"a push of {name} ended, but none was on its way")
    return state.push


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
