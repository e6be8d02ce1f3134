"""The journal: the only writer of state, and the owner of the rule of order.

decide -> append -> evolve -> (durable) -> act. State is evolved at once, so that the next
command sees it; whoever wants to act on it awaits `Journal.committed` first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from wxgptd.domain.commands import Command
from wxgptd.domain.decider import decide
from wxgptd.domain.events import Event
from wxgptd.domain.record import Recorded
from wxgptd.domain.state import EMPTY, Inconsistent, UserState, evolve
from wxgptd.domain.values import User
from wxgptd.ports import EventStore


class Projection(Protocol):
    """Something derived from the events of all users; told of each one in order."""

    def observe(self, user: User, event: Event, state: UserState) -> None:
        """Take note of `event`, which led to `state`. Causes no effects."""
        ...


@dataclass(frozen=True, slots=True)
class Entry:
    """What a command led to: the user's state now, and the events that made it so."""

    state: UserState
    events: tuple[Event, ...]


class _Commit:
    """One append on its way to the disk, and those who wait for it."""

    def __init__(self, appended: Deferred[int]) -> None:
        self._waiting: list[Deferred[None]] | None = []
        self._failure: Failure | None = None
        appended.addCallbacks(lambda _: self._settle(None), self._settle)

    def done(self) -> Deferred[None]:
        result: Deferred[None] = Deferred()
        if self._waiting is not None:
            self._waiting.append(result)
        elif self._failure is not None:
            result.errback(self._failure)
        else:
            result.callback(None)
        return result

    def _settle(self, failure: Failure | None) -> None:
        waiting, self._waiting, self._failure = self._waiting or [], None, failure
        for result in waiting:
            if failure is None:
                result.callback(None)
            else:
                result.errback(failure)


class Journal:
    """All users' states. Create it, `load` the log into it, then `record` commands."""

    def __init__(self, store: EventStore, projections: Sequence[Projection]) -> None:
        self._store = store
        self._projections = tuple(projections)
        self._states: dict[User, UserState] = {}
        self._newest: _Commit | None = None

    def load(self, records: Iterable[Recorded], *also: Projection) -> int:
        """Fold `records` into the states; return the number of the last one.

        `also` is told of them as the projections are, but not of anything later.

        Raises:
            Inconsistent: an event cannot follow the ones before it.
        """
        projections = (*self._projections, *also)
        states, seq = self._states, 0
        for seq, user, previous, event in records:
            state = states.get(user, EMPTY)
            if previous != state.version:
                raise Inconsistent(
                    f"event {seq} rests on version {previous} of its user, "
                    f"but {state.version} events of that user came before"
                )
            states[user] = state = evolve(state, event)
            for projection in projections:
                projection.observe(user, event, state)
        return seq

    def state(self, user: User) -> UserState:
        """Return the user's state: that of a stranger if nothing is known."""
        return self._states.get(user, EMPTY)

    def users(self) -> Iterable[tuple[User, UserState]]:
        """Return all users with their states, as they are now."""
        return tuple(self._states.items())

    def record(self, user: User, command: Command) -> Entry:
        """Decide on `command`, append what it leads to, and evolve the user's state."""
        state = self.state(user)
        events = decide(state, command)
        if not events:
            return Entry(state, events)
        self._newest = _Commit(self._store.append(user, events, state.version))
        for event in events:
            state = evolve(state, event)
            for projection in self._projections:
                projection.observe(user, event, state)
        self._states[user] = state
        return Entry(state, events)

    def committed(self) -> Deferred[None]:
        """Fire when everything recorded so far is durable.

        Each caller has its own Deferred: cancelling it is nobody else's loss.

        Errs:
            WxgptError: the store cannot make it durable any more.
        """
        return self._newest.done() if self._newest is not None else succeed(None)
