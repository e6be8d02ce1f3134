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
from wxgptd.process.connection import Connection, Receiver

MAX_BODY_BYTES = 64 * 1024

WEBHOOK_RESERVE = 0.25
"""The share of the connections that page readers cannot use."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits on the number of connections, in total and per address, and on the bytes in a body.

    The limit per address does not apply to hosts that are `exempt`.
    """

    connections: int
    connections_per_address: int
    body_bytes: int = MAX_BODY_BYTES
    exempt: Callable[[str], bool] = lambda _: False


class BoundedSite(server.Site):
    """Serves `root` to a bounded number of connections.

    Some of them are kept for `reserved` paths; `full` is called with the name of the limit reached.
    `receiver` returns what receives the POSTs to a path, if it needs no resource.

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
        receiver: Callable[[bytes], Receiver | None] = lambda _: None,
    ) -> None:
        super().__init__(
            root,
            requestFactory=BoundedRequest,
            reactor=reactor,
            timeout=None,  # see Connection.due
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
        self._open: set[Connection] = set()
        self._date = -1, b""
        self.receiver = receiver
        self._sweep = LoopingCall(self._cut_off)
        self._sweep.clock = reactor

    def close(self) -> None:
        """Close idle connections, and take at most one more request from the others."""
        self.closing = True
        for connection in [connection for connection in self._open if connection.rests]:
            connection.lose()

    @property
    def arriving(self) -> int:
        """The number of connections whose request has not fully arrived."""
        return sum(connection.due < inf and not connection.rests for connection in self._open)

    def now(self) -> float:
        """Return the monotonic time, in seconds."""
        return self._clock.seconds()

    def date(self) -> bytes:
        """Return the value of the Date header of a response."""
        second = int(self.now())
        if self._date[0] != second:
            self._date = second, http.datetimeToString()
        return self._date[1]

    def startFactory(self) -> None:
        super().startFactory()
        self._sweep.start(1.0)

    def stopFactory(self) -> None:
        self._sweep.stop()
        super().stopFactory()

    def _cut_off(self) -> None:
        now = self.now()
        for connection in [connection for connection in self._open if connection.due <= now]:
            connection.abort()

    def buildProtocol(self, address: IAddress | None) -> Connection | None:  # type: ignore[override]
        host = getattr(address, "host", "") or ""
        bounded = bool(host) and not _loopback(host) and not self._bounds.exempt(host)
        crowded = bounded and self._connections[host] >= self._bounds.connections_per_address
        if crowded or (len(self._open) >= self._bounds.connections and not self._make_room()):
            self._full("connections")
            return None
        connection = Connection(self, address, host if bounded else "")
        self._open.add(connection)
        if bounded:
            self._connections[host] += 1
        return connection

    def channel(self, connection: Connection, address: IAddress | None) -> BoundedChannel:
        """Return a new channel for `connection`."""
        channel = cast("BoundedChannel", super().buildProtocol(address))
        channel.connection = connection
        return channel

    def _make_room(self) -> bool:
        """Abort the connection that has been idle the longest; return whether there was one.

        A connection is idle while it rests and while its request is incomplete: WeChat's requests
        take milliseconds to arrive. Aborting resting ones first would cut off readers whose
        response has just been sent.
        """
        idle = [connection for connection in self._open if connection.idle_since < inf]
        if not idle:
            return False
        longest_idle = min(idle, key=lambda connection: connection.idle_since)
        self.release(longest_idle)
        longest_idle.abort()
        return True

    def take_seat(self, connection: Connection) -> bool:
        """Let a connection read a page unless all seats are taken: some are kept for webhooks."""
        if not connection.reads:
            if self._reading >= self._max_reading:
                self._full("readers")
                return False
            connection.reads = True
            self._reading += 1
        return True

    def leave_seat(self, connection: Connection) -> None:
        """Note that a connection no longer reads a page."""
        if connection.reads:
            connection.reads = False
            self._reading -= 1

    def getResourceFor(self, request: http.Request) -> IResource:
        """Return the resource that answers `request`; page readers need a seat."""
        channel = request.channel
        if (
            isinstance(channel, BoundedChannel)
            and not self._reserved(request.path)
            and not self.take_seat(channel.connection)
        ):
            return TooManyReaders()
        resource: IResource = super().getResourceFor(request)
        return resource

    def release(self, connection: Connection) -> None:
        """Stop counting a connection."""
        if connection not in self._open:
            return
        self._open.discard(connection)
        self.leave_seat(connection)
        host = connection.address
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
