"""The journal: the only writer of state, which enforces one order of steps.

decide -> append -> evolve -> (durable) -> act. `record` is the only way to change state: it
decides, appends, applies the new state at once so that the next command sees it, and runs the
subscribed effects. Before an effect acts outside the process, it awaits `Journal.committed`. The
new state is computed before the append, so an inconsistent event is never written.

Only the users who were active lately are loaded: any other state is read when it is needed, and
unloaded again within an hour.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import itemgetter
from typing import Protocol

from twisted.internet.defer import Deferred

from wxgptd.domain.decide.commands import Command
from wxgptd.domain.decide.decider import decide
from wxgptd.domain.evolve import evolve, session_of
from wxgptd.domain.model.events import Event, UserErased
from wxgptd.domain.model.state import EMPTY, UserState
from wxgptd.domain.model.values import User
from wxgptd.errors import WxgptError
from wxgptd.ports.record import Capture, Loaded, StoredUsers
from wxgptd.ports.store import EventStore
from wxgptd.service.state.projections import Projection

UNLOAD_AFTER_S = 1_800.0
"""A user whose state was not needed for this long is unloaded; it may take twice as long."""

UNLOADED_AT_ONCE = 500
"""So many users' states are freed in one go: freeing all would delay others."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A command's outcome: its events, and the user's state before and after them."""

    user: User
    command: Command
    before: UserState
    events: tuple[Event, ...]
    state: UserState


class Effect(Protocol):
    """Acts on recorded entries. It may record further entries itself."""

    def __call__(self, entry: Entry) -> None: ...


