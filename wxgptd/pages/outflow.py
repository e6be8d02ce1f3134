"""Write to readers as fast as they read: one who reads nothing costs a few pieces of the page.

A transport copies everything written to it into its buffer. 200 readers who request a long page
and read none of it would cost 200 copies. Here each has a few pieces in its buffer, and the page
itself is shared.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.web.server import Request
from zope.interface import implementer

PIECE_BYTES = 32 * 1024

STALLED_S = 60.0
"""A reader who reads nothing for this long is gone or hostile."""


@implementer(IPushProducer)
class Outflow:
    """The unsent data of one request. `drained` is called when the reader has received it all."""

    def __init__(
        self, request: Request, clock: IReactorTime, drained: Callable[[], None] = lambda: None
    ) -> None:
        self._request = request
        self._clock = clock
        self._drained = drained
        self._waiting: deque[memoryview] = deque()
        self._paused = False
        self._timeout: IDelayedCall | None = None
        request.registerProducer(self, streaming=True)

    @property
    def behind(self) -> bool:
        """Whether the reader has not yet received everything that was written."""
        return self._paused or bool(self._waiting)

    def write(self, data: bytes) -> None:
        """Send `data`, copying each piece only when it is sent."""
        self._waiting.append(memoryview(data))
        self._pump()

    def end(self) -> None:
        """Stop sending."""
        self._waiting.clear()
        self._stop_waiting()
        if self._request.channel is not None:  # the reader is still there
            self._request.unregisterProducer()

    def pauseProducing(self) -> None:
        """Wait for the reader."""
        self._paused = True
        self._stop_waiting()
        self._timeout = self._clock.callLater(STALLED_S, self._abort)

    def resumeProducing(self) -> None:
        """Resume, now that the connection's buffer has drained."""
        self._paused = False
        self._stop_waiting()
        self._pump()
        if not self.behind:
            self._drained()

    def stopProducing(self) -> None:
        """Drop the rest, because the reader has left."""
        self._waiting.clear()
        self._stop_waiting()

    def _pump(self) -> None:
        while self._waiting and not self._paused:
            piece = self._waiting.popleft()
            if len(piece) > PIECE_BYTES:
                self._waiting.appendleft(piece[PIECE_BYTES:])
            self._request.write(bytes(piece[:PIECE_BYTES]))

    def _abort(self) -> None:
        self._request.channel.forceAbortClient()

    def _stop_waiting(self) -> None:
        if self._timeout is not None and self._timeout.active():
            self._timeout.cancel()


async def send_all(request: Request, body: bytes, clock: IReactorTime) -> None:
    """Send all of `body`; return when the reader has received it. Cancelling stops sending."""
    taken: Deferred[None] = Deferred()

    def drained() -> None:
        if not taken.called:
            taken.callback(None)

    outflow = Outflow(request, clock, drained)
    try:
        outflow.write(body)
        if outflow.behind:
            await taken
    finally:
        outflow.end()
