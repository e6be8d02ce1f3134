"""Pushes of late answers: started, and delivered or failed."""

from __future__ import annotations

from wxgptd.domain.model import events as e
from wxgptd.domain.model import push_quota
from wxgptd.domain.model.state import Inconsistent, Push, UserState
from wxgptd.domain.model.values import DeliveryKey


def evolved(state: UserState, event: e.PushStarted | e.PushDelivered | e.PushFailed) -> UserState:
    """Return `state` after `event`."""
    match event:
        case e.PushStarted():
            return _started(state, event)
        case e.PushDelivered():
            return _delivered(state, event)
        case e.PushFailed():
            return _failed(state, event)


def _started(state: UserState, event: e.PushStarted) -> UserState:
    if state.push is not None:
        raise Inconsistent(f"push of {event.question} started while another one was in progress")
    before = state.question(event.question)
    pushed = before.offered_to(event.end, event.style, rest=event.rest)
    live, past = state.sessions_with(pushed)
    updated = push_quota.counted(state, event.at)
    return updated._replace(live=live, past=past, push=Push(before))


def _delivered(state: UserState, event: e.PushDelivered) -> UserState:
    _require_push(state, event.question)
    live, past = state.sessions_with(state.question(event.question)._replace(pushed=True))
    unseen = state.unseen_without(event.question)
    return state._replace(live=live, past=past, push=None, unseen=unseen)


def _failed(state: UserState, event: e.PushFailed) -> UserState:
    # Parts requested since come after this one: better to send them twice than never.
    before = _require_push(state, event.question).before
    restored = state.question(event.question)._replace(
        offered=before.offered,
        all_offered=before.all_offered,
        failure_told=before.failure_told,
        style=before.style,
        pushed=False,
    )
    live, past = state.sessions_with(restored)
    return state._replace(live=live, past=past, push=None)


def _require_push(state: UserState, name: DeliveryKey) -> Push:
    if state.push is None or state.push.before.delivery != name:
        raise Inconsistent(f"push of {name} ended, but none was in progress")
    return state.push
