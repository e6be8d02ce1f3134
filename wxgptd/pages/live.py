"""An answer as it grows: server-sent events, or one update a request for whoever polls."""

from __future__ import annotations

import json
from typing import Any
from zlib import crc32

from twisted.internet.defer import Deferred, succeed
from twisted.internet.defer import TimeoutError as WaitedLongEnough
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.internet.task import deferLater
from twisted.web.server import Request
from zope.interface import implementer

from wxgptd.pages.serving import Blocks, Linked, Pages, find, prepare, serve
from wxgptd.ports import AnswerView

UPDATE_EVERY_S = 0.3
"""A reader sees no difference to more often, and each update is a rendering."""

HEARTBEAT_S = 12.0
"""Proxies and phones drop connections on which nothing comes for longer."""

STALLED_S = 60.0
"""A reader who takes nothing for so long is gone, or means harm."""

POLL_FOR_S = 20.0


def position_of(view: AnswerView, blocks: Blocks) -> str:
    """Return what a reader who has seen this need not be sent again.

    How often the answer has begun anew, how many blocks are settled (all but the last, which may
    grow) and a digest of them, how far the text was, and how far the answer.
    """
    settled = len(blocks) if view.progress.final else max(0, len(blocks) - 1)
    digest = _digest(blocks[:settled])
    return f"{view.generation}.{settled}.{digest}.{len(view.text)}.{view.progress}"


def _digest(blocks: Blocks) -> str:
    return f"{crc32(chr(0).join(blocks).encode('utf-8', 'replace')):08x}"


def _update(pages: Pages, view: AnswerView, blocks: Blocks, seen: str) -> dict[str, Any]:
    """Return what brings a reader who has seen `seen` up to date.

    A block that later text has changed (a link defined further down) is sent again with all that
    follow it: the reader's digest does not fit then.
    """
    generation, settled, digest, *_ = *seen.split("."), "", "", ""
    begin = min(number(settled), len(blocks)) if generation == str(view.generation) else 0
    if _digest(blocks[:begin]) != digest:
        begin = 0
    return {
        "position": position_of(view, blocks),
        "from": begin,
        "blocks": blocks[begin:],
        "progress": view.progress.value,
        "status": pages.status(view.progress, view.failure),
        "final": view.progress.final,
    }


def number(text: str) -> int:
    """Return the number that `text` is, or 0: it comes from whoever has the link."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 0


def _asked_from(request: Request) -> str:
    """Return the position that the reader has seen."""
    resumed = request.getHeader("last-event-id")
    if resumed:
        return str(resumed)[:64].encode("ascii", "replace").decode("ascii")
    values: list[bytes] = request.args.get(b"position", [b""])
    return values[0].decode("ascii", "replace")[:64]


class Events(Linked):
    """The answer as server-sent events."""

    isLeaf = True

    def render_GET(self, request: Request) -> bytes | int:
        """Send what the reader has not seen, then each change, until the answer is final."""
        prepare(request, "text/event-stream; charset=utf-8")
        request.setHeader("X-Accel-Buffering", "no")
        if find(self._pages, self._token) is None:
            request.setResponseCode(404)
            return b""
        return serve(request, Deferred.fromCoroutine(self._stream(request)))

    async def _stream(self, request: Request) -> None:
        pages, seen = self._pages, _asked_from(request)
        flow = _Flow(pages.clock)
        request.registerProducer(flow, streaming=True)
        try:
            await self._send(request, flow, seen)
        except WaitedLongEnough:
            # Somebody who has the link and takes nothing of it: not worth the memory.
            request.channel.forceAbortClient()
        finally:
            request.unregisterProducer()

    async def _send(self, request: Request, flow: _Flow, seen: str) -> None:
        pages = self._pages
        request.write(b"retry: 2000\n\n")
        sent = ""
        while True:
            await flow.drained()
            view = find(pages, self._token)
            if view is None:
                return
            changed = pages.library.changed(self._token)
            blocks = await pages.blocks(view.text)
            update = _update(pages, view, blocks, seen)
            position = str(update["position"])
            if position != sent:
                await pages.library.durable()
                data = json.dumps(update, ensure_ascii=False)
                event = f"id: {position}\nevent: update\ndata: {data}\n\n"
                request.write(event.encode("utf-8", "replace"))
                sent = seen = position
            if view.progress.final:
                return
            await deferLater(pages.clock, UPDATE_EVERY_S)
            await self._until(changed, request, flow)

    async def _until(self, changed: Deferred[None], request: Request, flow: _Flow) -> None:
        """Wait for a change, with a comment now and then that keeps the connection alive."""
        while True:
            try:
                await changed.addTimeout(HEARTBEAT_S, self._pages.clock)
                return
            except WaitedLongEnough:
                await flow.drained()
                request.write(b": still here\n\n")
                changed = self._pages.library.changed(self._token)


@implementer(IPushProducer)
class _Flow:
    """Tells whether the reader takes what is written: what is not taken is not added to.

    Updates are made when they can be sent, so a slow reader gets fewer of them, each complete.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._waiting: Deferred[None] | None = None
        self._paused = False

    def drained(self) -> Deferred[None]:
        """Fire when more can be written.

        Errs:
            TimeoutError: nothing was taken for too long.
        """
        if not self._paused:
            return succeed(None)
        self._waiting = Deferred()
        return self._waiting.addTimeout(STALLED_S, self._clock)

    def pauseProducing(self) -> None:
        """Note that the reader is behind."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Note that the reader has caught up."""
        self._paused = False
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.called:
            waiting.callback(None)

    def stopProducing(self) -> None:
        """Nothing: that the reader has left is told elsewhere."""


class Poll(Linked):
    """The answer for readers whose network swallows events: one update a request."""

    isLeaf = True

    def render_GET(self, request: Request) -> bytes | int:
        """Send one update as soon as there is something that the reader has not seen."""
        prepare(request, "application/json; charset=utf-8")
        if find(self._pages, self._token) is None:
            request.setResponseCode(404)
            return b"{}"
        return serve(request, Deferred.fromCoroutine(self._write(request)))

    async def _write(self, request: Request) -> None:
        pages, seen = self._pages, _asked_from(request)
        view = find(pages, self._token)
        assert view is not None
        changed = pages.library.changed(self._token)
        if position_of(view, await pages.blocks(view.text)) == seen and not view.progress.final:
            try:
                await changed.addTimeout(POLL_FOR_S, pages.clock)
                await deferLater(pages.clock, UPDATE_EVERY_S)
            except WaitedLongEnough:
                pass
            view = find(pages, self._token)
            if view is None:
                request.setResponseCode(404)
                request.write(b"{}")
                return
        else:
            changed.addErrback(lambda _: None)
            changed.cancel()
        update = _update(pages, view, await pages.blocks(view.text), seen)
        await pages.library.durable()
        request.write(json.dumps(update, ensure_ascii=False).encode("utf-8", "replace"))
