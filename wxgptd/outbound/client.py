"""The HTTP client for all outgoing requests: no redirects, everything bounded.

The only requests that are made again are those lost with a kept connection (`kept`).

treq decompresses bodies in one go, whether or not compression was requested. So an encoded response
passes through `inflating` before it reaches treq.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

from twisted.internet.defer import Deferred
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from wxgptd.outbound.addresses import Client
from wxgptd.outbound.heads import Direct
from wxgptd.outbound.inflating import inflated
from wxgptd.outbound.kept import KeptConnections
from wxgptd.outbound.proxy import HttpProxyAgent
from wxgptd.untyped import Reactor

CONNECT_TIMEOUT_S = 10.0


class HttpClient(Protocol):
    """treq's HTTPClient, or a stand-in for it."""

    def get(self, url: str, **kwargs: Any) -> Deferred[IResponse]: ...  # noqa: ANN401 (treq's)

    def post(self, url: str, **kwargs: Any) -> Deferred[IResponse]: ...  # noqa: ANN401 (treq's)


@implementer(IAgent)
class IdentityAgent:
    """Requests bodies without compression; inflates compressed ones as they arrive."""

    def __init__(self, agent: IAgent) -> None:
        self._agent = agent

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        """Request `uri`; see IAgent.

        Errs:
            Encoded: the response has an unknown Content-Encoding.
        """
        identity_headers = headers.copy() if headers is not None else Headers()
        identity_headers.setRawHeaders(b"accept-encoding", [b"identity"])
        response: Deferred[IResponse] = self._agent.request(
            method, uri, identity_headers, bodyProducer
        )
        return response.addCallback(inflated)


class _Keeping(Client):
    """treq's client, on kept connections."""

    def __init__(self, agent: IAgent, pool: KeptConnections) -> None:
        super().__init__(agent)
        self._pool = pool

    def request(self, method, url, **kwargs):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
        """Make a request; see treq's HTTPClient."""
        ask = super().request
        return self._pool.ask(lambda: ask(method, url, **kwargs))


def http_client(reactor: Reactor, proxy: str = "") -> HttpClient:
    """Return the client for all outgoing requests.

    Direct connections are kept for further requests. If `proxy` is set
    (`http://[user:password@]host:port`), every request goes through it, on a new connection.
    """
    if not proxy:
        kept = KeptConnections(reactor)
        direct = Agent.usingEndpointFactory(reactor, Direct(reactor, CONNECT_TIMEOUT_S), kept)
        return cast("HttpClient", _Keeping(IdentityAgent(direct), kept))
    pool = HTTPConnectionPool(reactor, persistent=False)
    pool.retryAutomatically = False  # only our own code retries requests
    agent = HttpProxyAgent(reactor, proxy, pool=pool, timeout_s=CONNECT_TIMEOUT_S)
    return cast("HttpClient", Client(IdentityAgent(agent)))