class Journal:
    """All users' states. Create it, `load` the log into it, then `record` commands.

    `on_damage` is called when a user's events turn out to be inconsistent.
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
        self._users: StoredUsers = _Nobody()
        self._young: dict[User, UserState] = {}
        """The users whose state was needed since the last rotation."""
        self._old: dict[User, UserState] = {}
        """Those whose state was last needed in the period before it."""
        self._unneeded: dict[User, UserState] = {}
        """Those who are being unloaded."""
        self._unfinished: set[User] = set()
        self._rotated_at = 0.0
        self._is_old_durable = True
        self._keep_since = 0.0
        self._effects: list[Effect] = []
        self._observers: list[Callable[[User, Event, UserState], None]] = []
        self.refuses: Callable[[], WxgptError] | None = None
        """Returns why nothing can be recorded here, while another machine does."""
        self._pending: deque[Entry] = deque()
        self._running_effects = False

    def subscribe(self, effect: Effect) -> None:
        """Call `effect` with each new entry, after the effects that subscribed before it.

        Entries loaded from the log at startup are not passed on: replay causes no effects.
        """
        self._effects.append(effect)

    def observe(self, observer: Callable[[User, Event, UserState], None]) -> None:
        """Call `observer` with each event that is applied, and the user's state before it."""
        self._observers.append(observer)

    def since(self, now: float) -> Mapping[type[Event], float]:
        """Return the kinds of events that `load` needs, each with its earliest time."""
        earliest: dict[type[Event], float] = {}
        for projection in self._projections:
            for kind, age_s in projection.replays.items():
                earliest[kind] = min(earliest.get(kind, now), now - age_s)
        return earliest

    def load(self, loaded: Loaded, now: float) -> None:
        """Load the log: its projections, and the users with unfinished work.

        Raises:
            Inconsistent: an event contradicts the ones before it.
        """
        self._users = loaded.users
        self._rotated_at = now
        for projection in self._projections:
            projection.restore(loaded.notes.get(projection.name))
        # Oldest first: expired links are dropped in the order in which they were added.
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
        for user in loaded.open:
            state = self.state(user)
            self._note_unfinished(user, state)
            for projection in self._projections:
                projection.on_user(user, state)

    def state(self, user: User) -> UserState:
        """Return the user's state, which is empty for an unknown user.

        Raises:
            WxgptError: the user's events in the log are inconsistent; `on_damage` was called.
        """
        state = self._young.get(user)
        if state is None:
            state = self._old.pop(user, None) or self._read(user)
            if state is not EMPTY:
                self._young[user] = state
        return state

    def _read(self, user: User) -> UserState:
        try:
            state = self._users.find(user)
        except WxgptError as error:
            self._on_damage(error)
            raise
        return state.trimmed(self._keep_since) if state is not None else EMPTY

    def loaded(self) -> Iterable[tuple[User, UserState]]:
        """Return the users in memory, which include those with unfinished work."""
        return (*self._old.items(), *self._young.items())

    @property
    def users(self) -> StoredUsers:
        """All users in the log."""
        return self._users

    def unload(self, now: float) -> None:
        """Unload some users whose state was not needed for long. Call this every second."""
        for _ in range(min(UNLOADED_AT_ONCE, len(self._unneeded))):
            self._unneeded.popitem()
        # What is not durable yet could not be read again.
        if now < self._rotated_at + UNLOAD_AFTER_S or not self._is_old_durable:
            return
        self._rotated_at = now
        for user in self._unfinished & self._old.keys():
            self._young[user] = self._old.pop(user)
        self._unneeded, self._old, self._young = self._old, self._young, {}
        self._is_old_durable = False
        self.committed().addCallbacks(self._old_is_durable, lambda _: None)

    def _old_is_durable(self, _: None) -> None:
        self._is_old_durable = True

    def _note_unfinished(self, user: User, state: UserState) -> None:
        if state.live is not None or state.unanswered or state.push is not None:
            self._unfinished.add(user)
        else:
            self._unfinished.discard(user)

    def capture(self, keep_since: float, links_since: float) -> Capture:
        """Capture what a snapshot needs; drop past sessions that ended before `keep_since`."""
        self._keep_since = keep_since
        for states in (self._young, self._old) if keep_since else ():
            for user, state in states.items():
                if state.past and state.past[0].closed_at < keep_since:
                    states[user] = state.trimmed(keep_since)
        return Capture(
            last_seq=self._store.figures().last_seq,
            notes={
                projection.name: projection.snapshot()
                for projection in self._projections
                if projection.name
            },
            keep_since=keep_since,
            links_since=links_since,
        )

    def record(self, user: User, command: Command) -> Entry:
        """Decide on `command`, append its events, evolve the state, and run the effects.

        Raises:
            Inconsistent: an event contradicts the user's state; nothing was appended.
            WxgptError: another machine records at the moment.
        """
        if self.refuses is not None:
            raise self.refuses()
        before = self.state(user)
        events = decide(before, command)
        if not events:
            return Entry(user, command, before, events, before)
        # Evolve before appending: once in the log, an inconsistent event breaks every startup.
        states = list(accumulate(events, evolve, initial=before))[1:]
        in_sessions = [(session_of(*pair), pair[1]) for pair in zip(states, events, strict=True)]
        self._store.append(user, in_sessions, before.version)
        state = states[-1]
        for event, evolved in zip(events, states, strict=True):
            for projection in self._projections:
                projection.on_event(user, event, evolved)
        self._keep(user, state, erased=isinstance(events[-1], UserErased))
        entry = Entry(user, command, before, events, state)
        self._pending.append(entry)
        self._run_effects()
        return entry

    def apply(self, user: User, event: Event, before: UserState) -> UserState:
        """Apply an event that another machine's journal recorded: no decision, and no effects.

        `before` is the user's state, read before the event became part of the store. Returns the
        state after it.

        Raises:
            Inconsistent: the event contradicts the user's state.
        """
        state = evolve(before, event)
        for projection in self._projections:
            projection.on_applied(user, event, state)
        self._keep(user, state, erased=isinstance(event, UserErased))
        for observe in self._observers:
            observe(user, event, before)
        return EMPTY if isinstance(event, UserErased) else state

    def _keep(self, user: User, state: UserState, *, erased: bool) -> None:
        if erased:
            self._young.pop(user, None)
            self._unneeded.pop(user, None)
            self._unfinished.discard(user)
        else:
            self._young[user] = state
            self._note_unfinished(user, state)

    def _run_effects(self) -> None:
        """Run the effects on new entries, in log order even if an effect records more."""
        if self._running_effects:
            return
        self._running_effects = True
        try:
            while self._pending:
                entry = self._pending.popleft()
                for effect in self._effects:
                    effect(entry)
        finally:
            self._running_effects = False

    def committed(self) -> Deferred[None]:
        """Fire when everything recorded so far is durable.

        Each caller has its own Deferred: cancelling it affects no other caller.

        Errs:
            WxgptError: the store can no longer make it durable.
        """
        return self._store.committed()


class _Nobody:
    """The users of a log that has not been loaded."""

    def __len__(self) -> int:
        return 0

    def find(self, user: User) -> UserState | None:
        return None

    def newest(self, limit: int) -> Iterator[User]:
        return iter(())

    def marked_users(self) -> Iterator[User]:
        return iter(())
