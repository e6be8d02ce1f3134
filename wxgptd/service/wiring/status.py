"""Collect the daemon's status from its parts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from wxgptd import __version__
from wxgptd.domain.model.values import AccountName
from wxgptd.ports.models import ChatModel
from wxgptd.ports.status import DaemonStatus, FsyncStatus, TimeoutStatus, UnansweredStatus
from wxgptd.service.cluster.standing import Standing
from wxgptd.service.wiring.base import Base
from wxgptd.service.wiring.rooms import Rooms
from wxgptd.service.wiring.state import State

DAY_S = 86_400.0

K = TypeVar("K", bound=str)


def read(rooms: Rooms, standing: Standing | None) -> DaemonStatus:
    """Return the status as it is now."""
    status = _read(rooms)
    if standing is None:
        return status
    figures = rooms.base.environment.store.figures()
    return replace(
        status,
        disk_full=status.disk_full and not standing.is_stalled,
        cluster_leading=standing.leads,
        cluster_events_behind=standing.lag,
        cluster_silent_s=standing.silent_s(),
        cluster_takeovers=standing.takeovers,
        cluster_claims_lost=standing.claims_lost,
        cluster_commit_s=FsyncStatus(sum(figures.quorums), figures.quorum_s, figures.quorums),
    )


def _read(rooms: Rooms) -> DaemonStatus:
    base, state, answers, lifecycle = rooms.base, rooms.state, rooms.answers, rooms.lifecycle
    now, figures, settings = base.event_clock.now(), base.environment.store.figures(), base.settings
    accounts, assistants = settings.accounts, settings.assistants
    shipped = base.environment.store.shipped()
    models = {name: assistant.model for name, assistant in assistants.items()}
    why_unhealthy, running = rooms.operations.health.unhealthy_reason, answers.flights.running()
    # Until the service is ready, a thread is still loading the log into the projections.
    loaded = accounts if lifecycle.loaded else ()
    spent = state.spending.spent() if lifecycle.loaded else {}
    exhausted = state.spending.exhausted() if lifecycle.loaded else frozenset()
    messengers = {
        name: account.messenger
        for name, account in accounts.items()
        if account.messenger is not None
    }
    return DaemonStatus(
        version=__version__,
        pid=os.getpid(),
        ready=lifecycle.ready,
        healthy=not why_unhealthy,
        why_unhealthy=why_unhealthy,
        uptime_s=base.environment.clock.seconds() - lifecycle.created,
        open_sessions=len(state.sessions),
        held_attempts=rooms.conversation.conversations.held,
        running_answers=running,
        waiting_questions=len(answers.flights) - running,
        page_readers=len(rooms.conversation.pages.audiences),
        deliberate_timeouts={name: _timeouts(state, name, now) for name in loaded},
        suspensions={name: state.timeouts.suspensions(name) for name in loaded},
        unanswered=_unanswered(base, state, loaded),
        clock_offset_s=state.clock_offset.measured(now) if lifecycle.loaded else None,
        push={name: messenger.state for name, messenger in messengers.items()},
        push_usable={name: messenger.usable() for name, messenger in messengers.items()},
        models={name: _condition(model) for name, model in models.items()},
        circuit_breaker_open={name: model.circuit_open() for name, model in models.items()},
        model_failures=_nonempty({name: model.last_failure() for name, model in models.items()}),
        cost_today={**dict.fromkeys(assistants, 0.0), **spent},
        budget_exhausted={name: name in exhausted for name in assistants},
        disk_full=base.environment.store.full(),
        seconds_since_full=base.fullness.recent(),
        log_last_seq=figures.last_seq,
        log_snapshot_seq=state.snapshotter.snapshot_seq,
        log_shipped_behind=figures.last_seq - shipped[0] if shipped is not None else None,
        log_shipped_s=max(0.0, now - shipped[1]) if shipped is not None else None,
        log_events=figures.events,
        log_pending_appends=figures.pending,
        log_fsync_s=FsyncStatus(figures.commits, figures.sync_s, figures.syncs),
        replay_s=lifecycle.replay_s,
        replay_events=lifecycle.replay_events,
    )


def _condition(model: ChatModel) -> str:
    """Return the condition of a model; it is not `ok` if its last call failed."""
    condition = model.condition()
    return "last call failed" if condition == "ok" and model.last_failure() else condition


def _nonempty(texts: Mapping[K, str]) -> Mapping[K, str]:
    return {name: text for name, text in texts.items() if text}


def _timeouts(state: State, account: AccountName, now: float) -> TimeoutStatus:
    timeouts = state.timeouts
    return TimeoutStatus(
        budget=timeouts.size(account),
        left=timeouts.left(account, now),
        auto=timeouts.fixed is None,
        suspended_at=timeouts.suspended_at(account),
        suspected=timeouts.is_suspected(account, now),
    )


def _unanswered(
    base: Base, state: State, accounts: Iterable[AccountName]
) -> Mapping[AccountName, UnansweredStatus]:
    today, tomorrow = base.event_clock.day()
    between = state.unanswered.between
    return {
        name: UnansweredStatus(between(name, today, tomorrow), between(name, today - DAY_S, today))
        for name in accounts
    }
