"""An answer as it grows: server-sent events, or long polling with one update per request."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as WaitedLongEnough
from twisted.internet.task import deferLater
from twisted.web.server import NOT_DONE_YET, Request

from wxgptd.pages.limits import LIVE
from wxgptd.pages.rendition import Rendition
from wxgptd.pages.serving import (
    LONG_BYTES,
    LinkedResource,
    find,
    pack,
    prepare,
    send,
    serve,
    takes_gzip,
)

POLL_FOR_S = 20.0

POLL_PAUSE_S = 0.3
"""How long a poll waits for more after a change: each one is a request of its own."""


def _position(request: Request) -> str:
    """Return the position that the reader has reached."""
    last_event_id = request.getHeader(b"last-event-id")
    if last_event_id:
        return last_event_id[:64].decode("ascii", "replace")
    values: list[bytes] = request.args.get(b"position", [b""])
    return values[0].decode("ascii", "replace")[:64]


class Events(LinkedResource):
    """The answer as server-sent events."""

    isLeaf = True

    def render_GET(self, request: Request) -> bytes | int:
        """Send what the reader has not seen, then each change, until the answer is final."""
        prepare(request, "text/event-stream; charset=utf-8")
        request.setHeader("X-Accel-Buffering", "no")  # or nginx buffers the whole stream
        if find(self._pages, self._token) is None:
            request.setResponseCode(404)
            return b""
        if self._pages.audiences.crowded(self._token):
            return self._pages.crowded(request)
        if response := self._pages.over_limit(request, self._owner, LIVE):
            return response
        self._pages.audiences.join(self._token, request, _position(request))
        return NOT_DONE_YET


class Poll(LinkedResource):
    """The answer for readers whose network swallows events: one update per request."""

    isLeaf = True

    def render_GET(self, request: Request) -> bytes | int:
        """Send one update as soon as the answer is past the reader's position."""
        prepare(request, "application/json; charset=utf-8")
        if find(self._pages, self._token) is None:
            request.setResponseCode(404)
            return b"{}"
        if response := self._pages.over_limit(request, self._owner, LIVE):
            return response
        return serve(self._pages, request, Deferred.fromCoroutine(self._write(request)))

    async def _write(self, request: Request) -> None:
        pages, seen = self._pages, _position(request)
        changed = pages.page_views.changed(self._token)
        try:
            rendition = await pages.renditions.of(self._token)
        except BaseException:
            _stop_waiting(changed)
            raise
        if rendition and rendition.position == seen and not rendition.view.progress.final:
            try:
                await changed.addTimeout(POLL_FOR_S, pages.clock)
                await deferLater(pages.clock, max(POLL_PAUSE_S, pages.render_queue.pace.interval_s))
            except WaitedLongEnough:
                pass
        else:
            _stop_waiting(changed)
        rendition = await pages.renditions.durable(self._token)
        if rendition is None:
            request.setResponseCode(404)
            request.write(b"{}")
            return
        packed = await self._packed(request, rendition, seen)
        await send(pages, self._owner, request, rendition.json(seen), packed)

    async def _packed(self, request: Request, rendition: Rendition, seen: str) -> bytes:
        """Return a long update, compressed in a thread once for all its readers."""
        update = rendition.json(seen)
        if len(update) < LONG_BYTES or not takes_gzip(request):
            return b""
        name = "gzip", update
        packed = rendition.made.find(name)
        if packed is None:
            packed = await self._pages.render_queue.run(self._owner, lambda: pack(update))
            rendition.made.keep(name, packed)
        return packed


def _stop_waiting(changed: Deferred[None]) -> None:
    """Stop waiting for a change."""
    changed.addErrback(lambda failure: failure.trap(CancelledError) and None)
    changed.cancel()
