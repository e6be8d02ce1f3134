"""Counters and histograms for Prometheus. The gauges are in `admin/gauges.py`.

Names and units follow Prometheus's conventions. No label contains a user, a text or an address, so
the number of series depends only on the accounts and assistants. All counts start at zero when
the process starts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from twisted.internet.defer import CancelledError
from twisted.logger import LogEvent, LogLevel
from twisted.python.failure import Failure

from wxgptd.domain.model import events as e
from wxgptd.domain.model.reply_window import LAST_NUMBER
from wxgptd.domain.model.state import UserState
from wxgptd.domain.model.values import AccountName, AnswerUsage, User
from wxgptd.ports.wechat import Forward, Ignore, PassOn, Present, Say, Silence
from wxgptd.service.state.projections import Projection

HOLD_BOUNDS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 4.5, 5.0, 6.0, 8.0)
MODEL_BOUNDS_S = (0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 15.0, 20.0, 30.0, 45.0, 60.0, 120.0)
FORWARD_BOUNDS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 4.6)

_OUTCOMES: Mapping[type, str] = {
    Say: "reply",
    Present: "rule",
    Ignore: "success",
    Silence: "silence",
    Forward: "forward",
    PassOn: "leader",
}


M = TypeVar("M", Counter, Histogram)


class _Series(Generic[M]):
    """Caches one metric's series by their labels, because `labels()` is slower than counting."""

    def __init__(self, metric: M) -> None:
        self._metric: M = metric
        self._by_labels: dict[tuple[str, ...], M] = {}

    def __getitem__(self, labels: tuple[str, ...]) -> M:
        series = self._by_labels.get(labels)
        if series is None:
            series = self._metric.labels(*map(str, labels)) if labels else self._metric
            self._by_labels[labels] = series
        return series


class _Maker:
    """Creates metrics in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def counter(self, name: str, about: str, *labels: str) -> _Series[Counter]:
        return _Series(Counter(f"wxgptd_{name}", about, labels, registry=self._registry))

    def histogram(
        self, name: str, about: str, bounds: tuple[float, ...], *labels: str
    ) -> _Series[Histogram]:
        return _Series(
            Histogram(f"wxgptd_{name}", about, labels, buckets=bounds, registry=self._registry)
        )


class Metrics:
    """Counts requests, rejections and log messages; `events` counts recorded events.

    Prometheus scrapes `registry`; other collectors can be registered there.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        make = _Maker(self.registry)
        self.events = EventCounts(make)
        counter, histogram = make.counter, make.histogram
        self._attempts = counter(
            "attempts", "Message requests from WeChat, by outcome.", "account",
            "outcome",
        )  # fmt: skip
        self._held = histogram(
            "hold_seconds", "How long requests waited for an answer.", HOLD_BOUNDS_S,
            "account",
        )  # fmt: skip
        self._rejected = counter(
            "rejected_requests", "Requests rejected as malformed or not from WeChat.", "account",
            "reason",
        )  # fmt: skip
        self._rules = counter(
            "rule_matches", "Messages handled by a rule, by rule number.", "account", "rule"
        )
        self._forwarded = histogram(
            "forward_seconds", "Time other backends took to handle a message.", FORWARD_BOUNDS_S,
            "result",
        )  # fmt: skip
        self._full = counter("full", "Requests rejected or delayed, by limit reached.", "what")
        self._messages = counter("log_messages", "Warnings and errors in the log.", "level")
        for level in ("warn", "error", "critical"):
            self._messages[level,].inc(0)

    def attempt(self, account: AccountName, outcome: object) -> None:
        """Count a request by its `outcome`."""
        label = _OUTCOMES.get(type(outcome))
        if label is None:
            hung_up = isinstance(outcome, Failure) and outcome.check(CancelledError)
            label = "hung_up" if hung_up else "failed"
        self._attempts[account, label].inc()

    def held(self, account: AccountName, seconds: float) -> None:
        """Record how long a request waited, until its answer came or the peer hung up."""
        self._held[account,].observe(seconds)

    def rejected(self, account: AccountName, reason: str) -> None:
        """Count a rejected request."""
        self._rejected[account, reason].inc()

    def rule(self, account: AccountName, number: int) -> None:
        """Count a message that a rule handled."""
        self._rules[account, str(number)].inc()

    def forwarded(self, took_s: float, *, answered: bool) -> None:
        """Record how long another backend took to handle a forwarded message."""
        self._forwarded["answered" if answered else "failed",].observe(took_s)

    def full(self, what: str) -> None:
        """Count a request that was rejected, or has to wait, because `what` is full."""
        self._full[what,].inc()

    def logged(self, event: LogEvent) -> None:
        """Count a warning or worse. An observer of Twisted's log."""
        level = event.get("log_level")
        if level is not None and level >= LogLevel.warn:
            self._messages[level.name,].inc()


