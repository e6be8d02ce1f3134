"""Pages on a node that does not lead.

What is written goes to the leader. What is read comes from this node's own state; if a link is not
known here yet, this node first fetches what it lacks.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.web.resource import Resource, getChildForRequest
from twisted.web.server import Request

from wxgptd.pages.serving import Pages, prepare, serve
from wxgptd.ports.elsewhere import Elsewhere

PATIENCE_S = 15.0
"""How long to wait for a node that leads: a page gives up after 20 seconds."""

AGAIN_AFTER_S = 0.2

PASSED_ON = (
    b"accept-language", b"content-type", b"cookie", b"idempotency-key", b"origin", b"user-agent",
    b"x-form-token",
)  # fmt: skip
"""The headers that mean something to the leader."""


class PassedOn(Resource):
    """Whatever is posted below a page, on its way to the node that leads."""

    isLeaf = True

    def __init__(self, pages: Pages, elsewhere: Elsewhere, page: Callable[[], Resource]) -> None:
        super().__init__()
        self._pages = pages
        self._elsewhere = elsewhere
        self._page = page

    def render(self, request: Request) -> bytes | int:
        """Pass the request on, and wait for a leader if there is none at the moment."""
        if not request.uri.startswith(b"/"):  # it would become part of the host's name
            request.setResponseCode(400)
            return b""
        return serve(
            self._pages, request, Deferred.fromCoroutine(self._pass_on(request)), self._here
        )

    def _here(self, request: Request) -> None:
        """Serve the request on this node, which leads now."""
        assert request.content is not None
        request.content.seek(0)
        request.render(getChildForRequest(self._page(), request))

    async def _pass_on(self, request: Request) -> bool:
        """Write the leader's response; return whether this node has to serve it instead."""
        clock, elsewhere = self._pages.clock, self._elsewhere
        assert request.content is not None
        body = request.content.read()
        deadline = clock.seconds() + PATIENCE_S
        received = request.requestHeaders
        headers = {name: list(received.getRawHeaders(name) or ()) for name in PASSED_ON}
        headers = {name: values for name, values in headers.items() if values}
        while clock.seconds() < deadline:
            leader = elsewhere.leader()
            if leader is None:
                return True
            if leader:
                path = request.uri.decode("ascii", "replace")
                response = await elsewhere.post(leader.rstrip("/") + path, headers, body)
                if response is not None:
                    await elsewhere.fresh()  # what was written is seen here from now on
                    request.setResponseCode(response.status)
                    for name, values in response.headers.items():
                        request.responseHeaders.setRawHeaders(name, values)
                    request.write(response.body)
                    return False
            await deferLater(clock, AGAIN_AFTER_S)
        prepare(request, "application/json; charset=utf-8")
        request.setResponseCode(503)
        request.setHeader("Retry-After", "5")
        request.write(b"{}")
        return False


class Awaited(Resource):
    """A page that may not be known here yet."""

    isLeaf = True

    def __init__(self, pages: Pages, elsewhere: Elsewhere, page: Callable[[], Resource]) -> None:
        super().__init__()
        self._pages = pages
        self._elsewhere = elsewhere
        self._page = page

    def render(self, request: Request) -> int:
        """Serve the page once this node has everything that was recorded so far."""
        return serve(self._pages, request, Deferred.fromCoroutine(self._wait()), self._here)

    async def _wait(self) -> bool:
        await self._elsewhere.fresh()
        return True

    def _here(self, request: Request) -> None:
        request.render(getChildForRequest(self._page(), request))
