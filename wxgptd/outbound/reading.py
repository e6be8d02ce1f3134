"""Read response bodies with a size limit and an idle timeout, and report what failed."""

from __future__ import annotations

from twisted.internet import error as neterror
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol as BytesProtocol
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone, ResponseFailed
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IResponse

from wxgptd.errors import WxgptError

MAX_REASON = 300

DRAIN_S = 1.0
"""How long a body may take to end after the last data that is needed."""


def cause_of(error: BaseException) -> BaseException:
    """Return the original error if `error` is a wrapper by Twisted's client."""
    reasons = getattr(error, "reasons", None)
    inner = reasons[0] if reasons else error
    return inner.value or error if isinstance(inner, Failure) else inner


def was_cancelled(error: BaseException) -> bool:
    """Return whether a call failed because we cancelled it."""
    return isinstance(cause_of(error), CancelledError)


def reason_of(error: BaseException) -> str:
    """Return why a call failed, for a log line."""
    error = cause_of(error)
    if isinstance(error, neterror.ConnectionDone | neterror.ConnectionLost):
        return "the connection was closed without a response"
    return " ".join(f"{type(error).__name__}: {error}".split())[:MAX_REASON]


class BodyReader(BytesProtocol):
    """Reads a body, with an idle timeout. `finished` can be cancelled."""

    def __init__(self, clock: IReactorTime, idle_timeout_s: float) -> None:
        self._clock = clock
        self._first_timeout_s = self.idle_timeout_s = idle_timeout_s
        self._idle: IDelayedCall | None = None
        self._rings_at = self._silent_at = 0.0
        self.ended = False

    def connectionMade(self) -> None:
        self.wait(self._first_timeout_s)

    def heard(self) -> None:
        """Restart the timer because data has arrived."""
        if not self.ended:
            self.wait(self.idle_timeout_s)

    def wait(self, seconds: float) -> None:
        """Call `silent` in `seconds`, unless data arrives first.

        A timer that would ring too early is left alone until it does: data arrives far more often.
        """
        self._silent_at = self._clock.seconds() + seconds
        if self._idle is not None and self._idle.active():
            if self._rings_at <= self._silent_at:
                return
            self._idle.cancel()
        self._set_timer(seconds)

    def _set_timer(self, seconds: float) -> None:
        self._rings_at = self._clock.seconds() + seconds
        self._idle = self._clock.callLater(seconds, self._ring)

    def _ring(self) -> None:
        left_s = self._silent_at - self._clock.seconds()
        if left_s > 0:
            self._set_timer(left_s)
        else:
            self.silent()

    def silent(self) -> None:
        """Handle an idle timeout."""
        raise NotImplementedError

    def drain(self) -> None:
        """Ignore the rest, but wait for its end, so that the connection can be used again."""
        self.ended = True
        self.stop_timer()
        self._idle = self._clock.callLater(DRAIN_S, self.stop)

    def stop_timer(self) -> None:
        """Expect nothing more."""
        if self._idle is not None and self._idle.active():
            self._idle.cancel()

    def stop(self) -> None:
        """Stop the timer and close the connection."""
        self.ended = True
        self.stop_timer()
        if self.transport is not None:
            self.transport.loseConnection()


def lost(reason: Failure) -> str:
    """Return why a response was cut off, for a log line."""
    if reason.check(ResponseFailed):
        return reason_of(reason.value or ResponseFailed([reason]))
    return "the connection was lost"


class _Collector(BodyReader):
    """Collects a body, of which at most `limit` bytes matter."""

    def __init__(self, clock: IReactorTime, idle_timeout_s: float, limit: int) -> None:
        super().__init__(clock, idle_timeout_s)
        self.finished: Deferred[bytes] = Deferred(lambda _: self.stop())
        self._limit = limit
        self._body = bytearray()


class Excerpt(_Collector):
    """Reads up to `limit` bytes of a body; `finished` fires with them, however the body ends."""

    def dataReceived(self, data: bytes) -> None:
        self._body += data
        self.heard()
        if len(self._body) >= self._limit:
            self._finish()

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]
        self._finish()

    def silent(self) -> None:
        self._finish()

    def _finish(self) -> None:
        if not self.ended:
            self.stop()
            self.finished.callback(bytes(self._body[: self._limit]))


class Incomplete(WxgptError):
    """the response is incomplete"""


class _Complete(_Collector):
    """Reads a body of at most `limit` bytes, which is only useful if it is complete."""

    def dataReceived(self, data: bytes) -> None:
        if self.ended:
            return
        self._body += data
        self.heard()
        if len(self._body) > self._limit:
            self._fail(f"the response is longer than {self._limit} bytes")

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]
        if self.ended:
            return
        # Without a Content-Length, a body ends when the connection closes: it may be truncated.
        if reason is None or reason.check(ResponseDone, PotentialDataLoss):
            self.stop()
            self.finished.callback(bytes(self._body))
        else:
            self._fail(lost(reason))

    def silent(self) -> None:
        self._fail("the server stopped sending data")

    def _fail(self, why: str) -> None:
        self.stop()
        self.finished.errback(Incomplete(why))


def read_whole(
    response: IResponse, clock: IReactorTime, *, idle_timeout_s: float, limit: int
) -> Deferred[bytes]:
    """Fire with the complete body of `response`; cancelling closes the connection.

    Errs:
        Incomplete: it was cut off, stalled for `idle_timeout_s`, or is longer than `limit` bytes.
    """
    reader = _Complete(clock, idle_timeout_s, limit)
    response.deliverBody(reader)
    return reader.finished
