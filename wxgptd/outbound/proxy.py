"""HTTP proxies: absolute URLs for http, a CONNECT tunnel for https.

Source: RFC 9110, section 9.3.6. Twisted's Agent supports neither.
"""

from __future__ import annotations

import base64
import re
from urllib.parse import unquote, urlsplit

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, BrowserLikePolicyForHTTPS, ProxyAgent
from twisted.web.http_headers import Headers
from twisted.web.iweb import (
    IAgent,
    IAgentEndpointFactory,
    IBodyProducer,
    IPolicyForHTTPS,
    IResponse,
)
from zope.interface import implementer

from wxgptd.errors import WxgptError
from wxgptd.outbound.addresses import AnyHostEndpoint
from wxgptd.outbound.heads import Bounded
from wxgptd.untyped import Reactor, Wrapped

MAX_ANSWER_BYTES = 16 * 1024


class ProxyError(WxgptError):
    """the proxy did not open a tunnel"""


class _Tunnel(Protocol):
    """Asks the proxy for a tunnel, and hands the connection over to `inner` once it is open."""

    def __init__(self, target: bytes, authorization: bytes, inner: IProtocol) -> None:
        self._target = target
        self._authorization = authorization
        self._inner: Wrapped = inner
        self._response = b""
        self._is_open = False
        self._failed = False
        self.opened: Deferred[IProtocol] = Deferred(lambda _: self._abort())

    def connectionMade(self) -> None:
        lines = [b"CONNECT %s HTTP/1.1" % self._target, b"Host: %s" % self._target]
        if self._authorization:
            lines.append(b"Proxy-Authorization: %s" % self._authorization)
        self.transport.write(b"\r\n".join([*lines, b"", b""]))  # type: ignore[union-attr]

    def dataReceived(self, data: bytes) -> None:
        if self._is_open:
            self._inner.dataReceived(data)
            return
        if self._failed:
            return
        self._response += data
        while re.match(rb"HTTP/1\.\d 1\d\d", self._response) and b"\r\n\r\n" in self._response:
            self._response = self._response.partition(b"\r\n\r\n")[2]
        head, end, rest = self._response.partition(b"\r\n\r\n")
        if not end:
            if len(self._response) > MAX_ANSWER_BYTES:
                self._fail("response headers too long")
            return
        status = head.split(b"\r\n")[0].split(b" ", 2)
        if (
            len(status) < 2
            or not status[0].startswith(b"HTTP/1.")
            or not re.fullmatch(rb"2\d\d", status[1])
        ):
            self._fail(b" ".join(status[1:]).decode("ascii", "replace")[:100])
            return
        self._is_open = True
        self._inner.makeConnection(self.transport)
        self.opened.callback(self._inner)
        if rest:
            self._inner.dataReceived(rest)

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]
        if self._is_open:
            self._inner.connectionLost(reason)
        else:
            self._fail("connection closed")

    def _fail(self, why: str) -> None:
        if not self._failed:
            self._abort()
            self.opened.errback(ProxyError(f"proxy CONNECT failed: {why}"))

    def _abort(self) -> None:
        self._failed = True
        if self.transport is not None:
            self.transport.abortConnection()  # type: ignore[attr-defined]


@implementer(IStreamClientEndpoint)
class _ThroughProxy:
    """Connects to `target` (host:port) through a proxy."""

    def __init__(self, proxy: IStreamClientEndpoint, target: bytes, authorization: bytes) -> None:
        self._proxy = proxy
        self._target = target
        self._authorization = authorization

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect; see IStreamClientEndpoint."""
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        inner = factory.buildProtocol(None)  # type: ignore[arg-type]  # no address is known yet
        assert inner is not None
        tunnel = _Tunnel(self._target, self._authorization, inner)
        tunnelling = Factory.forProtocol(lambda: tunnel)
        tunnelling.noisy = False
        await self._proxy.connect(tunnelling)
        return await tunnel.opened


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """Gives an Agent a tunnel for each https URL."""

    def __init__(
        self, proxy: IStreamClientEndpoint, authorization: bytes, policy: IPolicyForHTTPS
    ) -> None:
        self._proxy = proxy
        self._authorization = authorization
        self._policy = policy

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """Return the endpoint for `uri`; see IAgentEndpointFactory."""
        host = b"[%s]" % uri.host if b":" in uri.host else uri.host
        target = b"%s:%d" % (host, uri.port)
        connection = self._policy.creatorForNetloc(uri.host, uri.port)
        through = _ThroughProxy(self._proxy, target, self._authorization)
        return Bounded(wrapClientTLS(connection, through))


@implementer(IAgent)
class HttpProxyAgent:
    """An Agent that sends all requests through the proxy at `url`, `http://[user:pass@]host:port`."""

    def __init__(
        self,
        reactor: Reactor,
        url: str,
        *,
        pool: Wrapped,
        timeout_s: float,
        policy: IPolicyForHTTPS | None = None,
    ) -> None:
        parts = urlsplit(url)
        endpoint = AnyHostEndpoint(
            reactor, parts.hostname or "", parts.port or 8080, timeout=timeout_s
        )
        self._authorization = b""
        if parts.username is not None:
            credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._authorization = b"Basic " + base64.b64encode(credentials.encode())
        endpoints = _Endpoints(endpoint, self._authorization, policy or BrowserLikePolicyForHTTPS())
        self._plain = ProxyAgent(Bounded(endpoint), reactor, pool=pool)
        self._tunnelled = Agent.usingEndpointFactory(reactor, endpoints, pool)

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        """Request `uri`; see IAgent."""
        if uri.lower().startswith(b"https:"):
            tunnelled: Deferred[IResponse] = self._tunnelled.request(
                method, uri, headers, bodyProducer
            )
            return tunnelled
        proxy_headers = headers.copy() if headers is not None else Headers()
        if self._authorization:
            proxy_headers.setRawHeaders(b"proxy-authorization", [self._authorization])
        plain: Deferred[IResponse] = self._plain.request(method, uri, proxy_headers, bodyProducer)
        return plain
