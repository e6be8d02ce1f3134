"""Events as recorded in the log, with their numbers and versions, and the log's figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

from wxgptd.domain.model.events import Event
from wxgptd.domain.model.state import UserState
from wxgptd.domain.model.values import DeliveryKey, LinkHash, SessionId, User


class Unreadable(NamedTuple):
    """An event written by a newer wxgptd. Viewers show it and continue; the daemon rejects it."""

    at: float
    tag: int
    version: int


class Hidden(StrEnum):
    """Whether, and why, an event's user and personal fields are unreadable."""

    READABLE = ""
    SEALED = "sealed"
    ERASED = "erased"


class Recorded(NamedTuple):
    """One recorded event.

    `seq` numbers all events of the log from 1, without gaps. `session` is the session that the
    event belongs to, or empty. `previous` is the number of earlier events of this user: the state
    version that it was decided on. If it is `hidden`, the user is a pseudonym and personal fields
    are empty: without the master key it is sealed, without the user's own key it is erased.
    """

    seq: int
    user: User
    session: SessionId
    previous: int
    event: Event
    hidden: Hidden = Hidden.READABLE


class RecordedUnreadable(NamedTuple):
    """A recorded event that this version cannot read."""

    seq: int
    user: User
    session: SessionId
    previous: int
    event: Unreadable


AnyRecord = Recorded | RecordedUnreadable


SYNC_BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
"""The upper bounds of the buckets for commit times; one more bucket counts longer ones."""


class StoreFigures(NamedTuple):
    """The store's figures: `last_seq` is its newest event, the others count from the start.

    `syncs` is the number of commits in each bucket of `SYNC_BOUNDS_S`, and beyond the last;
    `pending` is the number of appends that are not durable yet. `quorum_s` and `quorums` are like
    `sync_s` and `syncs`, for what a replica took.
    """

    last_seq: int = 0
    commits: int = 0
    events: int = 0
    sync_s: float = 0.0
    syncs: tuple[int, ...] = (0,) * (len(SYNC_BOUNDS_S) + 1)
    pending: int = 0
    quorum_s: float = 0.0
    quorums: tuple[int, ...] = (0,) * (len(SYNC_BOUNDS_S) + 1)


class StoredUsers(Protocol):
    """All users in the log. A user's state is read when it is needed."""

    def __len__(self) -> int: ...

    def find(self, user: User) -> UserState | None:
        """Return a user's state, or None if nothing is known about the user.

        Raises:
            WxgptError: the user's events are inconsistent or damaged.
        """
        ...

    def newest(self, limit: int) -> Iterator[User]:
        """Yield at least `limit` users if there are so many, roughly the newest first."""
        ...

    def marked_users(self) -> Iterator[User]:
        """Yield the users whose standing an operator has ever changed."""
        ...


class Loaded(NamedTuple):
    """What startup needs from a log.

    `open` has the users with something unfinished. `recent` holds the requested events of all
    users, `links` the links of earlier versions: the user, the link's hash, the question and the
    time. `notes` holds the snapshots of the projections after event `snapshot_seq`, by name;
    `skipped` is why newer snapshots are not used.
    """

    last_seq: int
    users: StoredUsers
    open: Sequence[User]
    recent: Sequence[tuple[User, Event]]
    links: Sequence[tuple[User, LinkHash, DeliveryKey, float]]
    notes: Mapping[str, object]
    snapshot_seq: int
    skipped: Sequence[str]


class Capture(NamedTuple):
    """What a snapshot of everything up to event `last_seq` needs beside the log.

    `notes` are those of the projections. Past sessions that ended before `keep_since` are left out,
    as are links from before `links_since`. What was said in the `deleted` sessions is removed from
    the log: each has its user, its identifier, and when it was opened.
    """

    last_seq: int
    notes: Mapping[str, object]
    keep_since: float
    links_since: float
    deleted: Sequence[tuple[User, SessionId, float]] = ()


class RetentionResult(NamedTuple):
    """The number and size of deleted segments, and the bytes of log left."""

    segments: int
    size: int
    left: int
