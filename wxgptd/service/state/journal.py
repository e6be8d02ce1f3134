"""The journal: the only writer of state, and the owner of the rule of order.

decide -> append -> evolve -> (durable) -> act. `record` is the one door: it decides, appends and
takes up the new state at once, so that the next command sees it, and tells the effects that
subscribed. What they do outside the process awaits `Journal.committed`. The new state is computed
before the append, so that what cannot follow is never written.

After a start most users are unloaded: their state is folded when somebody looks at it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import itemgetter
from typing import Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from wxgptd.domain.decide.commands import Command
from wxgptd.domain.decide.decider import decide
from wxgptd.domain.evolve import evolve, session_of
from wxgptd.domain.model.events import Event, UserErased
from wxgptd.domain.model.state import EMPTY, UserState
from wxgptd.domain.model.values import User
from wxgptd.errors import WxgptError
from wxgptd.ports.record import Capture, Loaded, Unloaded
from wxgptd.ports.store import EventStore
from wxgptd.service.state.projections import Projection

RECENTLY_S = 900.0
"""Users who were active in the last quarter of an hour of the log are hydrated at once..."""

MANY_EVENTS = 2_000
"""...and so are those of whom it would take a while later on, when others wait."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What a command led to: the events, and the user's state before and after them."""

    user: User
    command: Command
    before: UserState
    events: tuple[Event, ...]
    state: UserState


class Effect(Protocol):
    """Acts on what is recorded. It may record something itself."""

    def __call__(self, entry: Entry) -> None: ...


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
    """All users' states. Create it, `load` the log into it, then `record` commands.

    `on_damage` is told when it turns out that a user's events make no sense.
    """

    def __init__(
        self,
        store: EventStore,
        projections: Sequence[Projection],
        on_damage: Callable[[WxgptError], None],
    ) -> None:
        self._store = store
        self._on_damage = on_damage
        self._projections = tuple(projections)
        self._hydrated: dict[User, UserState] = {}
        self._unloaded: dict[User, Unloaded] = {}
        self._keep_since = 0.0
        self._newest: _Commit | None = None
        self._effects: list[Effect] = []
        self._untold: deque[Entry] = deque()
        self._telling = False

    def subscribe(self, effect: Effect) -> None:
        """Have `effect` told of each entry, in the order of subscription.

        Of what a start reads from the log it is not told: replaying causes no effects.
        """
        self._effects.append(effect)

    def since(self, now: float) -> Mapping[type[Event], float]:
        """Return which kinds of events `load` needs, and from what time on."""
        wanted: dict[type[Event], float] = {}
        for projection in self._projections:
            for kind, age_s in projection.replays.items():
                wanted[kind] = min(wanted.get(kind, now), now - age_s)
        return wanted

    def load(self, loaded: Loaded, now: float) -> None:
        """Take over what the log has. Hydrate users who were just active or have something open.

        Raises:
            Inconsistent: an event cannot follow the ones before it.
        """
        self._unloaded = dict(loaded.users)
        for projection in self._projections:
            projection.restore(loaded.notes.get(projection.name))
        # Older ones first: links are forgotten in the order in which they were made.
        for link in sorted(loaded.links, key=itemgetter(3)):
            for projection in self._projections:
                projection.on_link(*link)
        for user, event in loaded.recent:
            for projection in self._projections:
                age_s = projection.replays.get(type(event))
                if age_s is not None and event.at >= now - age_s:
                    projection.replay(user, event)
        for projection in self._projections:
            projection.replayed(self)
        newest = max((one.last_at for one in self._unloaded.values()), default=0.0)
        for user, one in loaded.users.items():
            recent = one.last_at > newest - RECENTLY_S
            if recent or one.unsettled or one.events > MANY_EVENTS:
                state = self.state(user)
                for projection in self._projections:
                    projection.on_user(user, state)

    def state(self, user: User) -> UserState:
        """Return the user's state: that of a stranger if nothing is known.

        Raises:
            WxgptError: the user was unloaded, and the log makes no sense. `on_damage` was told.
        """
        state = self._hydrated.get(user)
        if state is None:
            one = self._unloaded.get(user)
            if one is None:
                return EMPTY
            try:
                state = self._hydrated[user] = one.hydrate().trimmed(self._keep_since)
            except WxgptError as error:
                self._on_damage(error)
                raise
            del self._unloaded[user]
        return state

    def hydrated(self) -> Iterable[tuple[User, UserState]]:
        """Return the users whose states are at hand: all who have something open are."""
        return tuple(self._hydrated.items())

    def unloaded(self) -> Mapping[User, Unloaded]:
        """Return the users who have not been looked at since the start."""
        return self._unloaded

    def capture(self, keep_since: float, links_since: float) -> Capture:
        """Return all there is, as it is now; drop past sessions that ended before `keep_since`."""
        self._keep_since = keep_since
        for user, state in self._hydrated.items():
            if state.past and state.past[0].closed_at < keep_since:
                self._hydrated[user] = state.trimmed(keep_since)
        return Capture(
            last_seq=self._store.figures().last_seq,
            hydrated=dict(self._hydrated),
            unloaded=dict(self._unloaded),
            notes={one.name: one.snapshot() for one in self._projections if one.name},
            keep_since=keep_since,
            links_since=links_since,
        )

    def record(self, user: User, command: Command) -> Entry:
        """Decide on `command`, append what it leads to, evolve the state, and tell the effects.

        Raises:
            Inconsistent: a decision cannot follow the user's state; nothing was appended.
        """
        before = self.state(user)
        events = decide(before, command)
        if not events:
            return Entry(user, command, before, events, before)
        # What cannot follow is found before it is in the log, where it would stop every start.
        states = list(accumulate(events, evolve, initial=before))[1:]
        placed = [(session_of(*pair), pair[1]) for pair in zip(states, events, strict=True)]
        self._newest = _Commit(self._store.append(user, placed, before.version))
        state = states[-1]
        for event, evolved in zip(events, states, strict=True):
            for projection in self._projections:
                projection.on_event(user, event, evolved)
        if isinstance(events[-1], UserErased):
            self._hydrated.pop(user, None)
        else:
            self._hydrated[user] = state
        entry = Entry(user, command, before, events, state)
        self._untold.append(entry)
        self._tell()
        return entry

    def _tell(self) -> None:
        """Tell the effects of what is recorded, in the log's order: one may record more."""
        if self._telling:
            return
        self._telling = True
        try:
            while self._untold:
                entry = self._untold.popleft()
                for effect in self._effects:
                    effect(entry)
        finally:
            self._telling = False

    def committed(self) -> Deferred[None]:
        """Fire when everything recorded so far is durable.

        Each caller has its own Deferred: cancelling it is nobody else's loss.

        Errs:
            WxgptError: the store cannot make it durable any more.
        """
        return self._newest.done() if self._newest is not None else succeed(None)
