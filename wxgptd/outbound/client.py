"""The HTTP client for most outgoing requests: no redirects, no retries, everything bounded.

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
from wxgptd.outbound.proxy import HttpProxyAgent
from wxgptd.untyped import Reactor

CONNECT_TIMEOUT_S = 10.0


class PostingClient(Protocol):
    """Makes POST requests."""

    def post(self, url: str, **kwargs: Any) -> Deferred[IResponse]: ...  # noqa: ANN401 (treq's)


class HttpClient(PostingClient, Protocol):
    """treq's HTTPClient, or a stand-in for it."""

    def get(self, url: str, **kwargs: Any) -> Deferred[IResponse]: ...  # noqa: ANN401 (treq's)


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


def http_client(reactor: Reactor, proxy: str = "") -> HttpClient:
    """Return the client for all outgoing requests but direct ones to models (`model_client`).

    If `proxy` is set (`http://[user:password@]host:port`), every request goes through it.
    """
    pool = HTTPConnectionPool(reactor, persistent=False)
    pool.retryAutomatically = False  # only our own code retries requests
    agent: IAgent = (
        HttpProxyAgent(reactor, proxy, pool=pool, timeout_s=CONNECT_TIMEOUT_S)
        if proxy
        else Agent.usingEndpointFactory(reactor, Direct(reactor, CONNECT_TIMEOUT_S), pool)
    )
    return cast("HttpClient", Client(IdentityAgent(agent)))
