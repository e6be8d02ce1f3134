"""The port for storing events permanently."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred

from wxgptd.domain.model.events import Event
from wxgptd.domain.model.values import SessionId, User
from wxgptd.ports.appending import Group
from wxgptd.ports.record import Capture, Loaded, RetentionResult, StoreFigures

InSession = tuple[SessionId, Event]
"""The session that an event belongs to, or an empty string, and the event."""


class FollowingStore(Protocol):
    """A store that can follow another machine's, and lead others."""

    def unknown(self, group: Group) -> Sequence[str]:
        """Return the references in `group` that have no key here.

        Raises:
            WxgptError: it is not a commit group.
        """
        ...

    def decode(self, group: Group, keys: Mapping[str, bytes]) -> Sequence[tuple[User, Event]]:
        """Return the events in `group`, given the records of the keys that were `unknown`.

        Users whose key is missing have been erased since: their events are left out.

        Raises:
            WxgptError: something in it cannot be read.
        """
        ...

    def take(self, group: Group) -> None:
        """Append `group`, which was decoded last, as another machine committed it."""
        ...

    def has(self, group: Group) -> bool:
        """Return whether the last events here are those in `group`, as far as that is known."""
        ...

    def place(self) -> int:
        """Return the place of the last message in the replica, as far as this store wrote it."""
        ...

    def lead(self, place: int | None) -> None:
        """Append to the replica from now on, after the message at `place`; or no longer if None.

        Call this while everything appended so far is durable.
        """
        ...

    def seal(self, user: User, plain: bytes) -> bytes | None:
        """Return `plain` for that user, encrypted with the user's key, or None without a key."""
        ...

    def unseal(self, sealed: bytes) -> tuple[User, bytes] | None:
        """Return the user and the plain bytes of what `seal` returned, or None without the key."""
        ...

    def figures(self) -> StoreFigures:
        """Return the counts since the start."""
        ...

    def committed(self) -> Deferred[None]:
        """Fire when everything appended so far is durable."""
        ...

    def full(self) -> bool:
        """Return whether nothing more should be appended at the moment."""
        ...

    def renew(self) -> None:
        """Append to the replica that this node still leads, so that its log never runs empty."""
        ...

    def stalled_s(self) -> float:
        """Return how long the replica has not acknowledged a commit, in seconds; 0 if it does."""
        ...


class EventStore(Protocol):
    """Stores events permanently."""

    def append(self, user: User, events: Sequence[InSession], expected: int) -> int:
        """Append `events`, decided on version `expected` of `user`, all or none.

        A store with a single writer may trust that writer's `expected`. Returns the number of the
        last event.
        """
        ...

    def committed(self) -> Deferred[None]:
        """Fire when everything appended so far is durable.

        Each caller has its own Deferred: cancelling it affects no other caller.

        Errs:
            WxgptError: the store can no longer make it durable.
        """
        ...

    def load(self, since: Mapping[type[Event], float]) -> Loaded:
        """Return what startup needs; `since` maps kinds of recent events to their earliest time."""
        ...

    def tag(self, user: User) -> int:
        """Return a number of 64 bits that leads back to `user`, and reveals nothing else."""
        ...

    def tagged(self, tag: int) -> User | None:
        """Return the user with that tag, or None if there is none."""
        ...

    @property
    def located_since(self) -> float:
        """Since when links lead to their user by tag; infinite if none does so far."""
        ...

    def figures(self) -> StoreFigures:
        """Return the counts since the start."""
        ...

    def shipped(self) -> tuple[int, float] | None:
        """Return the last event that was sent to another machine, and when (s since the epoch).

        None if none ever was.
        """
        ...

    def full(self) -> bool:
        """Return whether the disk is almost full, so that new work should be rejected."""
        ...

    def begin_segment(self) -> Deferred[None]:
        """Fire when the events so far are where deleted sessions can be removed from.

        Errs:
            WxgptError: the store can no longer make anything durable.
        """
        ...

    def snapshot(self, capture: Capture) -> Callable[[], Sequence[str]]:
        """Return a function that takes a snapshot, so that later starts can skip its events.

        It returns which damaged parts of the log may still have what was said in deleted sessions.

        Call it from any thread, once everything up to `capture.last_seq`, which is the newest
        event now, is durable.
        """
        ...

    def drop_earlier_snapshots(self) -> None:
        """Delete all snapshots but the newest. May be called from any thread."""
        ...

    def retain(self, before: float, most_bytes: int) -> RetentionResult:
        """Delete events older than `before`, and the oldest beyond `most_bytes`; 0 means no limit.

        Only events that a snapshot covers are deleted. May be called from any thread.
        """
        ...
