"""The readers of one answer while it is being written: it is rendered once and sent to all.

An update depends only on what the reader already has, so readers who keep up get the same bytes.
Slower readers get fewer updates, each complete, and nothing is queued for any of them.
"""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as WaitedLongEnough
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Request

from wxgptd.errors import WxgptError
from wxgptd.pages.limits import MAX_READERS
from wxgptd.pages.outflow import Outflow
from wxgptd.pages.render_queue import TooBusy
from wxgptd.pages.rendition import Rendition
from wxgptd.pages.renditions import Renditions
from wxgptd.pages.update_pace import UpdatePace
from wxgptd.ports.pages import PageViews

log = Logger()

RETRY_AFTER_S = 1.0
"""When to retry a rendering that was rejected as `TooBusy`."""

HEARTBEAT_S = 12.0
"""Proxies and phones drop connections that are idle for longer."""


class Audience:
    """The readers of the answer behind one token."""

    def __init__(
        self, token: str, renditions: Renditions, page_views: PageViews, pace: UpdatePace
    ) -> None:
        self._token = token
        self._renditions = renditions
        self._pace = pace
        self._page_views = page_views
        self._clock = pace.clock
        self._readers: list[Reader] = []
        self._shown: Rendition | None = None
        self._showing: Deferred[None] | None = None

    def __len__(self) -> int:
        return len(self._readers)

    def join(self, request: Request, position: str) -> None:
        """Keep the sender of `request`, who is at `position`, up to date until the end."""
        reader = Reader(request, position, self, self._clock)
        self._readers.append(reader)
        self._renditions.hold(self._token)
        request.notifyFinish().addErrback(lambda _: self.leave(reader))
        reader.write(b": welcome\n\n")
        if self._showing is None:
            self._showing = Deferred.fromCoroutine(self._show_all())
            self._showing.addErrback(self._failed).addBoth(self._stopped)
        else:
            self.catch_up(reader)

    def leave(self, reader: Reader) -> None:
        """Remove a reader; stop rendering when the last one leaves."""
        self._remove(reader)
        reader.ended()
        if not self._readers and self._showing is not None:
            self._showing.cancel()

    def catch_up(self, reader: Reader) -> None:
        """Send what the reader has missed."""
        shown = self._shown
        if shown is None or (reader.at is None and shown.is_before(reader.position)):
            return  # the reader's page is newer; the next rendering will update it
        self._send(reader, shown)

    def forget(self) -> None:
        """Forget what was shown: a user has been erased."""
        self._shown = None
        for reader in tuple(self._readers):
            reader.position = ""
            reader.at = None
            if self._showing is None:
                reader.abort()  # it was too slow for the end, and can ask again

    def is_empty(self) -> bool:
        """Return whether no readers are left."""
        return not self._readers

    async def _show_all(self) -> None:
        while True:
            changed = self._page_views.changed(self._token)
            try:
                rendition = await self._renditions.durable(self._token)
            except TooBusy:  # readers keep what they have, and get the next update
                await deferLater(self._clock, RETRY_AFTER_S)
                continue
            if rendition is None:
                self._shown = None  # the user may have been erased
                for reader in tuple(self._readers):
                    self._finish(reader)
                return
            self._shown = rendition
            with self._pace.spending():
                for reader in tuple(self._readers):
                    self._send(reader, rendition)
            if rendition.view.progress.final:
                return
            await deferLater(self._clock, self._pace.interval_s)
            await self._wait_for(changed)

    async def _wait_for(self, changed: Deferred[None]) -> None:
        """Wait for a change, sending heartbeats that keep connections alive."""
        while True:
            try:
                await changed.addTimeout(HEARTBEAT_S, self._clock)
                return
            except WaitedLongEnough:
                for reader in tuple(self._readers):
                    reader.write(b": still here\nevent: beat\ndata: {}\n\n")
                changed = self._page_views.changed(self._token)

    def _send(self, reader: Reader, rendition: Rendition) -> None:
        if reader.is_behind:
            return  # it catches up once it can receive more
        if reader.at is not rendition:
            reader.write(rendition.event(reader.at or reader.position))
            reader.at = rendition
        if rendition.view.progress.final and not reader.is_behind:
            self._finish(reader)

    def _finish(self, reader: Reader) -> None:
        if reader in self._readers:
            self._remove(reader)
            reader.finish()

    def _remove(self, reader: Reader) -> None:
        if reader in self._readers:
            self._readers.remove(reader)
        if not self._readers:
            self._shown = None  # the user may be erased later
            self._renditions.release(self._token)

    def _stopped(self, _: object) -> None:
        self._showing = None

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return
        if failure.check(WxgptError):
            log.error(
                "failed to update an answer's page: {error}",
                id="page-failed",
                error=failure.value,
                bounded_as="page failed",
            )
        else:
            log.failure(
                "failed to update an answer's page",
                failure,
                id="page-failed",
                bounded_as="page failed",
            )
        for reader in tuple(self._readers):
            reader.abort()


class Reader:
    """One reader of an answer: its position, and whether it keeps up."""

    def __init__(
        self, request: Request, position: str, audience: Audience, clock: IReactorTime
    ) -> None:
        self.at: Rendition | None = None
        self.position = position
        self._request = request
        self._outflow = Outflow(request, clock, lambda: audience.catch_up(self))

    @property
    def is_behind(self) -> bool:
        """Whether the reader has not yet received everything that was written."""
        return self._outflow.behind

    def write(self, data: bytes) -> None:
        """Send `data`, unless the reader is behind."""
        if not self.is_behind:
            self._outflow.write(data)

    def finish(self) -> None:
        """Finish the response."""
        self.ended()
        self._request.finish()

    def ended(self) -> None:
        """Stop sending to the reader."""
        self._outflow.end()

    def abort(self) -> None:
        """Abort the connection without finishing the response."""
        self._request.channel.forceAbortClient()


class Audiences:
    """All audiences, by link token."""

    def __init__(self, renditions: Renditions, page_views: PageViews, pace: UpdatePace) -> None:
        self._renditions = renditions
        self._page_views = page_views
        self._pace = pace
        self._audiences: dict[str, Audience] = {}

    def __len__(self) -> int:
        """Count the readers of all answers."""
        return sum(len(audience) for audience in self._audiences.values())

    def forget_all(self) -> None:
        """Forget what was shown to anyone: a user has been erased."""
        for audience in self._audiences.values():
            audience.forget()

    def crowded(self, token: str) -> bool:
        """Return whether an answer has reached its limit of readers."""
        audience = self._audiences.get(token)
        return audience is not None and len(audience) >= MAX_READERS

    def join(self, token: str, request: Request, position: str) -> None:
        """Keep the sender of `request` up to date with the answer behind `token`."""
        empty = [other for other, audience in self._audiences.items() if audience.is_empty()]
        for other in empty:
            del self._audiences[other]
        audience = self._audiences.get(token)
        if audience is None:
            audience = Audience(token, self._renditions, self._page_views, self._pace)
            self._audiences[token] = audience
        audience.join(request, position)
