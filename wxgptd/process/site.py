"""The daemon's HTTP server, and its limits on what clients can do to it.

It writes no access log, which would contain signed URLs.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import cast

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.web import http, server
from twisted.web.resource import IResource, Resource

from wxgptd.process.channel import BoundedChannel, BoundedRequest

MAX_BODY_BYTES = 64 * 1024

WEBHOOK_RESERVE = 0.25
"""The share of the connections that page readers cannot use."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits on the number of connections, in total and per address, and on the bytes in a body."""

    connections: int
    connections_per_address: int
    body_bytes: int = MAX_BODY_BYTES


class BoundedSite(server.Site):
    """Serves `root` to a bounded number of connections.

    Some of them are kept for `reserved` paths; `full` is called with the name of the limit reached.

    The limit per address does not apply to loopback, where a reverse proxy connects from.
    """

    # HTTP/1.1 directly: the stock factory puts a second protocol in front, to negotiate HTTP/2.
    protocol = BoundedChannel  # type: ignore[assignment]
    noisy = False

    def __init__(
        self,
        root: Resource,
        reactor: IReactorTime,
        bounds: Bounds,
        *,
        full: Callable[[str], None] = lambda _: None,
        reserved: Callable[[bytes], bool] = lambda _: True,
    ) -> None:
        super().__init__(
            root,
            requestFactory=BoundedRequest,
            reactor=reactor,
            timeout=None,  # see BoundedChannel.due
            parsePOSTFormSubmission=False,
        )
        self.displayTracebacks = False
        self.max_body_bytes = bounds.body_bytes
        self.closing = False
        self._bounds = bounds
        reserve = max(1, round(bounds.connections * WEBHOOK_RESERVE))
        self._max_reading = bounds.connections - reserve
        self._reading = 0
        self._full = full
        self._reserved = reserved
        self._clock = reactor
        self._connections: Counter[str] = Counter()
        self._channels: set[BoundedChannel] = set()
        self._sweep = LoopingCall(self._cut_off)
        self._sweep.clock = reactor

    def close(self) -> None:
        """Close idle connections, and take at most one more request from the others."""
        self.closing = True
        for channel in [channel for channel in self._channels if channel.rests]:
            channel.loseConnection()

    @property
    def arriving(self) -> int:
        """The number of connections whose request has not fully arrived."""
        return sum(channel.due < inf and not channel.rests for channel in self._channels)

    def now(self) -> float:
        """Return the monotonic time, in seconds."""
        return self._clock.seconds()

    def startFactory(self) -> None:
        super().startFactory()
        self._sweep.start(1.0)

    def stopFactory(self) -> None:
        self._sweep.stop()
        super().stopFactory()

    def _cut_off(self) -> None:
        now = self.now()
        for channel in [channel for channel in self._channels if channel.due <= now]:
            channel.forceAbortClient()

    def buildProtocol(self, address: IAddress | None) -> BoundedChannel | None:  # type: ignore[override]
        host = getattr(address, "host", "") or ""
        bounded = bool(host) and not _loopback(host)
        crowded = bounded and self._connections[host] >= self._bounds.connections_per_address
        if crowded or (len(self._channels) >= self._bounds.connections and not self._make_room()):
            self._full("connections")
            return None
        channel = cast("BoundedChannel", super().buildProtocol(address))
        channel.address = host if bounded else ""
        self._channels.add(channel)
        if bounded:
            self._connections[host] += 1
        return channel

    def _make_room(self) -> bool:
        """Abort the connection that has been idle the longest; return whether there was one.

        A connection is idle while it rests and while its request is incomplete: WeChat's requests
        take milliseconds to arrive. Aborting resting ones first would cut off readers whose
        response has just been sent.
        """
        idle = [channel for channel in self._channels if channel.idle_since < inf]
        if not idle:
            return False
        longest_idle = min(idle, key=lambda channel: channel.idle_since)
        self.release(longest_idle)
        longest_idle.forceAbortClient()
        return True

    def take_seat(self, channel: BoundedChannel) -> bool:
        """Let a connection read a page unless all seats are taken: some are kept for webhooks."""
        if not channel.reads:
            if self._reading >= self._max_reading:
                self._full("readers")
                return False
            channel.reads = True
            self._reading += 1
        return True

    def leave_seat(self, channel: BoundedChannel) -> None:
        """Note that a connection no longer reads a page."""
        if channel.reads:
            channel.reads = False
            self._reading -= 1

    def getResourceFor(self, request: http.Request) -> IResource:
        """Return the resource that answers `request`; page readers need a seat."""
        channel = request.channel
        if (
            isinstance(channel, BoundedChannel)
            and not self._reserved(request.path)
            and not self.take_seat(channel)
        ):
            return TooManyReaders()
        resource: IResource = super().getResourceFor(request)
        return resource

    def release(self, channel: BoundedChannel) -> None:
        """Stop counting a connection."""
        if channel not in self._channels:
            return
        self._channels.discard(channel)
        self.leave_seat(channel)
        host = channel.address
        if host:
            self._connections[host] -= 1
            if self._connections[host] <= 0:
                del self._connections[host]

    def log(self, request: http.Request) -> None:
        """Write no access log."""

    def _openLogFile(self, path: object) -> None:  # type: ignore[override]
        """Open no access log."""


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


class TooManyReaders(Resource):
    """Answers 503: all connections for page readers are in use."""

    isLeaf = True

    def render(self, request: server.Request) -> bytes:
        request.setResponseCode(503)
        request.setHeader(b"retry-after", b"5")
        request.setHeader(b"connection", b"close")
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        return b"too many readers, try again in a moment\n"
