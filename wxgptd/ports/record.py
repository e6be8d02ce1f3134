"""Events as the log has them, numbered and saying what they rest on; and how the log is doing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

from wxgptd.domain.model.events import Event
from wxgptd.domain.model.state import UserState
from wxgptd.domain.model.values import DeliveryKey, LinkHash, SessionId, User


class Unreadable(NamedTuple):
    """An event written by a newer wxgptd. Viewers show it and go on; the daemon refuses it."""

    at: float
    tag: int
    version: int


class Hidden(StrEnum):
    """Why an event's user and words cannot be read, if they cannot."""

    READABLE = ""
    SEALED = "sealed"
    ERASED = "erased"


class Recorded(NamedTuple):
    """One event on record.

    `seq` numbers all events of the log from 1, without a gap. `session` is the one that the event
    belongs to, or empty. `previous` is the number of events of this user that came before: the
    version of the state that it was decided on. Where it is `hidden`, the user is a pseudonym and
    what is personal is empty: without the master key it is sealed, without the user's own it is
    erased.
    """

    seq: int
    user: User
    session: SessionId
    previous: int
    event: Event
    hidden: Hidden = Hidden.READABLE


class RecordedUnreadable(NamedTuple):
    """An event on record that this version cannot read."""

    seq: int
    user: User
    session: SessionId
    previous: int
    event: Unreadable


AnyRecord = Recorded | RecordedUnreadable


SYNC_BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
"""What the times of commits are sorted by; what took longer than the last one comes behind it."""


class StoreFigures(NamedTuple):
    """How the store is doing: `last_seq` is its newest event, the rest counts from the start.

    `syncs` are how many commits took no longer than each of `SYNC_BOUNDS_S`, and than the one
    before took; `pending` is how many appends are not durable yet.
    """

    last_seq: int = 0
    commits: int = 0
    events: int = 0
    sync_s: float = 0.0
    syncs: tuple[int, ...] = (0,) * (len(SYNC_BOUNDS_S) + 1)
    pending: int = 0


class Unloaded(Protocol):
    """A user whose state has not been looked at since the start: it is folded when it is.

    `events` is how many have to be folded, `last_at` when the newest one was; `unsettled` tells
    whether a session, a question or a push may be open, `marked` whether an operator has ever
    decided about the user.
    """

    @property
    def events(self) -> int: ...

    @property
    def last_at(self) -> float: ...

    @property
    def unsettled(self) -> bool: ...

    @property
    def marked(self) -> bool: ...

    def hydrate(self) -> UserState:
        """Return the state."""
        ...


class Loaded(NamedTuple):
    """A log as a start needs it.

    `recent` are the events that were asked for, of all users, `links` those that lead to what is
    older, by the user, to what and when. `notes` are what projections had
    noted down behind event `snapshot_seq`, by their names; `skipped` is why newer snapshots are
    not used. `stale` tells whether a snapshot may have something of users who were erased since.
    """

    last_seq: int
    users: Mapping[User, Unloaded]
    recent: Sequence[tuple[User, Event]]
    links: Sequence[tuple[User, LinkHash, DeliveryKey, float]]
    notes: Mapping[str, object]
    snapshot_seq: int
    skipped: Sequence[str]
    stale: bool


class Capture(NamedTuple):
    """All states behind event `last_seq`, and what projections note down then: a snapshot to be.

    Nothing of it changes any more. Past sessions that ended before `keep_since` are left out, and
    links from before `links_since`.
    """

    last_seq: int
    hydrated: Mapping[User, UserState]
    unloaded: Mapping[User, Unloaded]
    notes: Mapping[str, object]
    keep_since: float
    links_since: float


class RetentionResult(NamedTuple):
    """What a retention has deleted, and how many bytes of the log are left."""

    segments: int
    size: int
    left: int
