"""The log that the nodes of a simulated cluster share, and the networks between them.

A request takes a while; a node that is cut off from the servers waits; and what is cut off between
a request and its response has happened, though the node does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from tests.simulation.hub import Hub
from wxgptd.ports.appending import Group, ReplicaUnavailable, Superseded
from wxgptd.ports.replica import Beat, Bounds, Claim, Listener, Message
from wxgptd.replication import messages

KEY = b"k" * 32
MAX_LATENCY_S = 0.006
AGAIN_AFTER_S = 0.05
ASK_FOR_S = 3.0


@dataclass
class SharedLog:
    """What a quorum of the servers has stored. `is_down` while there is no quorum."""

    random: Random
    is_down: bool = False
    stored: list[bytes] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)
    """The place of each message by its identifier."""
    keys: dict[str, bytes] = field(default_factory=dict)
    replicas: list[SimulatedReplica] = field(default_factory=list)
    leader: str = ""
    """The run of the node that claimed the lead last."""
    trespasses: list[str] = field(default_factory=list)
    """Appends by a node that is not the one which claimed the lead last."""
    p_lost: float = 0.0
    """The probability that a beat is lost."""
    max_delay_s: float = 0.005

    def append(self, data: bytes, identifier: str, after: int) -> int:
        """Store a message.

        Raises:
            Superseded: there is another one since.
        """
        if (place := self.places.get(identifier)) is not None:
            return place
        if len(self.stored) != after:
            raise Superseded("another node has taken the lead")
        self.stored.append(data)
        message, run = messages.unpack(data, KEY), identifier.partition("-")[0]
        if isinstance(message, Claim):
            self.leader = message.run
        elif run != self.leader:
            self.trespasses.append(f"{run} has appended, though {self.leader} leads")
        self.places[identifier] = len(self.stored)
        return len(self.stored)

    def message(self, place: int) -> Message:
        return messages.unpack(self.stored[place - 1], KEY)


class SimulatedReplica:
    """The shared log as one run of a node sees it. Implements both ports."""

    max_bytes = 64 * 1024

    def __init__(
        self, log: SharedLog, run: str, clock: Clock, hub: Hub, is_cut: Callable[[], bool]
    ) -> None:
        self._log = log
        self._run = run
        self._clock = clock
        self._hub = hub
        self._is_cut = is_cut
        self._listener: Listener | None = None
        self._stopped = False
        self._connected_since = clock.seconds()
        self.begins_after = 0

    @property
    def appending(self) -> SimulatedReplica:
        return self

    @property
    def connected_since(self) -> float | None:
        return None if self._unreachable() else self._connected_since

    def _unreachable(self) -> bool:
        if self._is_cut() or self._log.is_down:
            self._connected_since = self._clock.seconds()
            return True
        return False

    # In the writer's worker.

    def _try(self, work: Callable[[], Any]) -> Any:
        while True:
            if self._stopped:
                raise ReplicaUnavailable("the connection was closed")
            self._hub.pause(self._log.random.uniform(0.0, MAX_LATENCY_S))
            if not self._unreachable():
                result = work()
                self._hub.pause(self._log.random.uniform(0.0, MAX_LATENCY_S))
                if not self._unreachable():
                    return result
            self._hub.pause(AGAIN_AFTER_S)

    def append(self, group: Group, keys: Mapping[str, bytes], after: int) -> int:
        self._try(lambda: self._log.keys.update(keys))
        data, identifier = messages.pack(group, KEY), f"{self._run}-{group.first_seq}"
        place = self._try(lambda: self._log.append(data, identifier, after))
        self._announce()
        return int(place)

    def renew(self, first_seq: int, after: int) -> int:
        data = messages.pack(Claim(first_seq, self._run[:1], self._run), KEY)
        return int(self._try(lambda: self._log.append(data, f"{self._run}-claim-{after}", after)))

    def _announce(self) -> None:
        for other in self._others():
            other.later(lambda other=other: other.told(lambda to: to.changed()))

    # In the reactor.

    def _ask(self, work: Callable[[], Any]) -> Deferred[Any]:
        result: Deferred[Any] = Deferred()
        started = self._clock.seconds()

        def attempt() -> None:
            if result.called or self._stopped:
                return
            if self._unreachable():
                if self._clock.seconds() - started > ASK_FOR_S:
                    result.errback(ReplicaUnavailable("the servers do not answer"))
                else:
                    self._clock.callLater(AGAIN_AFTER_S, attempt)
                return
            try:
                value = work()
            except Exception as error:  # noqa: BLE001 (it is passed on)
                self._clock.callLater(self._latency(), respond, None, error)
            else:
                self._clock.callLater(self._latency(), respond, value, None)

        def respond(value: Any, error: Exception | None) -> None:
            if result.called or self._stopped:
                return
            if self._unreachable():  # the response is lost
                self._clock.callLater(AGAIN_AFTER_S, attempt)
            elif error is not None:
                result.errback(error)
            else:
                result.callback(value)

        self._clock.callLater(self._latency(), attempt)
        return result

    def _latency(self) -> float:
        return self._log.random.uniform(0.0, MAX_LATENCY_S)

    def start(self, listener: Listener) -> Deferred[None]:
        self._listener = listener
        self._log.replicas.append(self)
        return self._ask(lambda: None)

    def bounds(self) -> Deferred[Bounds]:
        return self._ask(lambda: Bounds(1, len(self._log.stored)))

    def read(self, place: int, most: int) -> Deferred[Sequence[Message]]:
        def read() -> list[Message]:
            last = min(len(self._log.stored), place + most - 1)
            return [self._log.message(each) for each in range(place, last + 1)]

        return self._ask(read)

    def keys(self, references: Sequence[str]) -> Deferred[Mapping[str, bytes]]:
        stored = self._log.keys
        return self._ask(lambda: {each: stored[each] for each in references if each in stored})

    def claim(self, claim: Claim, after: int) -> Deferred[int]:
        data, identifier = messages.pack(claim, KEY), f"{self._run}-claim-{after}"
        claimed = self._ask(lambda: self._log.append(data, identifier, after))

        def announce(place: int) -> int:
            self._announce()
            return place

        return claimed.addCallback(announce)

    def erase(self, references: Sequence[str]) -> Any:
        """Delete keys; blocks in a worker, and returns a Deferred in the reactor."""

        def erase() -> None:
            for reference in references:
                self._log.keys.pop(reference, None)

        if self._hub.is_in_worker():
            return self._try(erase)
        return self._ask(erase)

    # Between the nodes.

    def _others(self) -> list[SimulatedReplica]:
        return [other for other in self._log.replicas if other is not self]

    def later(self, work: Callable[[], None]) -> None:
        if self._log.random.random() >= self._log.p_lost:
            delay_s = self._log.random.uniform(0.0, self._log.max_delay_s)
            self._clock.callLater(delay_s, work)

    def told(self, tell: Callable[[Listener], None]) -> None:
        if self._listener is not None and not self._stopped and not self._unreachable():
            tell(self._listener)

    def _broadcast(self, tell: Callable[[Listener], None]) -> None:
        if not self._stopped and not self._unreachable():
            for other in self._others():
                other.later(lambda other=other: other.told(tell))

    def tell(self, beat: Beat) -> None:
        self._broadcast(lambda listener: listener.hear(beat))

    def want(self, data: bytes) -> None:
        self._broadcast(lambda listener: listener.wanted(data))

    def show(self, data: bytes) -> None:
        self._broadcast(lambda listener: listener.live(data))

    def leave(self) -> None:
        """Forget this run: its process has ended."""
        self._stopped = True
        if self in self._log.replicas:
            self._log.replicas.remove(self)

    def stop(self) -> Deferred[None]:
        self.leave()
        return succeed(None)
