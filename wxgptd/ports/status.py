"""The daemon's current status, defined only here.

The admin socket returns it as JSON, Prometheus reads it as gauges, and `wxgpt status` and
`wxgpt top` show it, all under the names below. Prometheus's names are prefixed with `wxgptd_`, have
`_seconds` for `_s`, and end in `_total` if the value only increases.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from wxgptd.domain.model.values import AccountName, AssistantName


class TimeoutStatus(NamedTuple):
    """An account's deliberate timeouts: the number allowed in five minutes, and the number left.

    `auto` is whether the budget adjusts its own size, `suspended_at` is when WeChat last stopped
    delivering (seconds since the epoch, None for never), and `suspected` is whether it seems to
    have stopped now.
    """

    budget: int
    left: int
    auto: bool
    suspended_at: float | None
    suspected: bool


class UnansweredStatus(NamedTuple):
    """How many messages of an account went unanswered."""

    today: int
    yesterday: int


class FsyncStatus(NamedTuple):
    """The durations of commits: their number, total time, and number in each bucket.

    The buckets are those of `wxgptd.ports.record.SYNC_BOUNDS_S`, plus one for longer syncs.
    """

    commits: int
    sum_s: float
    buckets: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonStatus:
    """The daemon's status. Times are in seconds; counts are since the start unless noted otherwise.

    `why_unhealthy` is empty if the daemon is `healthy`. `clock_offset_s` is how far the machine's
    clock is ahead of WeChat's, or None if no message has revealed it yet; the gauge is 0 then, and
    never negative. Until the daemon is `ready`, values from the log are left out. `push` says
    whether late answers can be pushed, or why not; `models` does the same for model servers, and
    `model_failures` lists their last failures. `seconds_since_full` lists what was full in the last
    few minutes. `log_shipped_behind` is how many events `wxgpt log ship` has not sent yet, and
    `log_shipped_s` how long ago it last noted that; None if the log was never shipped.

    In a cluster (otherwise None), `cluster_leading` is whether this node acts on messages,
    `cluster_events_behind` how many events it lacks, `cluster_silent_s` how long it has not heard a
    node that leads, `cluster_takeovers` how often it took the lead, `cluster_claims_lost` how often
    another node was faster, and `cluster_commit_s` how long a quorum of the servers took.
    """

    version: str
    pid: int
    ready: bool
    healthy: bool
    why_unhealthy: str
    uptime_s: float
    open_sessions: int
    held_attempts: int
    running_answers: int
    waiting_questions: int
    page_readers: int
    deliberate_timeouts: Mapping[AccountName, TimeoutStatus]
    suspensions: Mapping[AccountName, int]
    unanswered: Mapping[AccountName, UnansweredStatus]
    clock_offset_s: float | None
    push: Mapping[AccountName, str]
    push_usable: Mapping[AccountName, bool]
    models: Mapping[AssistantName, str]
    circuit_breaker_open: Mapping[AssistantName, bool]
    model_failures: Mapping[AssistantName, str]
    cost_today: Mapping[AssistantName, float]
    budget_exhausted: Mapping[AssistantName, bool]
    disk_full: bool
    seconds_since_full: Mapping[str, float]
    log_last_seq: int
    log_snapshot_seq: int
    log_shipped_behind: int | None
    log_shipped_s: float | None
    log_events: int
    log_pending_appends: int
    log_fsync_s: FsyncStatus
    replay_s: float
    replay_events: int
    cluster_leading: bool | None = None
    cluster_events_behind: int | None = None
    cluster_silent_s: float | None = None
    cluster_takeovers: int | None = None
    cluster_claims_lost: int | None = None
    cluster_commit_s: FsyncStatus | None = None
