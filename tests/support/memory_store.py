"""The event store in memory: durable at once, or when the test says so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from twisted.internet.defer import Deferred

from wxgptd.domain.events import Event
from wxgptd.domain.record import Recorded, StoreFigures
from wxgptd.domain.values import User
from wxgptd.eventlog import codec


class MemoryStore:
    """Implements `wxgptd.ports.EventStore`; what it keeps went through the codec."""

    def __init__(self) -> None:
        self._entries: list[codec.Entry] = []
        self._durable = 0
        self._waiting: list[tuple[Deferred[int], int]] = []
        self._expected: dict[User, int] = {}
        self.stalled = False
        self.is_full = False

    def append(self, user: User, events: Sequence[Event], expected: int) -> Deferred[int]:
        assert self._expected.get(user, 0) == expected, "an append rests on another version"
        self._expected[user] = expected + len(events)
        for previous, event in enumerate(events, expected):
            self._entries.append(codec.encode(user, previous, event))
        result: Deferred[int] = Deferred()
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
        """Lose what is not durable, as a power cut would."""
        del self._entries[self._durable :]
        self._waiting = []
        self._expected = {}
        for record in self.scan():
            self._expected[record.user] = record.previous + 1

    def scan(self) -> Iterator[Recorded]:
        kept = codec.unpack(memoryview(codec.join(len(self._entries), [codec.pack(self._entries)])))
        for seq, entry in enumerate(kept, 1):
            yield codec.require(codec.decode(seq, entry))

    def figures(self) -> StoreFigures:
        return StoreFigures(len(self._entries), 0, len(self._entries), 0.0)

    def full(self) -> bool:
        return self.is_full

    def events(self) -> list[Event]:
        return [record.event for record in self.scan()]
