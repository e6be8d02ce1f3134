"""A webhook as a resource of twisted.web."""

from __future__ import annotations

from collections.abc import Callable

from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from wxgptd.wechat.forwarding import Original
from wxgptd.wechat.webhook import Webhook


class WebhookResource(Resource):
    """Passes requests on to `webhook`."""

    isLeaf = True

    def __init__(self, webhook: Webhook) -> None:
        super().__init__()
        self.webhook = webhook

    def render_GET(self, request: Request) -> int:
        """Answer WeChat's check of the URL."""
        agent = (request.getHeader(b"user-agent") or b"").decode("ascii", "replace")
        self.webhook.verify(_query(request), agent, _Waiting(request))
        return NOT_DONE_YET

    def render_POST(self, request: Request) -> int:
        """Answer one of WeChat's attempts to deliver a message."""
        assert request.content is not None
        original = Original(_query(request), request.content.read(), request.getHeader)
        self.webhook.deliver(original, _Waiting(request))
        return NOT_DONE_YET


def _query(request: Request) -> bytes:
    return request.uri.partition(b"?")[2]


class _Waiting:
    """The peer who sent `request`."""

    def __init__(self, request: Request) -> None:
        self._request = request

    def respond(self, status: int, content_type: bytes, body: bytes) -> None:
        self._request.setResponseCode(status)
        headers = self._request.responseHeaders
        headers.setRawHeaders(b"content-type", [content_type])
        headers.setRawHeaders(b"content-length", [b"%d" % len(body)])
        self._request.write(body)
        self._request.finish()

    def hang_up(self) -> None:
        self._request.loseConnection()

    def on_lost(self, lost: Callable[[], None]) -> None:
        self._request.notifyFinish().addErrback(lambda _: lost())
