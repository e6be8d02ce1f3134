"""What one commit makes durable together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from wxgptd.eventlog.user_key import UserKey
from wxgptd.ports.appending import Appending


class CommitGroup:
    """What one commit makes durable together.

    Without events, it only erases, or is a request to renew the claim or begin another segment.
    """

    def __init__(self) -> None:
        self.packed: list[bytes] = []
        self.payload = b""
        """All entries as they are stored, if another log packed them."""
        self.events = 0
        self.bytes = 0
        self.new_keys: list[UserKey] = []
        self.erased: list[str] = []
        self.token: object = None
        self.renews = False

    def append(self, packed: bytes, events: int) -> None:
        self.packed.append(packed)
        self.events += events
        self.bytes += len(packed)


class TakenGroup(NamedTuple):
    """A commit group from another log: its payload, byte for byte.

    `new_keys` must be durable before it, and the keys of the references in `erased` are deleted
    after it. It may have no events, but only erase.
    """

    first_seq: int
    events: int
    payload: bytes
    new_keys: Sequence[UserKey]
    erased: Sequence[str]


class Leading(NamedTuple):
    """Where groups are appended before they are written here: after the message at `place`."""

    appending: Appending
    place: int

    def renewed(self, next_seq: int) -> Leading:
        """Append a claim, before event `next_seq`."""
        return self._replace(place=self.appending.renew(next_seq, self.place))
