"""Whoever keeps events for good."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred

from wxgptd.domain.model.events import Event
from wxgptd.domain.model.values import SessionId, User
from wxgptd.ports.record import Capture, Loaded, RetentionResult, StoreFigures

InSession = tuple[SessionId, Event]
"""An event, and the session that it belongs to, or an empty text."""


class EventStore(Protocol):
    """Whoever keeps events for good."""

    def append(self, user: User, events: Sequence[InSession], expected: int) -> Deferred[int]:
        """Append `events`, which rest on version `expected` of `user`, all or none.

        A store with one writer may take that writer's word for `expected`. Fires with the
        position of the last one when they are durable.
        """
        ...

    def load(self, since: Mapping[type[Event], float]) -> Loaded:
        """Return what a start needs, with the events of these kinds from these times on."""
        ...

    def figures(self) -> StoreFigures:
        """Return what has been committed since the start."""
        ...

    def full(self) -> bool:
        """Tell whether there is hardly room for more: what can be refused should be."""
        ...

    def snapshot(self, capture: Capture, *, only: bool) -> Callable[[], None]:
        """Return what keeps `capture` so that a later start need not read what led there.

        To be called in any thread once `capture` is durable. `only`: nothing older may be left.
        """
        ...

    def retain(self, before: float, most_bytes: int) -> RetentionResult:
        """Delete events from before `before` and what is over `most_bytes`; 0 is no bound.

        Only what a snapshot has is deleted. To be called in any thread.
        """
        ...
