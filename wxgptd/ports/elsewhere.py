"""The port to the node that leads, for the pages of one that does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from twisted.internet.defer import Deferred


class Response(NamedTuple):
    """The leader's response: its status, the headers that matter, and its body."""

    status: int
    headers: Mapping[bytes, list[bytes]]
    body: bytes


class Elsewhere(Protocol):
    """What another node does in this one's place."""

    def leader(self) -> str | None:
        """Return the URL of the node that leads, or an empty string if there is none.

        None if this node leads, or is alone.
        """
        ...

    def fresh(self) -> Deferred[None]:
        """Fire once this node has everything that was recorded before the call.

        It fires without that if the servers do not answer.
        """
        ...

    def post(
        self, url: str, headers: Mapping[bytes, list[bytes]], body: bytes
    ) -> Deferred[Response | None]:
        """Post to the leader at `url`; fires with None if there is no response."""
        ...


class Alone:
    """There is no other node."""

    def leader(self) -> str | None:
        """Return None."""
        return None

    def fresh(self) -> Deferred[None]:
        """Not called."""
        raise NotImplementedError

    def post(
        self, url: str, headers: Mapping[bytes, list[bytes]], body: bytes
    ) -> Deferred[Response | None]:
        """Not called."""
        raise NotImplementedError
