"""Bound what a server may send before the body of its response.

Twisted's parser limits the length of each header, but not the number of headers: a server that
never stops sending them would consume memory until the request timed out.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.web.client import URI, BrowserLikePolicyForHTTPS
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from wxgptd.outbound.addresses import AnyHostEndpoint
from wxgptd.untyped import Reactor, Result, Wrapped

MAX_HEAD_BYTES = 64 * 1024

_END = b"\r\n\r\n"


class _BoundedHead(ProtocolWrapper):
    """Hangs up on a server whose response head does not end."""

    def __init__(self, factory: Wrapped, wrapped: IProtocol) -> None:
        super().__init__(factory, wrapped)
        self._head: bytearray | None = bytearray()
        self._size = 0

    def dataReceived(self, data: bytes) -> None:
        if self._head is not None:
            self._count(data)
        super().dataReceived(data)

    def _count(self, data: bytes) -> None:
        """Count the bytes of the head, including those of 1xx responses before it."""
        assert self._head is not None
        self._size += len(data)
        self._head += data
        while (end := self._head.find(_END)) >= 0:
            interim = self._head[9:10] == b"1"  # HTTP/1.1 1xx
            del self._head[: end + len(_END)]
            if not interim:
                self._head = None
                return
        if self._size > MAX_HEAD_BYTES:
            self._head = None
            self.abortConnection()
        elif len(self._head) > MAX_HEAD_BYTES:
            del self._head[: -len(_END)]


class _Factory(WrappingFactory):
    protocol = _BoundedHead
    noisy = False  # a line for every connection would flood the log


@implementer(IStreamClientEndpoint)
class Bounded:
    """Wraps another endpoint so that response heads are bounded."""

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect; see IStreamClientEndpoint."""
        connected: Deferred[Result] = self._endpoint.connect(_Factory(protocolFactory))
        return connected.addCallback(lambda wrapper: wrapper.wrappedProtocol)


@implementer(IAgentEndpointFactory)
class Direct:
    """Gives an Agent direct connections, without a proxy."""

    def __init__(self, reactor: Reactor, timeout_s: float) -> None:
        self._reactor = reactor
        self._timeout_s = timeout_s
        self._policy = BrowserLikePolicyForHTTPS()

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """Return the endpoint for `uri`; see IAgentEndpointFactory."""
        host = uri.host.decode("ascii")
        endpoint: IStreamClientEndpoint = AnyHostEndpoint(
            self._reactor, host, uri.port, timeout=self._timeout_s
        )
        if uri.scheme == b"https":
            connection = self._policy.creatorForNetloc(uri.host, uri.port)
            endpoint = wrapClientTLS(connection, endpoint)
        return Bounded(endpoint)
