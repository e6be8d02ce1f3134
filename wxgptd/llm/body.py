"""Read the bodies of responses, within limits of size and of silence."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet import error as neterror
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol as BytesProtocol
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone, ResponseFailed

from wxgptd.llm import sse, wire

MAX_BODY_BYTES = 8 * 1024 * 1024
"""What a stream may take up on the wire: some 300 bytes of JSON for each token of an answer."""

MAX_ERROR_BYTES = 64 * 1024

LINGER_S = 1.0
"""How long to wait behind a finish for the usage that some servers send last."""


def cause_of(error: BaseException) -> BaseException:
    """Return what is behind an error of Twisted's client, which wraps what it meets."""
    reasons = getattr(error, "reasons", None)
    inner = reasons[0] if reasons else error
    return inner.value or error if isinstance(inner, Failure) else inner


def was_cancelled(error: BaseException) -> bool:
    """Tell whether a call failed because we ended it."""
    return isinstance(cause_of(error), CancelledError)


def reason_of(error: BaseException) -> str:
    """Return why a call failed, for a log line."""
    error = cause_of(error)
    if isinstance(error, neterror.ConnectionDone | neterror.ConnectionLost):
        return "the connection was closed without a response"
    return " ".join(f"{type(error).__name__}: {error}".split())[: wire.MAX_DETAIL]


class _BodyReader(BytesProtocol):
    """Reads a body within a limit of silence. `finished` can be cancelled."""

    def __init__(self, clock: IReactorTime, idle_timeout_s: float) -> None:
        self._clock = clock
        self._first_timeout_s = self._idle_timeout_s = idle_timeout_s
        self._idle: IDelayedCall | None = None
        self._ended = False

    def connectionMade(self) -> None:
        self._wait(self._first_timeout_s)

    def _heard(self) -> None:
        if not self._ended:
            self._wait(self._idle_timeout_s)

    def _wait(self, seconds: float) -> None:
        """Have `_silent` called in `seconds`, unless something comes."""
        idle = self._idle
        if idle is not None and idle.active():
            if idle.getTime() <= self._clock.seconds() + seconds:
                idle.reset(seconds)
                return
            # To bring a call forward, Twisted would search all that are pending for it.
            idle.cancel()
        self._idle = self._clock.callLater(seconds, self._silent)

    def _silent(self) -> None:
        raise NotImplementedError

    def _stop(self) -> None:
        """End the waiting, and the connection: nothing more is wanted of it."""
        self._ended = True
        if self._idle is not None and self._idle.active():
            self._idle.cancel()
        if self.transport is not None:
            self.transport.loseConnection()


class ErrorReader(_BodyReader):
    """Reads the body of an error, as far as it is worth reading."""

    def __init__(self, clock: IReactorTime, idle_timeout_s: float) -> None:
        super().__init__(clock, idle_timeout_s)
        self.finished: Deferred[bytes] = Deferred(lambda _: self._stop())
        self._body = b""

    def dataReceived(self, data: bytes) -> None:
        self._body += data
        self._heard()
        if len(self._body) >= MAX_ERROR_BYTES:
            self._finish()

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]
        self._finish()

    def _silent(self) -> None:
        self._finish()

    def _finish(self) -> None:
        if not self._ended:
            self._stop()
            self.finished.callback(self._body[:MAX_ERROR_BYTES])


class StreamReader(_BodyReader):
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
        self._idle_timeout_s = idle_timeout_s
        self.finished: Deferred[str] = Deferred(lambda _: self._stop())
        self._take = take
        self._answered = answered
        self._parser = sse.Parser()
        self._json: bytes | None = None
        self._begun = False
        self._received = 0

    def dataReceived(self, data: bytes) -> None:
        if self._ended:
            return
        self._received += len(data)
        if self._received > MAX_BODY_BYTES:
            self._finish(f"longer than {MAX_BODY_BYTES} bytes")
            return
        if not self._begun:
            data = data.lstrip()
            if not data:
                return
            self._begun = True
            if data.startswith((b"{", b"[", b"<")):
                self._json = b""
        if self._json is not None:
            self._json += data
            self._heard()
            return
        try:
            events = self._parser.feed(data)
            # Comments keep a connection alive, but they are no sign of life of a model.
            if events:
                self._heard()
            self._take_all(events)
        except (wire.Unintelligible, sse.LineTooLong) as error:
            self._finish(str(error))

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]
        if self._ended:
            return
        cut = "" if reason is None or reason.check(ResponseDone) else _lost(reason)
        try:
            events = (
                [self._json.decode("utf-8", "replace")]
                if self._json is not None
                else self._parser.close()
            )
            self._take_all(events)
        except wire.Unintelligible as error:
            cut = cut or str(error)
        self._finish(cut)

    def _take_all(self, events: list[str]) -> None:
        for event in events:
            if self._ended:
                return
            if self._take(event):
                self._finish("")
        if self._answered() and not self._ended:
            self._wait(LINGER_S)

    def _silent(self) -> None:
        self._finish("" if self._answered() else "silent for too long")

    def _finish(self, why: str) -> None:
        if not self._ended:
            self._stop()
            self.finished.callback(why)


def _lost(reason: Failure) -> str:
    if reason.check(ResponseFailed):
        return reason_of(reason.value or ResponseFailed([reason]))
    return "the connection was lost"
