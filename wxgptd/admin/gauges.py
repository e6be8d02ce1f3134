"""The daemon's status as gauges, read whenever Prometheus scrapes.

Names and units follow Prometheus's conventions; `wxgptd.ports.status` explains how the metrics are
named.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Mapping

import twisted
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from wxgptd.ports.record import SYNC_BOUNDS_S
from wxgptd.ports.status import DaemonStatus, FsyncStatus

PLAIN = {
    "ready": "Whether the log is loaded and messages are accepted.",
    "healthy": "Whether commits to the log make progress and threads respond.",
    "open_sessions": "Open sessions.",
    "held_attempts": "Requests waiting for an answer or for the log.",
    "running_answers": "Model calls in progress.",
    "waiting_questions": "Questions waiting for a slot or for the user's previous question.",
    "page_readers": "Readers of answers that are still being written.",
    "disk_full": "Whether the disk is too full for new questions.",
    "log_last_seq": "Sequence number of the newest event.",
    "log_snapshot_seq": "Sequence number of the last event in a snapshot.",
    "log_pending_appends": "Appends that are not durable yet.",
    "replay_s": "How long it took to load the log at startup.",
    "replay_events": "Events replayed at startup.",
}

OF_SHIPPING = {
    "log_shipped_behind": "Events that have not been sent to the other machine.",
    "log_shipped_s": "How long ago events were last sent to the other machine.",
}

OF_CLUSTER = {
    "cluster_leading": "Whether this node acts on messages.",
    "cluster_events_behind": "Events that this node lacks.",
    "cluster_silent_s": "How long no node that leads has been heard.",
}

COUNTED_OF_CLUSTER = {
    "cluster_takeovers": "How often this node took the lead.",
    "cluster_claims_lost": "How often another node took the lead first.",
}

OF_ACCOUNTS = {
    "push_usable": "Whether late answers can be pushed.",
}

OF_ASSISTANTS = {
    "cost_today": "Cost of answers since midnight.",
    "circuit_breaker_open": "Whether the circuit breaker is open because the model failed.",
    "budget_exhausted": "Whether the daily budget is spent.",
}


class Gauges(Collector):
    """Reads `status` at each scrape."""

    def __init__(self, status: Callable[[], DaemonStatus]) -> None:
        self._status = status

    def collect(self) -> Iterable[Metric]:
        """Yield the gauges."""
        status = self._status()
        for name, about in PLAIN.items():
            yield GaugeMetricFamily(_metric(name), about, float(getattr(status, name)))
        yield GaugeMetricFamily(
            _metric("clock_offset_s"),
            "How far the local clock is ahead of WeChat's.",
            max(0.0, status.clock_offset_s or 0.0),
        )
        for label, names in (("account", OF_ACCOUNTS), ("assistant", OF_ASSISTANTS)):
            for name, about in names.items():
                yield _labelled(name, about, label, getattr(status, name))
        yield from _timeouts(status)
        yield from _log(status)
        for name, about in {**OF_SHIPPING, **OF_CLUSTER}.items():
            if getattr(status, name) is not None:
                yield GaugeMetricFamily(_metric(name), about, float(getattr(status, name)))
        yield from _cluster(status)
        build = GaugeMetricFamily(
            _metric("build_info"), "Running versions.", labels=["version", "python", "twisted"]
        )
        build.add_metric([status.version, platform.python_version(), twisted.__version__], 1.0)
        yield build


def _timeouts(status: DaemonStatus) -> Iterable[Metric]:
    # An account without a budget has nothing to spend.
    timeouts = {
        name: timeout for name, timeout in status.deliberate_timeouts.items() if timeout.budget
    }
    yield _labelled(
        "deliberate_timeouts_budget",
        "Deliberate timeouts allowed per account in five minutes.",
        "account",
        {name: timeout.budget for name, timeout in timeouts.items()},
    )
    yield _labelled(
        "deliberate_timeouts_left",
        "Deliberate timeouts left in the budget.",
        "account",
        {name: timeout.left for name, timeout in timeouts.items()},
    )
    suspensions = CounterMetricFamily(
        _metric("suspensions"),
        "How often WeChat delivered nothing to an account for about a minute.",
        labels=["account"],
    )
    for account, count in status.suspensions.items():
        suspensions.add_metric([account], count)
    yield suspensions


def _log(status: DaemonStatus) -> Iterable[Metric]:
    yield _counter("log_events", "Events written.", status.log_events)
    about = "Duration of a commit's fdatasync; the count is the number of commits."
    yield _histogram("log_fsync_s", about, status.log_fsync_s)


def _cluster(status: DaemonStatus) -> Iterable[Metric]:
    if status.cluster_commit_s is None:
        return
    for name, about in COUNTED_OF_CLUSTER.items():
        yield _counter(name, about, getattr(status, name))
    about = "How long a quorum of the NATS servers took for a commit."
    yield _histogram("cluster_commit_s", about, status.cluster_commit_s)


def _counter(name: str, about: str, value: int) -> Metric:
    counter = Metric(_metric(name), about, "counter")
    counter.add_sample(f"{_metric(name)}_total", {}, value)
    return counter


def _histogram(name: str, about: str, durations: FsyncStatus) -> Metric:
    cumulative, buckets = 0, []
    bounds = (*map(str, SYNC_BOUNDS_S), "+Inf")
    for bound, count in zip(bounds, durations.buckets, strict=True):
        cumulative += count
        buckets.append((bound, float(cumulative)))
    return HistogramMetricFamily(_metric(name), about, buckets=buckets, sum_value=durations.sum_s)


def _labelled(name: str, about: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(_metric(name), about, labels=[label])
    for key, value in values.items():
        family.add_metric([key], float(value))
    return family


def _metric(name: str) -> str:
    """Return the Prometheus name of a status field."""
    return f"wxgptd_{name.removesuffix('_s')}_seconds" if name.endswith("_s") else f"wxgptd_{name}"
