"""What the operator can see and do through the control socket, and the metrics.

Implements `wxgptd.ports.Control`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from heapq import nlargest
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.interfaces import IReactorTime

from wxgptd import __version__
from wxgptd.domain import commands as c
from wxgptd.domain import limits
from wxgptd.domain.context import Message
from wxgptd.domain.values import (
    LOG_ITSELF,
    AccountName,
    AssistantName,
    CloseReason,
    OpenId,
    SessionId,
    Standing,
    User,
)
from wxgptd.ports import Breakdown, Completion, EventStore, Prompt
from wxgptd.service.answering import Answering
from wxgptd.service.conversations import Conversations
from wxgptd.service.inflight import InFlight
from wxgptd.service.journal import Journal
from wxgptd.service.keeping import Keeping
from wxgptd.service.projections import DeliberateTimeouts, OpenSessions, Spending
from wxgptd.service.settings import Settings
from wxgptd.service.timeline import Timeline
from wxgptd.wechat.customer_service import CustomerService


class Control:
    """Tells how things are, and ends sessions."""

    def __init__(
        self,
        *,
        journal: Journal,
        conversations: Conversations,
        answering: Answering,
        messengers: Mapping[AccountName, CustomerService],
        settings: Settings,
        spending: Spending,
        flights: InFlight,
        sessions: OpenSessions,
        budget: DeliberateTimeouts,
        accounts: Sequence[AccountName],
        store: EventStore,
        keeping: Keeping,
        ready: Callable[[], bool],
        clock: IReactorTime,
        timeline: Timeline,
    ) -> None:
        self._journal = journal
        self._conversations = conversations
        self._answering = answering
        self._messengers = messengers
        self._settings = settings
        self._spending = spending
        self._flights = flights
        self._sessions = sessions
        self._budget = budget
        self._accounts = accounts
        self._store = store
        self._keeping = keeping
        self.ready = ready
        self._clock = clock
        self._timeline = timeline
        self._started = clock.seconds()

    def status(self) -> Mapping[str, object]:
        """Return the daemon's condition."""
        now = self._timeline.now()
        store = self._store.figures()
        return {
            "version": __version__,
            "pid": os.getpid(),
            "ready": self.ready(),
            "uptime_s": round(self._clock.seconds() - self._started, 1),
            "open_sessions": len(self._sessions),
            "held_attempts": self._conversations.held,
            "answers_running": self._flights.running(),
            "answers_waiting": len(self._flights) - self._flights.running(),
            "deliberate_timeouts_left": {
                account: max(0, self._budget.left(account, now)) for account in self._accounts
            },
            "push": {account: one.state for account, one in self._messengers.items()},
            "models": {
                name: one.model.condition() for name, one in self._settings.assistants.items()
            },
            "spent_today": dict(self._spending.spent()),
            "disk_full": self._store.full(),
            "last_seq": store.last_seq,
            "snapshot_seq": self._keeping.snapshot_seq,
            "commits": store.commits,
            "fsync_mean_ms": round(1000 * store.sync_s / max(1, store.commits), 3),
        }

    def sessions(self) -> Sequence[Mapping[str, object]]:
        """Return the open sessions."""
        shown = []
        for user in self._sessions:
            live = self._journal.state(user).live
            if live is not None:
                shown.append(
                    {
                        "session": live.id,
                        "account": user.account,
                        "user": user.openid,
                        "assistant": live.assistant,
                        "opened_at": live.opened_at,
                        "expires_at": live.expires_at,
                        "questions": len(live.questions),
                    }
                )
        return shown

    def stop_session(self, session: str) -> Deferred[bool]:
        """End a session."""
        for user in self._sessions:
            live = self._journal.state(user).live
            if live is not None and live.id == session:
                command = c.CloseSession(
                    at=self._timeline.now(),
                    session=SessionId(session),
                    reason=CloseReason.OPERATOR,
                )
                self._answering.carry_out(user, command)
                return self._journal.committed().addCallback(lambda _: True)
        return succeed(False)

    def users(self, limit: int, standing: str) -> Sequence[Mapping[str, object]]:
        """Return users, those who were heard of last first."""
        now = self._timeline.now()
        day_began_at, _ = self._timeline.day()
        shown = []
        for spoke_at, user in nlargest(limit, self._heard_of(standing, now)):
            state = self._journal.state(user)
            today = list(limits.questions_since(state, day_began_at))
            shown.append(
                {
                    "account": user.account,
                    "user": user.openid,
                    "standing": state.stands(now),
                    "until": state.standing_until or None,
                    "last_at": spoke_at or None,
                    "questions_today": len(today),
                    "tokens_today": limits.tokens_of(today),
                }
            )
        return shown

    def _heard_of(self, standing: str, now: float) -> Iterator[tuple[float, User]]:
        """Yield when users were heard of last, those of one standing or all."""
        default = standing in ("", Standing.DEFAULT)
        for user, one in tuple(self._journal.asleep().items()):
            if one.marked:
                self._journal.state(user)  # wakes; of the others the standing is known
            elif default and user != LOG_ITSELF:
                yield one.last_at, user
        for user, state in self._journal.awake():
            if standing in ("", state.stands(now)) and user != LOG_ITSELF:
                yield state.spoke_at, user

    def change_standing(
        self, account: str, openid: str, standing: str, for_s: float
    ) -> Deferred[bool]:
        """Block or allow a user."""
        if account not in self._accounts:
            return succeed(False)
        now = self._timeline.now()
        command = c.ChangeStanding(
            at=now, standing=Standing(standing), until=now + for_s if for_s else 0.0
        )
        self._answering.carry_out(User(AccountName(account), OpenId(openid)), command)
        return self._journal.committed().addCallback(lambda _: True)

    def forget(self, account: str, openid: str) -> Deferred[bool]:
        """Erase a user."""
        user = User(AccountName(account), OpenId(openid))
        return self._answering.erase(user, CloseReason.OPERATOR)

    def vacuum(self) -> Deferred[Mapping[str, object]]:
        """Take a snapshot and drop what is not to be kept."""
        return self._keeping.vacuum().addCallback(
            lambda retained: {
                "snapshot": self._keeping.snapshot_seq,
                "dropped_segments": retained.segments,
                "dropped_bytes": retained.size,
                "left_bytes": retained.left,
            }
        )

    def try_assistant(self, name: str) -> Deferred[Sequence[Mapping[str, object]] | None]:
        """Ask each model of an assistant for a single token."""
        assistant = self._settings.assistants.get(AssistantName(name))
        if assistant is None:
            return succeed(None)

        def one(model: str) -> Deferred[Mapping[str, object]]:
            prompt = Prompt(messages=(Message("user", "1"),), model=model, probe=True)
            asked = assistant.model.ask(prompt, lambda _: None)
            return asked.addCallback(lambda result: _as_json(model, result))

        tried: Deferred[Any] = gatherResults([one(model) for model in assistant.models])
        return tried

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics, for Prometheus."""
        yield GaugeMetricFamily(
            "wxgptd_open_sessions", "Sessions that take questions.", len(self._sessions)
        )
        yield GaugeMetricFamily(
            "wxgptd_held_attempts", "Requests held in silence.", self._conversations.held
        )
        yield GaugeMetricFamily(
            "wxgptd_running_answers", "Model calls under way.", self._flights.running()
        )
        left = GaugeMetricFamily(
            "wxgptd_deliberate_timeouts_left",
            "Silent attempts that an account may still afford in five minutes.",
            labels=["account"],
        )
        for account in self._accounts:
            left.add_metric([account], self._budget.left(account, self._timeline.now()))
        yield left
        cost = GaugeMetricFamily(
            "wxgptd_cost_today", "What answers have cost since midnight.", labels=["assistant"]
        )
        for assistant, spent in self._spending.spent().items():
            cost.add_metric([assistant], spent)
        yield cost
        alone = GaugeMetricFamily(
            "wxgptd_model_left_alone",
            "Whether a model is not asked for a while, because it failed.",
            labels=["assistant"],
        )
        for name, one in self._settings.assistants.items():
            alone.add_metric([name], float(one.model.condition() != "ok"))
        yield alone
        exhausted = GaugeMetricFamily(
            "wxgptd_budget_exhausted",
            "Whether the budget of the day is spent.",
            labels=["assistant"],
        )
        spent_up = self._spending.exhausted()
        for assistant in self._settings.assistants:
            exhausted.add_metric([assistant], float(assistant in spent_up))
        yield exhausted
        yield GaugeMetricFamily(
            "wxgptd_disk_full",
            "Whether new questions are refused for want of room.",
            float(self._store.full()),
        )
        store = self._store.figures()
        yield CounterMetricFamily("wxgptd_log_commits", "Commit groups.", store.commits)
        yield CounterMetricFamily("wxgptd_log_events", "Events written.", store.events)
        yield CounterMetricFamily(
            "wxgptd_log_fsync_seconds", "Time spent in fdatasync.", store.sync_s
        )

    def registry(self) -> CollectorRegistry:
        """Return a registry of its own with these metrics."""
        registry = CollectorRegistry()
        registry.register(self)
        return registry


def _as_json(model: str, result: Completion | Breakdown) -> Mapping[str, object]:
    match result:
        case Completion():
            return {"ok": True, "model": model, "took_s": result.took_s}
        case Breakdown():
            return {
                "ok": False,
                "model": model,
                "reason": result.reason,
                "detail": result.detail,
            }
