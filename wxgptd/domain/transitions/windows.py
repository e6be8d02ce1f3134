"""Windows: a message arrives, is repeated, and its reply is settled."""

from __future__ import annotations

from collections.abc import Mapping

from wxgptd.domain.model import events as e
from wxgptd.domain.model.reply_window import Open, Settled, Window
from wxgptd.domain.model.session import Pending
from wxgptd.domain.model.state import Inconsistent, UserState
from wxgptd.domain.model.values import (
    NO_SESSION,
    PAGE_PREFIX,
    DeliveryKey,
    Notice,
    Reply,
    ReplyKind,
    SessionId,
)

REMEMBERED_FOR_S = 900.0
"""How long a window is retained: WeChat's attempts are 15 s apart at most, late pushes a minute."""

_NOTHING = DeliveryKey("")
_TELLING = frozenset({ReplyKind.ANSWER, ReplyKind.PARTIAL, ReplyKind.FAILURE})

Arrival = (
    e.QuestionAsked
    | e.MessageHeld
    | e.ContinuationAsked
    | e.CommandGiven
    | e.MessageDeclined
    | e.ModelChosen
    | e.UserSubscribed
    | e.UserUnsubscribed
)


def opened(
    state: UserState,
    event: Arrival,
    question: DeliveryKey = _NOTHING,
    delay_s: float = 0.0,
) -> UserState:
    """Return the state with a window for the message that `event` is about."""
    at, delivery = event.at, event.delivery
    if delivery in state.windows:
        raise Inconsistent(f"delivery {delivery} recorded as new twice")
    window = Open(at - delay_s, 1, question, _session_of(state, event))
    windows = {**_remembered(state.windows, at), delivery: window}
    live = state.live.touched(at) if state.live is not None else None
    match event:
        case e.UserSubscribed() | e.UserUnsubscribed():  # following is not a message
            return state._replace(live=live, windows=windows)
        case _ if delivery.startswith(PAGE_PREFIX):  # WeChat allows no pushes for it
            return state._replace(live=live, windows=windows, writing=state.writing.seen(at))
        case _ if event.tapped:
            return state._replace(live=live, windows=windows, tapped_at=at, tap_pushes=0)
        case _:
            return state._replace(live=live, windows=windows, spoke_at=at, pushes=0)


def _session_of(state: UserState, event: Arrival) -> SessionId:
    """Return the session that the message belongs to: that of its question, or the open one."""
    if isinstance(event, e.ContinuationAsked):
        return state.session_of(event.question)
    return state.live.id if state.live is not None else NO_SESSION


def _remembered(windows: Mapping[DeliveryKey, Window], at: float) -> Mapping[DeliveryKey, Window]:
    oldest = at - REMEMBERED_FOR_S
    first = next(iter(windows.values()), None)
    if first is None or first.first_at > oldest:
        return windows  # roughly in order of opening (delays can reorder them)
    return {key: window for key, window in windows.items() if window.first_at > oldest}


def repeated(state: UserState, event: e.AttemptRepeated) -> UserState:
    """Return the state after another attempt."""
    window = state.windows.get(event.delivery)
    if window is None:
        raise Inconsistent(f"delivery {event.delivery} repeated, but it never arrived")
    updated = window._replace(attempts=event.number)
    return state._replace(windows={**state.windows, event.delivery: updated})


def offered(state: UserState, event: e.ReplyOffered) -> UserState:
    """Return the state with the reply of a window settled."""
    window = state.windows.get(event.delivery)
    if not isinstance(window, Open):
        raise Inconsistent(f"reply to {event.delivery} offered outside an open window")
    rest = event.rest
    live, past, unseen = state.live, state.past, state.unseen
    if event.kind in _TELLING or (event.notice == Notice.ALL_SAID and event.question):
        question = state.question(event.question)
        if rest is None:  # an older log: positions refer to the answer as written
            rest = isinstance(question.answer, Pending) or bool(
                question.answer.text[event.end :].strip()
            )
        style = question.style or event.style  # a notice has none of its own
        live, past = state.sessions_with(question.offered_to(event.end, style, rest=rest))
        if not (event.notice and state.push is not None):
            # A push in progress may still fail: then the answer is unseen after all.
            unseen = state.unseen_without(event.question)
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
    settled = Settled(window.first_at, window.attempts, reply, event.at, window.session)
    windows = {**state.windows, event.delivery: settled}
    return state._replace(live=live, past=past, windows=windows, unseen=unseen)
