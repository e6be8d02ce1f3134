"""The daemon's HTTP server: what is where, and what no client may do to it.

twisted.web has no limit on bodies, and a request that trickles in outlives its timeout; both
are bounded here. The access log would write the signed URL, so there is none.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable, Mapping
from math import inf
from typing import cast

from twisted.internet.interfaces import IAddress, IReactorTime, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http, server
from twisted.web.error import UnsupportedMethod
from twisted.web.resource import IResource, Resource

from wxgptd.pages.serving import PRIVATE_HEADERS

log = Logger(namespace="wxgptd.site")

MAX_BODY_BYTES = 64 * 1024

READ_DEADLINE_S = 10.0
"""From the first byte of a request to its last; WeChat needs milliseconds."""

IDLE_TIMEOUT_S = 60.0

KEPT_FOR_WEBHOOKS = 0.25
"""The share of the connections that no reader of a page gets."""

_TOO_LARGE = (
    "\r\n".join(
        (
            "HTTP/1.1 413 Content Too Large",
            "Connection: close",
            "Content-Length: 0",
            *(f"{name}: {value}" for name, value in PRIVATE_HEADERS.items()),
            "",
            "",
        )
    )
).encode()


class BoundedRequest(server.Request):
    """A request whose body is refused before it is read if it is too long."""

    _refused = False

    def render(self, resrc: IResource) -> None:
        """Have `resrc` answer; one line, without the address, for a method it does not know."""
        try:
            body = resrc.render(self)
        except UnsupportedMethod as error:
            self.setResponseCode(http.NOT_ALLOWED)
            self.setHeader(b"allow", b", ".join(error.allowedMethods))
            body = self._word(b"method not allowed\n")
        if body is server.NOT_DONE_YET:
            return
        assert isinstance(body, bytes)
        self.setHeader(b"content-length", b"%d" % len(body))
        self.write(body)
        self.finish()

    def processingFailed(self, reason: Failure) -> Failure:
        """Say that something went wrong here, and nothing about what."""
        log.failure("a request could not be answered", reason, bounded_as="request failed")
        self.setResponseCode(http.INTERNAL_SERVER_ERROR)
        body = self._word(b"internal error\n")
        self.setHeader(b"content-length", b"%d" % len(body))
        self.write(body)
        self.finish()
        return reason

    def _word(self, body: bytes) -> bytes:
        self.setHeader(b"content-type", b"text/plain; charset=utf-8")
        return body

    def write(self, data: bytes) -> None:
        """Write; an error page has the headers of all pages, whoever made it."""
        if not self.startedWriting:
            self.responseHeaders.removeHeader(b"server")
            if self.code != http.OK:
                for name, value in PRIVATE_HEADERS.items():
                    if not self.responseHeaders.hasHeader(name):
                        self.setHeader(name, value)
        super().write(data)

    def gotLength(self, length: int | None) -> None:
        if length is not None and length > self._most():
            self._refuse()
        else:
            super().gotLength(length)

    def handleContentChunk(self, data: bytes) -> None:
        if self._refused:
            return
        assert self.content is not None
        if self.content.tell() + len(data) > self._most():
            self._refuse()
        else:
            super().handleContentChunk(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        if not self._refused:
            super().requestReceived(command, path, version)

    def _most(self) -> int:
        return cast("BoundedChannel", self.channel).site.max_body_bytes

    def _refuse(self) -> None:
        self._refused = True
        self.requestHeaders.removeHeader(b"expect")  # or a 100 would follow
        assert self.channel.transport is not None
        self.channel.transport.write(_TOO_LARGE)
        self.channel.loseConnection()


class BoundedChannel(http.HTTPChannel):
    """A connection on which a request must be complete within its deadline.

    `due` is when it is cut off: the site looks at all connections once a second, which is
    cheaper than a timer for each request, and Twisted's own two. It `rests` between requests,
    and behind the last one.
    """

    site: BoundedSite
    address = ""
    due = inf
    rests = False
    reads = False
    """Whether it has one of the seats for readers of pages."""
    _congested = False
    """Whether the peer takes less than it is sent."""
    _host: IAddress | None = None

    def connectionMade(self) -> None:
        super().connectionMade()
        self.due = self.site.now() + READ_DEADLINE_S

    def dataReceived(self, data: bytes) -> None:
        if self.rests:
            self.due = self.site.now() + READ_DEADLINE_S
            self.rests = False
        super().dataReceived(data)

    def allContentReceived(self) -> None:
        self.due = inf
        super().allContentReceived()

    def pauseProducing(self) -> None:
        self._congested = True
        super().pauseProducing()

    def resumeProducing(self) -> None:
        self._congested = False
        super().resumeProducing()

    def requestDone(self, request: http.Request) -> None:
        if self._congested:
            # Requests that were sent ahead would be answered into the memory of this process.
            self.persistent = False
        self.site.leave_seat(self)  # before a request that was sent ahead takes one
        super().requestDone(request)
        if not self.persistent:
            # Closed as soon as the peer has taken the response, which it may never do.
            self.due = self.site.now() + IDLE_TIMEOUT_S
            self.rests = True
        elif not self._handlingRequest:
            self.due = self.site.now() + IDLE_TIMEOUT_S
            self.rests = True

    def forceAbortClient(self) -> None:
        """Cut the connection; Twisted would log the address of the peer."""
        transport = cast("ITCPTransport | None", self.transport)
        if transport is not None:
            transport.abortConnection()

    def checkPersistence(self, request: http.Request, version: bytes) -> bool:
        if self.site.closing:
            request.responseHeaders.setRawHeaders(b"connection", [b"close"])
            return False
        persistent: bool = super().checkPersistence(request, version)
        return persistent

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.site.release(self)
        super().connectionLost(reason)

    def getHost(self) -> IAddress:
        # Asked for with every request, and a system call each time.
        if self._host is None:
            self._host = super().getHost()
        return self._host


class BoundedSite(server.Site):
    """Serves `root` to a bounded number of connections.

    Some of them are kept for the paths that are `reserved`; `full` is told what there is none of.

    The bound for each address does not hold for loopback: that is where a reverse proxy is.
    """

    # HTTP/1.1 directly: the stock factory puts a second protocol in front, to negotiate HTTP/2.
    protocol = BoundedChannel  # type: ignore[assignment]
    noisy = False

    def __init__(
        self,
        root: Resource,
        reactor: IReactorTime,
        *,
        max_connections: int,
        max_connections_per_address: int,
        max_body_bytes: int = MAX_BODY_BYTES,
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
        self.max_body_bytes = max_body_bytes
        self.closing = False
        self._max_connections = max_connections
        self._max_connections_per_address = max_connections_per_address
        self._max_reading = max_connections - max(1, round(max_connections * KEPT_FOR_WEBHOOKS))
        self._reading = 0
        self._full = full
        self._reserved = reserved
        self._clock = reactor
        self._connections: Counter[str] = Counter()
        self._channels: set[BoundedChannel] = set()
        self._sweep = LoopingCall(self._cut_off)
        self._sweep.clock = reactor

    def close(self) -> None:
        """Take one more request at the most from whoever is connected, and none from who rests."""
        self.closing = True
        for channel in [one for one in self._channels if one.rests]:
            channel.loseConnection()

    @property
    def arriving(self) -> int:
        """How many have connected, or begun to ask, and not been heard to the end yet."""
        return sum(one.due < inf and not one.rests for one in self._channels)

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
        for channel in [one for one in self._channels if one.due <= now]:
            channel.forceAbortClient()

    def buildProtocol(self, address: IAddress | None) -> BoundedChannel | None:  # type: ignore[override]
        host = getattr(address, "host", "") or ""
        bounded = bool(host) and not _loopback(host)
        crowded = bounded and self._connections[host] >= self._max_connections_per_address
        if crowded or (len(self._channels) >= self._max_connections and not self._make_room()):
            self._full("connections")
            return None
        channel = cast("BoundedChannel", super().buildProtocol(address))
        channel.address = host if bounded else ""
        self._channels.add(channel)
        if bounded:
            self._connections[host] += 1
        return channel

    def _make_room(self) -> bool:
        """Give up a connection on which nothing happens; tell whether there was one.

        One between two requests, or else the one whose request has been incomplete the longest:
        WeChat's take milliseconds to arrive.
        """
        idle = [one for one in self._channels if one.rests or one.due < inf]
        if not idle:
            return False
        given_up = min(idle, key=lambda one: (not one.rests, one.due))
        self.release(given_up)
        given_up.forceAbortClient()
        return True

    def take_seat(self, channel: BoundedChannel) -> bool:
        """Let a connection read a page, unless as many do as may: some are kept for webhooks."""
        if not channel.reads:
            if self._reading >= self._max_reading:
                self._full("readers")
                return False
            channel.reads = True
            self._reading += 1
        return True

    def leave_seat(self, channel: BoundedChannel) -> None:
        """Note that a connection reads no page any longer."""
        if channel.reads:
            channel.reads = False
            self._reading -= 1

    def getResourceFor(self, request: http.Request) -> IResource:
        """Find what answers `request`; readers of pages need a seat."""
        channel = request.channel
        if (
            isinstance(channel, BoundedChannel)
            and not self._reserved(request.path)
            and not self.take_seat(channel)
        ):
            return Crowded()
        found: IResource = super().getResourceFor(request)
        return found

    def release(self, channel: BoundedChannel) -> None:
        """Count a connection as gone."""
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


class Crowded(Resource):
    """All connections for readers are in use; retry later."""

    isLeaf = True

    def render(self, request: server.Request) -> bytes:
        request.setResponseCode(503)
        request.setHeader(b"retry-after", b"5")
        request.setHeader(b"connection", b"close")
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        return b"too many readers, try again in a moment\n"


class Root(Resource):
    """What is where: webhooks by their whole path, all else by its first segment."""

    def __init__(
        self,
        webhooks: Mapping[bytes, Resource],
        others: Mapping[bytes, Resource],
        ready: Callable[[], bool],
        why_ill: Callable[[], str] = str,
    ) -> None:
        super().__init__()
        self.webhooks = webhooks
        self._others = {
            **others,
            b"healthz": Word(why_ill),
            b"readyz": Word(lambda: why_ill() if ready() else "starting"),
        }

    def is_reserved(self, path: bytes) -> bool:
        """Tell whether `path` is for WeChat, or for who looks whether the daemon is well."""
        return path in self.webhooks or path in (b"/healthz", b"/readyz")

    def getChild(self, path: bytes, request: server.Request) -> Resource:
        webhook = self.webhooks.get(request.path)
        if webhook is not None:
            return webhook
        return self._others.get(path) or _Nothing()


class Word(Resource):
    """`ok`, or in a word `why` not, with a 503."""

    isLeaf = True

    def __init__(self, why: Callable[[], str]) -> None:
        super().__init__()
        self._why = why

    def render_GET(self, request: server.Request) -> bytes:
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        request.setHeader(b"cache-control", b"no-store")
        why = self._why()
        if not why:
            return b"ok\n"
        request.setResponseCode(503)
        return f"{why}\n".encode()


class _Nothing(Resource):
    """Nothing is here, and that is all to be said."""

    isLeaf = True

    def render(self, request: server.Request) -> bytes:
        if b"signature" in request.args:
            log.warn(
                "a signed request to {path}, where no account's webhook is: does the URL in "
                "WeChat's backend end in a slash, or name another account?",
                path=request.path[:100].decode("ascii", "replace"),
                bounded_as="no webhook there",
            )
        request.setResponseCode(404)
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        return b"not found\n"