class EventCounts(Projection):
    """Counts recorded events."""

    def __init__(self, make: _Maker) -> None:
        counter, histogram = make.counter, make.histogram
        self._windows = counter(
            "windows", "Settled reply windows, by outcome and attempt.", "account",
            "outcome", "attempt",
        )  # fmt: skip
        self._sessions = counter("sessions_opened", "Sessions opened.", "account", "assistant")
        self._questions = counter("questions", "Questions asked.", "account")
        self._unanswered = counter(
            "messages_unanswered",
            "Messages that went unanswered: no session and no matching rule.",
            "account",
        )
        self._restarted = counter("restarted_answers", "Questions retried after a restart.")
        self._answers = counter(
            "answers", "Settled questions: `completed`, or the reason for failure.",
            "assistant", "outcome",
        )  # fmt: skip
        self._first_token = histogram(
            "model_first_token_seconds", "Time to the first token of a completed answer.",
            MODEL_BOUNDS_S, "assistant",
        )  # fmt: skip
        self._model = histogram(
            "model_answer_seconds", "Time to the end of a completed answer.", MODEL_BOUNDS_S,
            "assistant",
        )  # fmt: skip
        self._tokens = counter(
            "tokens", "Tokens of completed answers and of titles.", "assistant", "kind"
        )
        self._cost = counter("cost", "Cost, in the currency of the configured prices.", "assistant")
        self._pages = counter("pages_opened", "Answer pages opened.", "account")
        self._pushes = counter("pushes", "Customer-service messages, by result.", "account", "code")
        # Any: each handler takes the event type that is its key.
        self._handlers: Mapping[type[e.Event], Callable[[AccountName, Any, UserState], None]] = {
            e.ReplyOffered: self._reply_offered,
            e.QuestionAsked: self._question_asked,
            e.SessionOpened: self._session_opened,
            e.AnswerCompleted: self._answer_completed,
            e.SessionTitled: self._session_titled,
            e.AnswerFailed: self._answer_failed,
            e.AnswerRestarted: self._answer_restarted,
            e.PageOpened: self._page_opened,
            e.PushDelivered: self._push_delivered,
            e.PushFailed: self._push_failed,
            e.MessagesUnanswered: self._messages_unanswered,
        }

    def on_applied(self, user: User, event: e.Event, state: UserState) -> None:
        """Count nothing: the machine that recorded it does."""

    def on_event(self, user: User, event: e.Event, state: UserState) -> None:
        """Count `event`."""
        count = self._handlers.get(type(event))
        if count is not None:
            count(user.account, event, state)

    def _reply_offered(self, account: AccountName, event: e.ReplyOffered, state: UserState) -> None:
        window = state.windows.get(event.delivery)
        attempt = min(window.attempts, LAST_NUMBER) if window is not None else 1
        self._windows[account, event.kind, str(attempt)].inc()

    def _question_asked(
        self, account: AccountName, _event: e.QuestionAsked, _state: UserState
    ) -> None:
        self._questions[account,].inc()

    def _messages_unanswered(
        self, account: AccountName, event: e.MessagesUnanswered, _state: UserState
    ) -> None:
        self._unanswered[account,].inc(event.count)

    def _session_opened(
        self, account: AccountName, event: e.SessionOpened, _state: UserState
    ) -> None:
        self._sessions[account, event.assistant].inc()

    def _answer_restarted(
        self, _account: AccountName, _event: e.AnswerRestarted, _state: UserState
    ) -> None:
        self._restarted[()].inc()

    def _page_opened(self, account: AccountName, _event: e.PageOpened, _state: UserState) -> None:
        self._pages[account,].inc()

    def _push_delivered(
        self, account: AccountName, _event: e.PushDelivered, _state: UserState
    ) -> None:
        self._pushes[account, "0"].inc()

    def _push_failed(self, account: AccountName, event: e.PushFailed, _state: UserState) -> None:
        self._pushes[account, str(event.code) if event.code else "unknown"].inc()

    def _answer_failed(
        self, _account: AccountName, event: e.AnswerFailed, _state: UserState
    ) -> None:
        name = event.usage.assistant or "none"
        self._answers[name, event.reason].inc()
        self._cost[name,].inc(event.usage.cost)

    def _session_titled(
        self, _account: AccountName, event: e.SessionTitled, _state: UserState
    ) -> None:
        self._charge(event.usage)

    def _charge(self, usage: AnswerUsage) -> None:
        name = usage.assistant
        self._tokens[name, "prompt"].inc(usage.prompt_tokens)
        self._tokens[name, "completion"].inc(usage.completion_tokens)
        self._cost[name,].inc(usage.cost)

    def _answer_completed(
        self, _account: AccountName, event: e.AnswerCompleted, _state: UserState
    ) -> None:
        name = event.usage.assistant
        self._answers[name, "completed"].inc()
        self._first_token[name,].observe(event.first_text_s)
        self._model[name,].observe(event.took_s)
        self._charge(event.usage)
