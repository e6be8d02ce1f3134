"""What happens, counted; and what is, as gauges: for Prometheus.

Names and units follow Prometheus's conventions. No label has a user, a text or an address in it,
so that there are as many series as accounts and assistants make, and no more. All counts begin
with the process.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import twisted
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from twisted.internet.defer import CancelledError
from twisted.logger import LogEvent, LogLevel
from twisted.python.failure import Failure

from wxgptd import __version__
from wxgptd.domain.model import events as e
from wxgptd.domain.model.reply_window import LAST_NUMBER
from wxgptd.domain.model.state import UserState
from wxgptd.domain.model.values import AccountName, AssistantName, User
from wxgptd.ports.record import SYNC_BOUNDS_S, StoreFigures
from wxgptd.ports.wechat import Forward, Ignore, Present, Say, Silence
from wxgptd.service.state.projections import Projection
from wxgptd.service.state.settings import Settings

HOLD_BOUNDS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 4.5, 5.0, 6.0, 8.0)
MODEL_BOUNDS_S = (0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 15.0, 20.0, 30.0, 45.0, 60.0, 120.0)
FORWARD_BOUNDS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 4.6)

_OUTCOMES: Mapping[type, str] = {
    Say: "reply",
    Present: "rule",
    Ignore: "success",
    Silence: "silence",
    Forward: "forward",
}


M = TypeVar("M", Counter, Histogram)


class _Series(Generic[M]):
    """The series of one metric by their labels: to look one up there costs more than to count."""

    def __init__(self, metric: M) -> None:
        self._metric: M = metric
        self._known: dict[tuple[str, ...], M] = {}

    def __getitem__(self, labels: tuple[str, ...]) -> M:
        found = self._known.get(labels)
        if found is None:
            found = self._known[labels] = self._metric.labels(*map(str, labels))
        return found


class Metrics(Projection):
    """Counts what happens. Its registry is what readers are given; more can be registered there."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)

        def counter(name: str, about: str, *labels: str) -> _Series[Counter]:
            return _Series(Counter(f"wxgptd_{name}", about, labels, registry=registry))

        def histogram(
            name: str, about: str, bounds: tuple[float, ...], *labels: str
        ) -> _Series[Histogram]:
            known = Histogram(f"wxgptd_{name}", about, labels, buckets=bounds, registry=registry)
            return _Series(known)

        self._attempts = counter(
            "attempts", "Requests of WeChat's with a message, by what they came to.", "account",
            "outcome",
        )  # fmt: skip
        self._held = histogram(
            "hold_seconds", "How long requests waited for an answer.", HOLD_BOUNDS_S,
            "account",
        )  # fmt: skip
        self._refused = counter(
            "refused_requests", "Requests that were not WeChat's, or not understood.", "account",
            "reason",
        )  # fmt: skip
        self._windows = counter(
            "windows", "Settled reply windows, by what was said and on which attempt.", "account",
            "outcome", "attempt",
        )  # fmt: skip
        self._rules = counter(
            "rule_matches", "Messages that a rule took, by its number.", "account", "rule"
        )
        self._forwarded = histogram(
            "forward_seconds", "Time that other backends took for a message.", FORWARD_BOUNDS_S,
            "result",
        )  # fmt: skip
        self._sessions = counter("sessions_opened", "Sessions opened.", "account", "assistant")
        self._questions = counter("questions", "Questions asked.", "account")
        self._unanswered = counter(
            "messages_unanswered",
            "Messages that went unanswered: no session and no matching rule.",
            "account",
        )
        self._restarted = Counter(
            "wxgptd_restarted_answers", "Answers asked for again after a stop.", registry=registry
        )
        self._answers = counter(
            "answers", "Questions that are settled: `completed`, or why they are not answered.",
            "assistant", "outcome",
        )  # fmt: skip
        self._first_token = histogram(
            "model_first_token_seconds", "Time to the first word of a completed answer.",
            MODEL_BOUNDS_S, "assistant",
        )  # fmt: skip
        self._model = histogram(
            "model_answer_seconds", "Time to the end of a completed answer.", MODEL_BOUNDS_S,
            "assistant",
        )  # fmt: skip
        self._tokens = counter("tokens", "Tokens of completed answers.", "assistant", "kind")
        self._cost = counter("cost", "Cost, in the currency of the prices.", "assistant")
        self._pages = counter("pages_opened", "Pages of answers opened by somebody.", "account")
        self._pushes = counter("pushes", "Customer-service messages, by result.", "account", "code")
        self._full = counter(
            "full", "How often somebody was refused or had to wait, by what was full.", "what"
        )
        self._messages = counter("log_messages", "Warnings and errors in the log.", "level")
        for level in ("warn", "error", "critical"):
            self._messages[level,].inc(0)

        self._counted: Mapping[type[e.Event], Callable[[AccountName, Any, UserState], None]] = {
            e.ReplyOffered: self._settled,
            e.QuestionAsked: self._asked,
            e.SessionOpened: self._opened,
            e.AnswerCompleted: self._completed,
            e.AnswerFailed: self._failed,
            e.AnswerRestarted: self._restart,
            e.PageOpened: self._read,
            e.PushDelivered: self._pushed,
            e.PushFailed: self._unpushed,
            e.MessagesUnanswered: self._left,
        }

    # What happens at the edges.

    def attempt(self, account: AccountName, outcome: object) -> None:
        """Count a request that came to `outcome`."""
        what = _OUTCOMES.get(type(outcome))
        if what is None:
            left = isinstance(outcome, Failure) and outcome.check(CancelledError)
            what = "hung_up" if left else "failed"
        self._attempts[account, what].inc()

    def held(self, account: AccountName, seconds: float) -> None:
        """Count a request that waited for an answer, until there was one or the peer left."""
        self._held[account,].observe(seconds)

    def refused(self, account: AccountName, reason: str) -> None:
        """Count a request that was refused."""
        self._refused[account, reason].inc()

    def rule(self, account: AccountName, number: int) -> None:
        """Count a message that a rule took."""
        self._rules[account, str(number)].inc()

    def forwarded(self, took_s: float, *, answered: bool) -> None:
        """Count a message that was handed on."""
        self._forwarded["answered" if answered else "failed",].observe(took_s)

    def full(self, what: str) -> None:
        """Count somebody who was refused, or has to wait, because `what` is full."""
        self._full[what,].inc()

    def logged(self, event: LogEvent) -> None:
        """Count a warning, or worse. An observer of Twisted's log."""
        level = event.get("log_level")
        if level is not None and level >= LogLevel.warn:
            self._messages[level.name,].inc()

    # What happens in the service.

    def observe(self, user: User, event: e.Event, state: UserState) -> None:
        """Count `event`."""
        count = self._counted.get(type(event))
        if count is not None:
            count(user.account, event, state)

    def _settled(self, account: AccountName, event: e.ReplyOffered, state: UserState) -> None:
        window = state.windows.get(event.delivery)
        attempt = min(window.attempts, LAST_NUMBER) if window is not None else 1
        self._windows[account, event.kind, str(attempt)].inc()

    def _asked(self, account: AccountName, _event: e.QuestionAsked, _state: UserState) -> None:
        self._questions[account,].inc()

    def _left(self, account: AccountName, event: e.MessagesUnanswered, _state: UserState) -> None:
        self._unanswered[account,].inc(event.count)

    def _opened(self, account: AccountName, event: e.SessionOpened, _state: UserState) -> None:
        self._sessions[account, event.assistant].inc()

    def _restart(self, _account: AccountName, _event: e.AnswerRestarted, _state: UserState) -> None:
        self._restarted.inc()

    def _read(self, account: AccountName, _event: e.PageOpened, _state: UserState) -> None:
        self._pages[account,].inc()

    def _pushed(self, account: AccountName, _event: e.PushDelivered, _state: UserState) -> None:
        self._pushes[account, "0"].inc()

    def _unpushed(self, account: AccountName, event: e.PushFailed, _state: UserState) -> None:
        self._pushes[account, str(event.code) if event.code else "unknown"].inc()

    def _failed(self, _account: AccountName, event: e.AnswerFailed, _state: UserState) -> None:
        name = event.usage.assistant or "none"
        self._answers[name, event.reason].inc()
        self._cost[name,].inc(event.usage.cost)

    def _completed(
        self, _account: AccountName, event: e.AnswerCompleted, _state: UserState
    ) -> None:
        name = event.usage.assistant
        self._answers[name, "completed"].inc()
        self._first_token[name,].observe(event.first_text_s)
        self._model[name,].observe(event.took_s)
        self._tokens[name, "prompt"].inc(event.usage.prompt_tokens)
        self._tokens[name, "completion"].inc(event.usage.completion_tokens)
        self._cost[name,].inc(event.usage.cost)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Condition(Collector):
    """What is at the moment that somebody asks, each found by a call."""

    settings: Settings
    store: Callable[[], StoreFigures]
    full: Callable[[], bool]
    ready: Callable[[], bool]
    healthy: Callable[[], bool]
    open_sessions: Callable[[], int]
    held: Callable[[], int]
    running: Callable[[], int]
    waiting: Callable[[], int]
    readers: Callable[[], int]
    timeouts_left: Callable[[AccountName], int]
    timeout_budget: Callable[[AccountName], int]
    suspensions: Callable[[AccountName], int]
    clock_offset: Callable[[], float]
    spent: Callable[[], Mapping[AssistantName, float]]
    exhausted: Callable[[], frozenset[AssistantName]]
    replay: Callable[[], tuple[float, int]]
    snapshot_seq: Callable[[], int]

    def collect(self) -> Iterable[Metric]:
        """Yield the gauges."""
        yield _one("ready", "Whether the log is read and messages are taken.", self.ready())
        yield _one("healthy", "Whether the log gets on and threads answer.", self.healthy())
        yield _one("open_sessions", "Sessions that take questions.", self.open_sessions())
        yield _one("held_attempts", "Requests that wait for an answer, or the log.", self.held())
        yield _one("running_answers", "Model calls under way.", self.running())
        yield _one("waiting_questions", "Questions behind another one.", self.waiting())
        yield _one("page_readers", "Readers of answers while they are written.", self.readers())
        yield _one(
            "clock_offset_seconds", "How far our clock is ahead of WeChat's.", self.clock_offset()
        )
        yield from self._of_accounts()
        yield from self._of_assistants()
        yield from self._of_log()
        build = GaugeMetricFamily(
            "wxgptd_build_info", "What runs.", labels=["version", "python", "twisted"]
        )
        build.add_metric([__version__, platform.python_version(), twisted.__version__], 1.0)
        yield build

    def _of_accounts(self) -> Iterable[Metric]:
        left = GaugeMetricFamily(
            "wxgptd_deliberate_timeouts_left",
            "Deliberate timeouts that are left of that.",
            labels=["account"],
        )
        push = GaugeMetricFamily(
            "wxgptd_push_usable", "Whether late answers can be pushed.", labels=["account"]
        )
        budget = GaugeMetricFamily(
            "wxgptd_deliberate_timeouts_budget",
            "Deliberate timeouts allowed per account in five minutes.",
            labels=["account"],
        )
        suspensions = CounterMetricFamily(
            "wxgptd_suspensions",
            "How often WeChat delivered nothing to an account for about a minute.",
            labels=["account"],
        )
        for account, one in self.settings.accounts.items():
            suspensions.add_metric([account], self.suspensions(account))
            if size := self.timeout_budget(account):  # else there are none to be spent
                budget.add_metric([account], size)
                left.add_metric([account], self.timeouts_left(account))
            if one.messenger is not None:
                push.add_metric([account], float(one.messenger.usable()))
        yield suspensions
        yield budget
        yield left
        yield push

    def _of_assistants(self) -> Iterable[Metric]:
        today = GaugeMetricFamily(
            "wxgptd_cost_today", "What answers have cost since midnight.", labels=["assistant"]
        )
        alone = GaugeMetricFamily(
            "wxgptd_model_left_alone",
            "Whether a model is not asked for a while, because it failed.",
            labels=["assistant"],
        )
        spent_up = GaugeMetricFamily(
            "wxgptd_budget_exhausted", "Whether the budget of the day is spent.",
            labels=["assistant"],
        )  # fmt: skip
        spent, exhausted = self.spent(), self.exhausted()
        for name, one in self.settings.assistants.items():
            today.add_metric([name], spent.get(name, 0.0))
            alone.add_metric([name], float(one.model.left_alone()))
            spent_up.add_metric([name], float(name in exhausted))
        yield from (today, alone, spent_up)

    def _of_log(self) -> Iterable[Metric]:
        store = self.store()
        took_s, events = self.replay()
        yield _one("disk_full", "Whether there is no room for new questions.", self.full())
        yield _one("log_last_seq", "The newest event.", store.last_seq)
        yield _one("log_snapshot_seq", "The last event in a snapshot.", self.snapshot_seq())
        yield _one("log_pending_appends", "Appends that are not durable yet.", store.pending)
        yield _one("replay_seconds", "How long this start took to read the log.", took_s)
        yield _one("replay_events", "How many events this start read.", events)
        written = Metric("wxgptd_log_events", "Events written.", "counter")
        written.add_sample("wxgptd_log_events_total", {}, store.events)
        yield written
        reached, buckets = 0, []
        for bound, count in zip((*map(str, SYNC_BOUNDS_S), "+Inf"), store.syncs, strict=True):
            reached += count
            buckets.append((bound, float(reached)))
        yield HistogramMetricFamily(
            "wxgptd_log_fsync_seconds",
            "Time of a commit's fdatasync; its count is that of commits.",
            buckets=buckets,
            sum_value=store.sync_s,
        )


def _one(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(f"wxgptd_{name}", about, float(value))
