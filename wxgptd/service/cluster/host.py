"""What a node is to its cluster: its role, what it does as that changes, and what it works with."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from wxgptd.errors import WxgptError
from wxgptd.service.cluster.following import Following
from wxgptd.service.cluster.live_answers import LiveAnswers


class Standby(WxgptError):
    """the node is a standby: another one acts on messages"""


class Role(StrEnum):
    """What a node does in its cluster."""

    STARTING = "starting"
    FOLLOWING = "following"
    CLAIMING = "claiming"
    LEADING = "leading"
    HANDING_OVER = "handing over"
    HANDED_OVER = "handed over"
    SUPERSEDED = "superseded"


class Host(Protocol):
    """What a node does as its standing changes."""

    def lead(self) -> None:
        """Begin to act: everything that the cluster has committed is applied."""
        ...

    def stop_leading(self) -> Deferred[None]:
        """Stop acting; fires once everything recorded so far is durable."""
        ...

    def follow(self, leader_url: str) -> None:
        """Pass attempts on to the node at `leader_url`, or hold them if it is empty."""
        ...

    def isolate(self, *, isolated: bool) -> None:
        """Leave attempts to other nodes while this one reaches no server, so that it cannot act."""
        ...

    def fail(self, error: WxgptError) -> None:
        """Stop the daemon."""
        ...


class Work(NamedTuple):
    """What a node does while it follows, and for readers on other nodes."""

    following: Following
    live: LiveAnswers


class Surroundings(NamedTuple):
    """Clocks, and a digest of the configuration."""

    clock: IReactorTime
    wall: Callable[[], float]
    config: Callable[[], str]
