"""The HTTP client for calls to models that need no proxy; see `http1`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, cast

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.web.client import URI, BrowserLikePolicyForHTTPS
from twisted.web.iweb import IResponse

from wxgptd.outbound.addresses import AnyHostEndpoint, ascii_url
from wxgptd.outbound.client import CONNECT_TIMEOUT_S, PostingClient, http_client
from wxgptd.outbound.http1 import Response, Server
from wxgptd.outbound.inflating import inflated
from wxgptd.untyped import Reactor


class _Target(NamedTuple):
    """Where requests to one URL go, and how they begin."""

    server: Server
    beginning: bytes


class ModelClient:
    """Posts to models. Implements `wxgptd.outbound.client.PostingClient`."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._policy = BrowserLikePolicyForHTTPS()
        self._servers: dict[tuple[bytes, bytes, int], Server] = {}
        self._targets: dict[str, _Target] = {}

    def post(
        self, url: str, *, data: bytes, headers: Mapping[str, str], **_: object
    ) -> Deferred[IResponse]:
        """Post `data` to `url`; fire with the response when its head has arrived.

        Redirects are not followed. See `http1.Server.ask` for the errors.
        """
        target = self._targets.get(url) or self._target(url)
        lines = "".join(
            f"{name}: {' '.join(value.splitlines())}\r\n" for name, value in headers.items()
        )
        request = b"%b%bContent-Length: %d\r\n\r\n%b" % (
            target.beginning,
            lines.encode(),
            len(data),
            data,
        )
        response: Deferred[Response] = target.server.ask(request)
        return cast("Deferred[IResponse]", response.addCallback(_decoded))

    def _target(self, url: str) -> _Target:
        uri = URI.fromBytes(ascii_url(url))
        place = uri.scheme, uri.host, uri.port
        server = self._servers.get(place)
        if server is None:
            server = self._servers[place] = Server(self._reactor, self._endpoint(uri))
        host = b"[%b]" % uri.host if b":" in uri.host else uri.host
        if uri.port != (443 if uri.scheme == b"https" else 80):
            host += b":%d" % uri.port
        beginning = b"POST %b HTTP/1.1\r\nHost: %b\r\nAccept-Encoding: identity\r\n" % (
            uri.originForm,
            host,
        )
        target = self._targets[url] = _Target(server, beginning)
        return target

    def _endpoint(self, uri: URI) -> IStreamClientEndpoint:
        endpoint: IStreamClientEndpoint = AnyHostEndpoint(
            self._reactor, uri.host.decode("ascii"), uri.port, timeout=CONNECT_TIMEOUT_S
        )
        if uri.scheme != b"https":
            return endpoint
        connection = self._policy.creatorForNetloc(uri.host, uri.port)
        tls: IStreamClientEndpoint = wrapClientTLS(connection, endpoint)
        return tls


def model_clients(reactor: Reactor) -> Callable[[str], PostingClient]:
    """Return a function that returns the client for a proxy, or for none if that is empty."""
    direct = ModelClient(reactor)
    return lambda proxy: http_client(reactor, proxy) if proxy else cast("PostingClient", direct)


def _decoded(response: Response) -> Response:
    if any(name == b"content-encoding" for name, _ in response.fields):
        return cast("Response", inflated(cast("IResponse", response)))
    return response
