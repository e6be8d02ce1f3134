"""What the operator can see of a running daemon, and have it do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from twisted.internet.defer import Deferred

from wxgptd.ports.status import DaemonStatus


class OpenSession(NamedTuple):
    """A session that takes questions. Times are seconds since the epoch."""

    session: str
    account: str
    user: str
    assistant: str
    opened_at: float
    expires_at: float
    questions: int


class PendingQuestion(NamedTuple):
    """A question that has no answer yet; `attempts` is how often WeChat has asked."""

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
    """A user; `until` is when the standing ends, `last_at` when the last message came, if known."""

    account: str
    user: str
    standing: str
    until: float | None
    last_at: float | None
    questions_today: int
    tokens_today: int


class ModelTrial(NamedTuple):
    """The result of asking a model for one token; `reason` and `detail` say why it failed."""

    ok: bool
    model: str
    took_s: float = 0.0
    reason: str = ""
    detail: str = ""


class Vacuumed(NamedTuple):
    """A snapshot was taken of everything up to `snapshot`, and old segments were dropped."""

    snapshot: int
    dropped_segments: int
    dropped_bytes: int
    left_bytes: int


class Reloaded(NamedTuple):
    """Dotted keys that have changed, and that wait for a restart."""

    changed: tuple[str, ...]
    takes_restart: tuple[str, ...]


class Faulty(NamedTuple):
    """What is wrong with a configuration: it was not adopted."""

    faults: tuple[str, ...]


class Sessions(Protocol):
    """Open sessions and pending questions."""

    def open(self) -> Sequence[OpenSession]:
        """Return the open sessions."""
        ...

    def pending(self) -> Sequence[PendingQuestion]:
        """Return the questions that have no answer yet, the oldest first."""
        ...

    def stop(self, session: str) -> Deferred[bool]:
        """End a session; fires with whether there was one, once that is durable."""
        ...


class Users(Protocol):
    """Users, their standing and their erasure."""

    def newest(self, limit: int, standing: str) -> Sequence[UserSummary]:
        """Return users with their standing and what they asked for today.

        Those who were heard of last come first, `limit` at most; of one `standing` if not empty.
        """
        ...

    def knows(self, account: str, openid: str) -> bool:
        """Tell whether anything is known of a user."""
        ...

    def whose(self, account: str, openid: str, text: str, *, kind: str, tapped: bool) -> str | None:
        """Return who would handle a message of a user that came now: a name, see `routing`.

        None if the account is not configured.
        """
        ...

    def change_standing(
        self, account: str, openid: str, standing: str, for_s: float
    ) -> Deferred[bool]:
        """Block, allow or neither, for `for_s` seconds or (0) for good.

        Fires with whether there is that account, once it is durable.
        """
        ...

    def forget(self, account: str, openid: str) -> Deferred[bool]:
        """Erase a user; fires with whether anything was known, once nothing is any longer."""
        ...


class Trials(Protocol):
    """Trials of models and of WeChat's API."""

    def push(self, account: str) -> Deferred[str] | None:
        """Find out whether WeChat's API can be used; fires with what is wrong, if anything is.

        None if the account pushes nothing.
        """
        ...

    def assistant(self, name: str) -> Deferred[Sequence[ModelTrial] | None]:
        """Ask each model of an assistant for a single token; fires with what came of each.

        None if there is no such assistant.
        """
        ...


class Maintenance(Protocol):
    """The log and the configuration."""

    def vacuum(self) -> Deferred[Vacuumed]:
        """Take a snapshot and drop what is not to be kept; fires with that."""
        ...

    def reload(
        self, given: tuple[str, Path, int] | None, *, dry: bool = False
    ) -> Reloaded | Faulty:
        """Take up another configuration: `given` (text, path and mode of a file), or read again.

        If `dry`, nothing changes in any case.
        """
        ...


@dataclass(frozen=True, slots=True)
class Control:
    """What the operator's command line asks of the daemon.

    Before it is `ready`, the log is not loaded, and only the status may be asked for.
    """

    ready: Callable[[], bool]
    status: Callable[[], DaemonStatus]
    sessions: Sessions
    users: Users
    trials: Trials
    maintenance: Maintenance
