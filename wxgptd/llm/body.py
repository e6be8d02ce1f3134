"""Read a streamed answer from a response."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone

from wxgptd.llm import sse, wire
from wxgptd.llm.why import Why
from wxgptd.outbound.reading import BodyReader, lost

MAX_BODY_BYTES = 8 * 1024 * 1024
"""What a stream may take up on the wire: some 300 bytes of JSON for each token of an answer."""

MAX_JSON_BYTES = 1024 * 1024
"""What an answer that is not streamed may take: it is parsed at once."""

LINGER_S = 1.0
"""How long to wait behind a finish for the usage that some servers send last."""


class StreamReader(BodyReader):
    """Reads a stream of events, or the JSON that some servers send instead.

    `finished` fires with why the stream ended early, or with nothing if it came to its end.
    `take` is called with the data of each event and tells whether nothing more is needed;
    `answered` tells whether only the usage can still be missing, for which nobody waits long:
    some servers close the connection seconds later.
    """

    def __init__(
        self,
        clock: IReactorTime,
        *,
        first_timeout_s: float,
        idle_timeout_s: float,
        take: Callable[[str], bool],
        answered: Callable[[], bool],
    ) -> None:
        # A model that thinks first may be silent for long; one that writes may not.
        super().__init__(clock, first_timeout_s)
        self.idle_timeout_s = idle_timeout_s
        self.finished: Deferred[Why | None] = Deferred(lambda _: self.stop())
        self._take = take
        self._answered = answered
        self._parser = sse.Parser()
        self._json: bytearray | None = None
        self._lingering = False
        self._begun = False
        self.received = 0

    def dataReceived(self, data: bytes) -> None:
        if self.ended:
            return
        self.received += len(data)
        if self.received > MAX_BODY_BYTES:
            self._finish(Why(f"longer than {MAX_BODY_BYTES} bytes"))
            return
        if not self._begun:
            data = data.lstrip().removeprefix(b"\xef\xbb\xbf").lstrip()
            if not data:
                return
            self._begun = True
            if data.startswith((b"{", b"[", b"<")):
                self._json = bytearray()
        if self._json is not None:
            self._json += data
            self.heard()
            if len(self._json) > MAX_JSON_BYTES:
                self._finish(Why(f"longer than {MAX_JSON_BYTES} bytes"))
            return
        try:
            events = self._parser.feed(data)
            # Comments keep a connection alive, but they are no sign of life of a model.
            if events and not self._lingering:
                self.heard()
            self._take_all(events)
        except wire.Unintelligible as error:
            self._finish(error.why)
        except sse.LineTooLong as error:
            self._finish(Why(str(error)))

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]
        if self.ended:
            return
        cut = None if reason is None or reason.check(ResponseDone) else Why(lost(reason))
        try:
            events = (
                [self._json.decode("utf-8", "replace")]
                if self._json is not None
                else self._parser.close()
            )
            self._take_all(events)
        except wire.Unintelligible as error:
            cut = cut or error.why
        self._finish(cut)

    def _take_all(self, events: list[str]) -> None:
        for event in events:
            if self.ended:
                return
            if self._take(event):
                self._finish(None)
        if self._answered() and not self.ended and not self._lingering:
            self._lingering = True  # once: whatever comes now may not put off the end
            self.wait(LINGER_S)

    def silent(self) -> None:
        self._finish(None if self._answered() else Why("silent for too long"))

    def _finish(self, why: Why | None) -> None:
        if not self.ended:
            self.stop()
            self.finished.callback(why)
