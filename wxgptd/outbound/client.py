"""The HTTP client under all requests: nothing followed, nothing asked twice, all of it bounded.

treq decodes compressed bodies at once, whatever was asked for; so a response in any encoding
reaches treq only in the form that `inflating` gives it.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

from twisted.internet.defer import Deferred
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from wxgptd.loose import Reactor
from wxgptd.outbound.addresses import Client
from wxgptd.outbound.heads import Direct
from wxgptd.outbound.inflating import inflated
from wxgptd.outbound.proxy import HttpProxyAgent

CONNECT_TIMEOUT_S = 10.0


class HttpClient(Protocol):
    """treq's HTTPClient, or a stand-in for it."""

    def get(self, url: str, **kwargs: Any) -> Deferred[IResponse]: ...  # noqa: ANN401 (treq\'s)

    def post(self, url: str, **kwargs: Any) -> Deferred[IResponse]: ...  # noqa: ANN401 (treq\'s)


@implementer(IAgent)
class IdentityAgent:
    """Asks for bodies as they are; others are inflated as they come."""

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
            Encoded: the response has a Content-Encoding that is not known.
        """
        sent = headers.copy() if headers is not None else Headers()
        sent.setRawHeaders(b"accept-encoding", [b"identity"])
        response: Deferred[IResponse] = self._agent.request(method, uri, sent, bodyProducer)
        return response.addCallback(inflated)


def http_client(reactor: Reactor, proxy: str = "") -> HttpClient:
    """Return the client that everybody is asked with: a connection for each request.

    With a `proxy`, `http://[user:password@]host:port`, every request goes through that.
    """
    pool = HTTPConnectionPool(reactor, persistent=False)
    pool.retryAutomatically = False  # a request is made again by us, or not at all
    agent: IAgent = (
        HttpProxyAgent(
            reactor,
            proxy,
            pool=pool,
            timeout_s=CONNECT_TIMEOUT_S,
        )
        if proxy
        else Agent.usingEndpointFactory(reactor, Direct(reactor, CONNECT_TIMEOUT_S), pool)
    )
    return cast("HttpClient", Client(IdentityAgent(agent)))
