"""One HTTP connection: its deadlines, and what reads its requests.

A webhook's POST that arrived whole (`whole_post`) is answered right here: that is nearly every
request from WeChat, and takes a third of the CPU. Everything else is read by twisted.web: a
`BoundedChannel` is created for it, and discarded when the connection is idle again.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Protocol, cast

from twisted.internet import protocol
from twisted.internet.interfaces import IAddress, IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import OK, RESPONSES
from zope.interface import implementer

from wxgptd.pages.serving import PRIVATE_HEADERS
from wxgptd.process import whole_post
from wxgptd.process.channel import BoundedChannel
from wxgptd.process.whole_post import WholePost
from wxgptd.wechat.forwarding import Original
from wxgptd.wechat.webhook import Peer

if TYPE_CHECKING:
    from wxgptd.process.site import BoundedSite

READ_DEADLINE_S = 10.0
"""From the first byte of a request to its last; WeChat needs milliseconds."""

IDLE_TIMEOUT_S = 60.0

EAGER_BYTES = 16 * 1024
"""How much to read of the next requests while one is being answered."""

_PRIVATE = "".join(f"{name}: {value}\r\n" for name, value in PRIVATE_HEADERS.items()).encode()


class Receiver(Protocol):
    """Receives the POSTs to one path."""

    def deliver(self, original: Original, peer: Peer) -> None:
        """Answer a request."""
        ...


class _Transport(Protocol):
    """What is used of a TCP, UNIX or TLS transport."""

    def write(self, data: bytes) -> None: ...
    def loseConnection(self) -> None: ...
    def registerProducer(self, producer: object, streaming: bool) -> None: ...
    def unregisterProducer(self) -> None: ...
    def pauseProducing(self) -> None: ...
    def resumeProducing(self) -> None: ...
    def abortConnection(self) -> None: ...
    def getHandle(self) -> object: ...


@implementer(IPushProducer)
class Connection(protocol.Protocol):
    """A connection on which each request must be complete by its deadline.

    `due` is when the connection is aborted: the site checks all connections once a second, which
    is cheaper than a timer for each request plus Twisted's own two. The connection `rests` between
    requests and after the last one.
    """

    reads = False
    """Whether it holds one of the seats for page readers."""

    def __init__(self, site: BoundedSite, peer: IAddress | None, address: str) -> None:
        self.address = address
        self.due = inf
        self.rests = False
        self._site = site
        self._peer = peer
        self._channel: BoundedChannel | None = None
        self._post: WholePost | None = None
        self._lost: Callable[[], None] | None = None
        self._early = b""
        """What arrived while a POST was being answered."""
        self._congested = False
        """Whether the peer reads more slowly than it is sent data."""
        self._closing = False

    @property
    def idle_since(self) -> float:
        """When it started to wait for its peer; infinity while a request is being answered."""
        return self.due - (IDLE_TIMEOUT_S if self.rests else READ_DEADLINE_S)

    def connectionMade(self) -> None:
        self._tcp = cast("_Transport", self.transport)
        self.due = self._site.now() + READ_DEADLINE_S
        self._tcp.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        if self._closing:
            return  # TLS delivers data until the peer has agreed to close
        if self.rests:
            self.due = self._site.now() + READ_DEADLINE_S
            self.rests = False
        if self._post is not None:
            self._early += data
            if len(self._early) > EAGER_BYTES:
                self._tcp.pauseProducing()
        elif self._channel is not None:
            self._channel.dataReceived(data)
        elif not self._receive_whole(data):
            self._begin_channel().dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._site.release(self)
        if self._channel is not None:
            self._channel.connectionLost(reason)
        lost, self._lost = self._lost, None
        if lost is not None:
            lost()

    def lose(self) -> None:
        """Close the connection once everything was sent; read nothing more."""
        self._closing = True
        self.rest()  # the peer may never read what was sent
        self._tcp.unregisterProducer()
        self._tcp.loseConnection()

    def abort(self) -> None:
        """Close the connection at once."""
        self._tcp.abortConnection()

    # A POST that arrived whole; `on_lost`, `hang_up` and `respond` implement
    # `wxgptd.wechat.webhook.Peer`.

    def _receive_whole(self, data: bytes) -> bool:
        post = whole_post.parse(data)
        if post is None or len(post.body) > self._site.max_body_bytes:
            return False
        path, _, query = post.uri.partition(b"?")
        receiver = self._site.receiver(path)
        if receiver is None:
            return False
        if self._peer_has_gone():
            # It waited too long in a queue: WeChat has given up on this attempt.
            self.abort()
            return True
        self.answers()
        self._post = post
        receiver.deliver(Original(query, post.body, post.header), self)
        return True

    def _peer_has_gone(self) -> bool:
        """Return whether the peer has already closed the connection."""
        handle = self._tcp.getHandle()
        if not isinstance(handle, socket.socket):
            return False  # with TLS there is no telling
        try:
            return not handle.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def on_lost(self, lost: Callable[[], None]) -> None:
        """Call `lost` if the peer hangs up before there is a response."""
        self._lost = lost

    def hang_up(self) -> None:
        """Close the connection without a response."""
        self._finish(persistent=False)

    def respond(self, status: int, content_type: bytes, body: bytes) -> None:
        """Send the response to the POST."""
        post = self._post
        assert post is not None, "each request has one response"
        persistent = post.persistent and not self._site.closing
        # In HTTP/1.0, closing goes without saying.
        says_close = not persistent and (self._site.closing or post.version != b"HTTP/1.0")
        self._tcp.write(
            b"%b %d %b\r\n%bDate: %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n%b\r\n%b"
            % (
                post.version,
                status,
                RESPONSES[status],
                b"Connection: close\r\n" if says_close else b"",
                self._site.date(),
                content_type,
                len(body),
                b"" if status == OK else _PRIVATE,
                body,
            )
        )
        # The responses to pipelined requests would pile up in this process's memory.
        self._finish(persistent=persistent and not self._congested)

    def _finish(self, *, persistent: bool) -> None:
        early, self._early = self._early, b""
        self._post = self._lost = None
        if not persistent:
            self.lose()
            return
        self.rest()
        if len(early) > EAGER_BYTES:
            self._tcp.resumeProducing()
        if early:
            self.dataReceived(early)

    def answers(self) -> None:
        """Note that a request is complete, and being answered."""
        self.due = inf
        self.rests = False

    def rest(self) -> None:
        """Note that a request was answered, and nothing of the next one has arrived."""
        self.due = self._site.now() + IDLE_TIMEOUT_S
        self.rests = True

    # Everything else.

    def _begin_channel(self) -> BoundedChannel:
        self._tcp.unregisterProducer()
        channel = self._channel = self._site.channel(self, self._peer)
        assert self.transport is not None
        channel.makeConnection(self.transport)
        return channel

    def end_channel(self) -> None:
        """Read the next request without twisted.web, if possible."""
        self._channel = None
        self._tcp.unregisterProducer()
        self._tcp.registerProducer(self, True)

    # The transport calls these if no channel has taken over.

    def pauseProducing(self) -> None:
        self._congested = True

    def resumeProducing(self) -> None:
        self._congested = False

    def stopProducing(self) -> None:
        pass
