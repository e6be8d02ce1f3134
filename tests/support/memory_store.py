"""The event store in memory: appends are durable at once, or when the test commits them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from twisted.internet.defer import Deferred

from wxgptd.domain.model.events import Event, UserErased
from wxgptd.domain.model.values import User
from wxgptd.eventlog import codec, framing, loading, packing, snapshotting
from wxgptd.eventlog.keyring import Keyring
from wxgptd.eventlog.snapshot import Columns, Snapshot
from wxgptd.ports.record import Capture, Loaded, Recorded, RetentionResult, StoreFigures
from wxgptd.ports.store import InSession


class MemoryStore:
    """Implements `wxgptd.ports.store.EventStore`; events pass through the codec."""

    def __init__(self) -> None:
        self.keys = Keyring(Path("/nowhere/keys"), b"m" * 32)
        self._entries: list[codec.Entry] = []
        self._durable = 0
        self._waiting: list[Deferred[None]] = []
        self._expected: dict[User, int] = {}
        self._snapshot: Snapshot | None = None
        self._users = self._index({}).users
        self.snapshots = 0
        self.dropped = 0
        self.snapshots_refused = 0
        self.refuses_snapshots: Exception | None = None
        self.stalled = False
        self.is_full = False
        self.located_since = 0.0
        self.broken: Exception | None = None

    def append(self, user: User, events: Sequence[InSession], expected: int) -> int:
        assert self._expected.get(user, 0) == expected, "the append is based on another version"
        self._expected[user] = expected + len(events)
        key = self.keys.of(user) or self.keys.make(user)
        for previous, event in enumerate(events, expected):
            self._entries.append(codec.encode(key, previous, *event))
        kinds = [event for _, event in events]
        self._users.append(key, len(self._entries) + 1 - len(events), expected, kinds)
        if isinstance(events[-1][1], UserErased):
            del self._expected[user]
            self.keys.drop(key)
        if not self.stalled and self.broken is None:
            self.commit()
        return len(self._entries)

    def committed(self) -> Deferred[None]:
        result: Deferred[None] = Deferred()
        if self.broken is not None:
            result.errback(self.broken)
        elif self._durable < len(self._entries):
            self._waiting.append(result)
        else:
            result.callback(None)
        return result

    def commit(self) -> None:
        self._durable = len(self._entries)
        waiting, self._waiting = self._waiting, []
        for result in waiting:
            result.callback(None)

    def fail(self, error: Exception) -> None:
        waiting, self._waiting = self._waiting, []
        for result in waiting:
            result.errback(error)

    def crash(self) -> None:
        """Lose the events that are not durable, as in a power cut."""
        del self._entries[self._durable :]
        self._waiting = []
        self._expected = {}
        for record in self.scan():
            self._expected[record.user] = record.previous + 1

    def _stored(self) -> Sequence[codec.Entry]:
        return packing.unpack(codec.join(len(self._entries), [codec.pack(self._entries)]))

    def scan(self) -> Iterator[Recorded]:
        for seq, entry in enumerate(self._stored(), 1):
            yield codec.require(codec.decode(seq, entry, self.keys))

    def _index(self, since: Mapping[type[Event], float]) -> loading.Index:
        index = loading.Index(Path("/nowhere"), self.keys, self._snapshot, since)
        index.users._frames = _Frames(self._entries)  # type: ignore[assignment]
        return index

    def load(self, since: Mapping[type[Event], float]) -> Loaded:
        index = self._index(since)
        covered = self._snapshot.last_seq if self._snapshot is not None else 0
        index.take(1, self._stored(), covered)
        self._users = users = index.users
        return Loaded(
            last_seq=len(self._entries),
            users=users,
            open=index.open_users(),
            recent=index.recent,
            links=list(users.links()),
            notes=self._snapshot.notes if self._snapshot is not None else {},
            snapshot_seq=covered,
            skipped=(),
        )

    def snapshot(self, capture: Capture) -> Callable[[], Sequence[str]]:
        users = self._users
        users.begin_generation(capture.last_seq)

        def write() -> Sequence[str]:
            if self.refuses_snapshots is not None:
                self.snapshots_refused += 1
                raise self.refuses_snapshots
            assert capture.last_seq <= self._durable, (
                "the snapshot includes events that are not durable"
            )
            index = self._index({})
            covered = self._snapshot.last_seq if self._snapshot is not None else 0
            index.take(1, self._stored()[: capture.last_seq], covered)
            job = snapshotting.Job(
                state_dir=Path("/nowhere"), links_until=self.located_since, **capture._asdict()
            )
            rows = list(snapshotting.rows(index.users, self.keys, job))
            columns = Columns.empty()
            for row in rows:
                columns.add(row)
            header = framing.Header(capture.last_seq + 1, 0.0, 0)
            packed = [row.packed for row in rows]
            self._snapshot = Snapshot(
                Path("/nowhere"), header, capture.notes, columns, None, packed
            )
            users.adopt(self._snapshot)
            self.snapshots += 1
            return ()

        return write

    def shipped(self) -> tuple[int, float] | None:
        return None

    def drop_earlier_snapshots(self) -> None:
        self.dropped += 1

    def begin_segment(self) -> Deferred[None]:
        return self.committed()

    def retain(self, before: float, most_bytes: int) -> RetentionResult:
        return RetentionResult(0, 0, 0)

    def tag(self, user: User) -> int:
        return self.keys.tag(user)

    def tagged(self, tag: int) -> User | None:
        key = self.keys.tagged(tag)
        return key.user if key is not None else None

    def figures(self) -> StoreFigures:
        return StoreFigures(
            last_seq=len(self._entries),
            events=len(self._entries),
            pending=len(self._entries) - self._durable,
        )

    def full(self) -> bool:
        return self.is_full

    def events(self) -> list[Event]:
        return [record.event for record in self.scan()]


class _Frames:
    """The entries in memory, in place of frames in files."""

    def __init__(self, entries: list[codec.Entry]) -> None:
        self._entries = entries

    def entries(self, seqs: Sequence[int]) -> Iterator[codec.Entry]:
        for seq in seqs:
            (entry,) = packing.unpack(codec.join(1, [codec.pack([self._entries[seq - 1]])]))
            yield entry

    def drop(self, until: int) -> None: ...

    def close(self) -> None: ...
