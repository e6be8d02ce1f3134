"""The HTTP client under all requests: nothing decoded, nothing followed, nothing asked twice.

treq decodes compressed bodies whatever was asked for, and a bomb of 200 KB takes half a gigabyte
then; so a response in any encoding never gets as far as treq.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from wxgptd.errors import WxgptError
from wxgptd.outbound.heads import Direct
from wxgptd.outbound.proxy import HttpProxyAgent

CONNECT_TIMEOUT_S = 10.0


class HttpClient(Protocol):
    """treq's HTTPClient, or a stand-in for it."""

    def get(self, url: str, **kwargs: Any) -> Deferred[IResponse]: ...  # noqa: ANN401

    def post(self, url: str, **kwargs: Any) -> Deferred[IResponse]: ...  # noqa: ANN401


class Encoded(WxgptError):
    """the server encoded its response although it was asked not to"""


@implementer(IAgent)
class IdentityAgent:
    """Asks for bodies as they are, and takes no others."""

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
            Encoded: the response has a Content-Encoding.
        """
        plain = headers.copy() if headers is not None else Headers()
        plain.setRawHeaders(b"accept-encoding", [b"identity"])
        return self._agent.request(method, uri, plain, bodyProducer).addCallback(_unencoded)


def _unencoded(response: IResponse) -> IResponse:
    encodings = response.headers.getRawHeaders(b"content-encoding", [])
    if any(encoding.strip().lower() != b"identity" for encoding in encodings):
        response.deliverBody(_Dropped())
        raise Encoded(f"the response is encoded: {encodings[0].decode('ascii', 'replace')[:40]}")
    return response


class _Dropped:
    """Takes a body by closing its connection."""

    def makeConnection(self, transport: Any) -> None:  # noqa: ANN401
        transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """Drop what was under way already."""

    def connectionLost(self, reason: object) -> None:
        """Forget it."""


def http_client(reactor: Any, proxy: str = "") -> HttpClient:  # noqa: ANN401
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
    return cast("HttpClient", HTTPClient(IdentityAgent(agent)))
