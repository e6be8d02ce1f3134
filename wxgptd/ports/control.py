"""What the operator can see in a running daemon and ask it to do."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from twisted.internet.defer import Deferred

from wxgptd.ports.status import DaemonStatus


class OpenSession(NamedTuple):
    """A session that accepts questions. Times are in seconds since the epoch."""

    session: str
    account: str
    user: str
    assistant: str
    opened_at: float
    expires_at: float
    questions: int


class PendingQuestion(NamedTuple):
    """A question without an answer yet; `attempts` counts WeChat's deliveries of it."""

    account: str
    user: str
    session: str
    assistant: str
    delivery: str
    asked_at: float
    waited_s: float
    progress: str
    written_chars: int
    attempts: int


class UserSummary(NamedTuple):
    """A user; `until` is when the standing ends, `last_at` the time of the last known message.

    `name` is what the operator calls the user, or empty.
    """

    account: str
    user: str
    standing: str
    until: float | None
    last_at: float | None
    questions_today: int
    tokens_today: int
    name: str = ""


class ModelTrial(NamedTuple):
    """The result of asking a model for one token; `reason` and `detail` explain a failure."""

    ok: bool
    model: str
    took_s: float = 0.0
    reason: str = ""
    detail: str = ""


class VacuumResult(NamedTuple):
    """A snapshot was taken of everything up to event `snapshot`, and old segments were dropped."""

    snapshot: int
    dropped_segments: int
    dropped_bytes: int
    left_bytes: int


class Reloaded(NamedTuple):
    """The dotted keys that have changed, and those that need a restart."""

    changed: tuple[str, ...]
    takes_restart: tuple[str, ...]


class Faulty(NamedTuple):
    """The faults of a configuration that was not applied."""

    faults: tuple[str, ...]


class Sessions(Protocol):
    """Open sessions and pending questions."""

    def open(self) -> Sequence[OpenSession]:
        """Return the open sessions."""
        ...

    def pending(self) -> Sequence[PendingQuestion]:
        """Return the questions that have no answer yet, oldest first."""
        ...

    def stop(self, session: str) -> Deferred[bool]:
        """End a session; fires with whether it existed, once its end is durable."""
        ...


class Users(Protocol):
    """Users, their standing and their erasure."""

    def newest(
        self, limit: int, standing: str, beginning: str = "", account: str = ""
    ) -> Sequence[UserSummary]:
        """Return users with their standing and their usage today.

        At most `limit` users, most recently active first; only those with `standing`, of the
        `account`, and whose OpenID or name has that `beginning`, unless these are empty.
        """
        ...

    def names(self) -> Mapping[str, str]:
        """Return the names that the operator gave users, by `ACCOUNT/OPENID`."""
        ...

    def knows(self, account: str, openid: str) -> bool:
        """Return whether anything is known about a user."""
        ...

    def handler_for(
        self, account: str, openid: str, text: str, *, kind: str, tapped: bool
    ) -> str | None:
        """Return the name of what would handle a message from a user now; see `routing`.

        None if the account is not configured.
        """
        ...

    def change_standing(
        self, account: str, openid: str, standing: str, for_s: float
    ) -> Deferred[bool]:
        """Block or allow a user, or lift either, for `for_s` seconds (0: permanently).

        Fires with whether the account exists, once the change is durable.
        """
        ...

    def give_name(self, account: str, openid: str, name: str) -> Deferred[bool]:
        """Give a known user a name; fires with whether the user is known, once it is durable."""
        ...

    def forget(self, account: str, openid: str) -> Deferred[bool]:
        """Erase a user; fires once that is done, with whether anything was known about them."""
        ...


class Trials(Protocol):
    """Tests of models and of WeChat's API."""

    def push(self, account: str) -> Deferred[str] | None:
        """Test WeChat's API; fires with the error, or an empty string.

        None if pushing is not configured for the account.
        """
        ...

    def assistant(self, name: str) -> Deferred[Sequence[ModelTrial] | None]:
        """Ask each model of an assistant for a single token; fires with the results.

        None if the assistant does not exist.
        """
        ...


class Maintenance(Protocol):
    """The log and the configuration."""

    def vacuum(self) -> Deferred[VacuumResult]:
        """Take a snapshot and delete what is past retention; fires with the result."""
        ...

    def reload(
        self, given: tuple[str, Path, int] | None, *, dry: bool = False
    ) -> Reloaded | Faulty:
        """Apply a configuration: `given` (text, path and mode of a file), or the reread file.

        If `dry`, nothing is changed.
        """
        ...


class NodeSummary(NamedTuple):
    """A node of the cluster, as another one knows it.

    `seq` is its last event, `silent_s` how long ago it was heard, and `clock_s` how far its clock
    is ahead of this one's. `is_missing` lists the kinds of events that it cannot read.
    """

    name: str
    url: str
    leads: bool
    seq: int
    version: str
    config: str
    silent_s: float
    clock_s: float
    is_missing: Sequence[int]


class ClusterSummary(NamedTuple):
    """The cluster, as this node sees it. `leader` is empty if no node leads; `lag` is in events.

    If it `is_stalled`, this node leads, and the servers store nothing.
    """

    cluster: str
    role: str
    is_stalled: bool
    leader: str
    lag: int
    takeovers: int
    nodes: Sequence[NodeSummary]


class ClusterControl(Protocol):
    """A node's part in its cluster."""

    def leader(self) -> str | None:
        """Return the name of the node that leads if it is another one, or None.

        An empty string if no node leads at the moment.
        """
        ...

    def summary(self) -> ClusterSummary:
        """Return the cluster as this node sees it."""
        ...

    def step_down(self) -> Deferred[Collection[str] | None]:
        """Stop leading; fires with the names of the nodes that may take over.

        None if this node does not lead; nothing happens without another node.
        """
        ...


@dataclass(frozen=True, slots=True)
class Control:
    """What the operator's command line can ask of the daemon.

    Until it is `ready`, the log is not loaded and only `status` may be called.
    """

    ready: Callable[[], bool]
    status: Callable[[], DaemonStatus]
    sessions: Sessions
    users: Users
    trials: Trials
    maintenance: Maintenance
    cluster: ClusterControl | None = None
