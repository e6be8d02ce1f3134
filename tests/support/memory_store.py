"""The event store in memory: appends are durable at once, or when the test commits them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from twisted.internet.defer import Deferred

from wxgptd.domain.model.events import Event, UserErased
from wxgptd.domain.model.values import User
from wxgptd.eventlog import codec, loading, snapshot
from wxgptd.eventlog.keyring import Keyring
from wxgptd.ports.record import Capture, Loaded, Recorded, RetentionResult, StoreFigures
from wxgptd.ports.store import InSession


class MemoryStore:
    """Implements `wxgptd.ports.store.EventStore`; events pass through the codec."""

    def __init__(self) -> None:
        self.keys = Keyring(Path("/nowhere/keys"), b"m" * 32)
        self._entries: list[codec.Entry] = []
        self._durable = 0
        self._waiting: list[tuple[Deferred[int], int]] = []
        self._expected: dict[User, int] = {}
        self._snapshot: snapshot.Snapshot | None = None
        self.snapshots = 0
        self.snapshots_refused = 0
        self.refuses_snapshots: Exception | None = None
        self.stalled = False
        self.is_full = False
        self.located_since = 0.0
        self.broken: Exception | None = None

    def append(self, user: User, events: Sequence[InSession], expected: int) -> Deferred[int]:
        assert self._expected.get(user, 0) == expected, "the append is based on another version"
        self._expected[user] = expected + len(events)
        key = self.keys.of(user) or self.keys.make(user)
        for previous, event in enumerate(events, expected):
            self._entries.append(codec.encode(key, previous, *event))
        if isinstance(events[-1][1], UserErased):
            del self._expected[user]
            self.keys.drop(key)
        result: Deferred[int] = Deferred()
        if self.broken is not None:
            result.errback(self.broken)
            return result
        self._waiting.append((result, len(self._entries)))
        if not self.stalled:
            self.commit()
        return result

    def commit(self) -> None:
        self._durable = len(self._entries)
        waiting, self._waiting = self._waiting, []
        for result, position in waiting:
            result.callback(position)

    def fail(self, error: Exception) -> None:
        waiting, self._waiting = self._waiting, []
        for result, _ in waiting:
            result.errback(error)

    def crash(self) -> None:
        """Lose the events that are not durable, as in a power cut."""
        del self._entries[self._durable :]
        self._waiting = []
        self._expected = {}
        for record in self.scan():
            self._expected[record.user] = record.previous + 1

    def _stored(self) -> Sequence[codec.Entry]:
        return codec.unpack(codec.join(len(self._entries), [codec.pack(self._entries)]))

    def scan(self) -> Iterator[Recorded]:
        for seq, entry in enumerate(self._stored(), 1):
            yield codec.require(codec.decode(seq, entry, self.keys))

    def load(self, since: Mapping[type[Event], float]) -> Loaded:
        index = loading.Index(self.keys, since)
        covered = 0
        if self._snapshot is not None:
            covered = self._snapshot.last_seq
            index.begin_with(self._snapshot)
        index.take(1, self._stored(), covered)
        return Loaded(
            last_seq=len(self._entries),
            users=index.users(),
            recent=index.recent,
            links=[link for user in index.users().values() for link in user.links()],
            notes=self._snapshot.notes if self._snapshot is not None else {},
            snapshot_seq=covered,
            skipped=(),
        )

    def snapshot(self, capture: Capture) -> Callable[[], None]:
        hydrated = [(self.keys.of(user), state) for user, state in capture.hydrated.items()]

        def write() -> None:
            if self.refuses_snapshots is not None:
                self.snapshots_refused += 1
                raise self.refuses_snapshots
            assert capture.last_seq <= self._durable, (
                "the snapshot includes events that are not durable"
            )
            users = list(loading.frozen(hydrated, capture, self.keys))
            self._snapshot = snapshot.Snapshot(capture.last_seq, 0.0, capture.notes, users)
            self.snapshots += 1

        return write

    def retain(self, before: float, most_bytes: int) -> RetentionResult:
        return RetentionResult(0, 0, 0)

    def tag(self, user: User) -> int:
        return self.keys.tag(user)

    def tagged(self, tag: int) -> User | None:
        key = self.keys.tagged(tag)
        return key.user if key is not None else None

    def figures(self) -> StoreFigures:
        return StoreFigures(
            last_seq=len(self._entries), events=len(self._entries), pending=len(self._waiting)
        )

    def full(self) -> bool:
        return self.is_full

    def events(self) -> list[Event]:
        return [record.event for record in self.scan()]
