"""Connections that are kept for the next request, and what to do when one turns out to be dead.

A new connection to a model costs two or three round trips, and with TLS milliseconds of CPU. A
server may close a kept one just as a request is sent on it. Then there is no response at all, and
the request is made once more, on a new connection. A request that went out on a new connection, or
that was not written completely, or whose response has begun, never is.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.web.client import HTTPConnectionPool, ResponseNeverReceived
from twisted.web.iweb import IResponse
from zope.interface import implementer

from wxgptd.untyped import Reactor, Result

KEPT_FOR_S = 50
"""Less than the minute after which many servers and firewalls drop an idle connection."""

KEPT_PER_HOST = 64


class Use:
    """How one request used a connection."""

    is_new = False
    """Whether it needed a new one."""


class KeptConnections(HTTPConnectionPool):
    """The pool of kept connections."""

    retryAutomatically = False  # it would not retry a POST; see `ask`
    cachedConnectionTimeout = KEPT_FOR_S
    maxPersistentPerHost = KEPT_PER_HOST

    def __init__(self, reactor: Reactor) -> None:
        super().__init__(reactor, persistent=True)
        self._current: Use | None = None

    def getConnection(self, key: Hashable, endpoint: IStreamClientEndpoint) -> Deferred[Result]:
        """Return a connection; see HTTPConnectionPool."""
        use = self._current
        connection: Deferred[Result] = super().getConnection(
            key, endpoint if use is None else _Noting(endpoint, use)
        )
        return connection

    def ask(self, request: Callable[[], Deferred[IResponse]]) -> Deferred[IResponse]:
        """Make a request; make it again if it was lost with a kept connection."""
        use = self._current = Use()
        try:
            response = request()
        finally:
            self._current = None

        async def asked() -> IResponse:
            try:
                return await response
            except ResponseNeverReceived as error:
                if use.is_new or not _is_lost(error):
                    raise
                self.closeCachedConnections()  # the others may be dead as well
                return await request()

        return Deferred.fromCoroutine(asked())


def _is_lost(error: ResponseNeverReceived) -> bool:
    """Return whether the connection was closed before anything of the response arrived."""
    return all(reason.check(ConnectionDone, ConnectionLost) for reason in error.reasons)


@implementer(IStreamClientEndpoint)
class _Noting:
    """Notes that a new connection is needed."""

    def __init__(self, endpoint: IStreamClientEndpoint, use: Use) -> None:
        self._endpoint = endpoint
        self._use = use

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect; see IStreamClientEndpoint."""
        self._use.is_new = True
        connected: Deferred[IProtocol] = self._endpoint.connect(protocolFactory)
        return connected
