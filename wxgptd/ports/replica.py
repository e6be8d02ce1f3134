"""The port to a log that several machines share: one of them appends to it, the others follow.

The shared log is a row of messages, each with a place, counted from 1. Most are commit groups; a
node that takes the lead appends a claim. An append names the place of the last message that its
node knows and fails if there is another one since: that makes one append durable, ordered and
exclusive at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from twisted.internet.defer import Deferred

from wxgptd.ports.appending import Appending, Group


class Claim(NamedTuple):
    """A node leads from here on; the next event has the number `first_seq`. `run` as in `Beat`."""

    first_seq: int
    node: str
    run: str


class Foreign(NamedTuple):
    """Something that no node has written. It has a place, and no meaning."""


Message = Group | Claim | Foreign


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What stays the same about a node while it runs; see `Beat`."""

    cluster: str
    name: str
    run: str
    url: str
    version: str
    kinds: tuple[int, ...]
    dead_after_s: float
    renew_after_s: float


class Beat(NamedTuple):
    """What a node tells the others about itself, several times a second while it leads.

    `run` is different each time a node starts. `place` is that of the last message it has, `seq`
    the last event, and `claim` the place of its own claim if it `leads`. `kinds` has the kinds of
    events that it can read, `config` a digest of its configuration, `wall` its clock (s since the
    epoch). `hands_over` is true once it has stopped leading, so that another node can take over.
    """

    node: str
    run: str
    url: str
    leads: bool
    claim: int
    place: int
    seq: int
    version: str
    kinds: tuple[int, ...]
    config: str
    wall: float
    hands_over: bool = False


class Listener(NamedTuple):
    """Called in the reactor's thread with what the other nodes say.

    `hear` is called with their beats, and `changed` when the log may have another message. `wanted`
    and `live` are called with what they send under these names.
    """

    hear: Callable[[Beat], None]
    changed: Callable[[], None]
    wanted: Callable[[bytes], None]
    live: Callable[[bytes], None]


class Bounds(NamedTuple):
    """The places of the first and the last message. Without messages, `first` is `last` + 1."""

    first: int
    last: int


class Replica(Protocol):
    """The shared log. All methods are called in the reactor's thread, and none blocks.

    Every Deferred errs with `ReplicaUnavailable` if the servers do not answer in time.
    """

    @property
    def appending(self) -> Appending:
        """How the log's writer appends."""
        ...

    @property
    def connected_since(self) -> float | None:
        """Since when there is a connection to a server (monotonic time), or None."""
        ...

    @property
    def begins_after(self) -> int:
        """The number of the event before the first one in the log, once it has started."""
        ...

    def start(self, listener: Listener) -> Deferred[None]:
        """Connect; fires once a server has answered and this node may take part.

        From then on, `listener` is told what the other nodes say.

        Errs:
            ReplicaRefused: it may not, for a reason that waiting does not change.
        """
        ...

    def bounds(self) -> Deferred[Bounds]:
        """Fire with the places of the first and the last message, as the servers' leader knows."""
        ...

    def read(self, place: int, most: int) -> Deferred[Sequence[Message]]:
        """Fire with at most `most` messages from `place` on, as far as a server has them."""
        ...

    def keys(self, references: Sequence[str]) -> Deferred[Mapping[str, bytes]]:
        """Fire with the records of these references' keys; deleted ones are missing."""
        ...

    def claim(self, claim: Claim, after: int) -> Deferred[int]:
        """Append `claim` after the message at place `after`; fires with its place.

        Errs:
            Superseded: there is another message since.
        """
        ...

    def erase(self, references: Sequence[str]) -> Deferred[None]:
        """Delete the keys of these references for good."""
        ...

    def tell(self, beat: Beat) -> None:
        """Send a beat to the other nodes, if there is a connection."""
        ...

    def want(self, data: bytes) -> None:
        """Send `data` to the `wanted` of the other nodes, if there is a connection."""
        ...

    def show(self, data: bytes) -> None:
        """Send `data` to the `live` of the other nodes, if there is a connection."""
        ...

    def stop(self) -> Deferred[None]:
        """Disconnect. An append that is under way fails."""
        ...
