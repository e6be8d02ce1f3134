"""The port to appending to a log that several machines share; see `replica` for the whole of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from wxgptd.errors import WxgptError


class Group(NamedTuple):
    """A commit group: the payload of its frame, byte for byte.

    `first_seq` is the number of its first event. The keys of the references in `erased` are deleted
    after it.
    """

    first_seq: int
    events: int
    payload: bytes
    erased: tuple[str, ...] = ()


class Superseded(WxgptError):
    """another node has taken the lead"""

    exit_status = 75


class ReplicaUnavailable(WxgptError):
    """the shared log cannot be reached"""

    exit_status = 75


class ReplicaRefused(WxgptError):
    """the node cannot take part in the cluster"""

    exit_status = 4


class Appending(Protocol):
    """How the log's writer appends, in its own thread: every method blocks until it is done."""

    @property
    def max_bytes(self) -> int:
        """The size that a group's payload should not exceed."""
        ...

    def append(self, group: Group, keys: Mapping[str, bytes], after: int) -> int:
        """Append `group` after the message at place `after`; return its place.

        `keys` has the records of new users' keys by reference, which become durable first. On
        return a quorum of the servers has stored all of it.

        Raises:
            Superseded: there is another message since.
            ReplicaUnavailable: the daemon is stopping, and no quorum has answered.
        """
        ...

    def renew(self, first_seq: int, after: int) -> int:
        """Append a claim of the node that leads already; return its place. Else like `append`."""
        ...

    def erase(self, references: Sequence[str]) -> None:
        """Delete the keys of these references for good.

        Raises:
            ReplicaUnavailable: the daemon is stopping, and no quorum has answered.
        """
        ...
