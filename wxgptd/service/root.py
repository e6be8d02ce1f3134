"""The URL paths of the daemon's HTTP server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from twisted.logger import Logger
from twisted.web import server
from twisted.web.resource import Resource

from wxgptd.service import verify_files
from wxgptd.wechat.resource import WebhookResource
from wxgptd.wechat.webhook import Webhook

log = Logger(namespace="wxgptd.site")


class Root(Resource):
    """Routes requests: webhooks by their full path, everything else by its first segment."""

    def __init__(
        self,
        webhooks: Mapping[bytes, Webhook],
        others: Mapping[bytes, Resource],
        not_found: Callable[[server.Request], bytes],
        verification: Path | None = None,
        instance: str = "",
    ) -> None:
        super().__init__()
        self.webhooks = webhooks
        self._not_found = not_found
        self._verification = verification
        self._instance = instance.encode()
        self._others = others

    def is_reserved(self, path: bytes) -> bool:
        """Return whether `path` is a webhook or a health check."""
        return path in self.webhooks or path in (b"/healthz", b"/readyz")

    def webhook(self, path: bytes) -> Webhook | None:
        """Return the webhook at `path`, if there is one."""
        return self.webhooks.get(path)

    def getChild(self, path: bytes, request: server.Request) -> Resource:
        webhook = self.webhooks.get(request.path)
        if webhook is not None:
            if self._instance and request.method == b"GET":
                request.setHeader(b"x-wxgptd", self._instance)
            return WebhookResource(webhook)
        resource = self._others.get(path) or verify_files.find(self._verification, request.path)
        return resource or _NotFound(self._not_found)


def probes(
    why_not_ready: Callable[[], str], unhealthy_reason: Callable[[], str], instance: str
) -> dict[bytes, Resource]:
    """Return the health checks, by their paths."""
    return {
        b"healthz": ProbeResource(unhealthy_reason, instance),
        b"readyz": ProbeResource(why_not_ready),
    }


class ProbeResource(Resource):
    """Answers `ok`, or 503 with the reason from `why`; a header names the `instance`."""

    isLeaf = True

    def __init__(self, why: Callable[[], str], instance: str = "") -> None:
        super().__init__()
        self._why = why
        self._instance = instance.encode()

    def render_GET(self, request: server.Request) -> bytes:
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        request.setHeader(b"cache-control", b"no-store")
        if self._instance:
            request.setHeader(b"x-wxgptd", self._instance)
        why = self._why()
        if not why:
            return b"ok\n"
        request.setResponseCode(503)
        return f"{why}\n".encode()


class _NotFound(Resource):
    """Answers 404 with the page that `page` returns, and logs requests that carry a signature."""

    isLeaf = True

    def __init__(self, page: Callable[[server.Request], bytes]) -> None:
        super().__init__()
        self._page = page

    def render(self, request: server.Request) -> bytes:
        if b"signature" in request.args:
            log.warn(
                "signed request to {path}, which is not the webhook of any account: check the URL "
                "in WeChat's backend for a trailing slash or another account's name",
                id="path-unknown",
                path=request.path[:100].decode("ascii", "replace"),
                bounded_as="no webhook there",
            )
        return self._page(request)
