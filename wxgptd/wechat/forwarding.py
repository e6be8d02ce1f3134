"""Forward a message to another backend, exactly as WeChat sent it, and return the response."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from wxgptd.errors import WxgptError
from wxgptd.outbound.client import HttpClient
from wxgptd.outbound.exchange import within
from wxgptd.outbound.reading import read_whole

log = Logger()

MAX_ANSWER_BYTES = 256 * 1024
"""Far larger than any reply that WeChat accepts, even in safe mode."""


class Original(NamedTuple):
    """What WeChat sent: the query exactly as in the URL, and the body byte for byte.

    `header` returns a header by its name in lower case, or None.
    """

    query: bytes
    body: bytes
    header: Callable[[bytes], bytes | None]

    @property
    def content_type(self) -> bytes:
        """The Content-Type header."""
        return self.header(b"content-type") or b"text/xml"

    @property
    def user_agent(self) -> bytes:
        """The User-Agent header."""
        return self.header(b"user-agent") or b"Mozilla/4.0"


@dataclass(frozen=True, slots=True)
class BackendReply:
    """The backend's response, to be passed on unchanged."""

    content_type: bytes
    body: bytes


class ForwardObserver(Protocol):
    """Records a message that was forwarded."""

    def __call__(self, took_s: float, *, answered: bool) -> None: ...


class Forwarder:
    """Forwards messages to backends, allowing `patience_s` seconds from a message's arrival.

    `tell` is called with how long each one took, in seconds, and whether the backend `answered`;
    `otherwise` says, for the log, what WeChat gets without an answer.
    """

    def __init__(
        self,
        http: HttpClient,
        clock: IReactorTime,
        patience_s: float,
        tell: ForwardObserver,
        otherwise: str = "answering WeChat with `success`",
    ) -> None:
        self._otherwise = otherwise
        self._tell = tell
        self._http = http
        self._clock = clock
        self._patience_s = patience_s

    def forward(
        self, url: str, original: Original, arrived: float
    ) -> Deferred[BackendReply | None]:
        """Post `original` to `url`; fire with None if there was no valid response in time.

        `arrived` is when it came in, by the monotonic clock. Cancelling closes the connection.
        """
        within_s = max(arrived + self._patience_s - self._clock.seconds(), 0.0)
        return Deferred.fromCoroutine(self._forward(url, original, within_s))

    def to_path(self, path: str) -> Callable[[str, Original, float], Deferred[BackendReply | None]]:
        """Return a function like `forward` that posts to `path` of the server at a URL."""

        def forward(url: str, original: Original, arrived: float) -> Deferred[BackendReply | None]:
            return self.forward(url.rstrip("/") + path, original, arrived)

        return forward

    async def _forward(self, url: str, original: Original, within_s: float) -> BackendReply | None:
        started_at, answered = self._clock.seconds(), False
        try:
            answer = await within(within_s, self._clock, self._exchange(url, original, within_s))
            answered = True
            return answer
        except WxgptError as error:
            # The query contains a signature, and some backends' URLs have secrets in the query too.
            log.warn(
                "forwarding to {url} failed: {why}; {otherwise}",
                id="forwarding-failed",
                otherwise=self._otherwise,
                url=url.split("?", maxsplit=1)[0],
                why=error,
                bounded_as=f"forwarding {url}",
            )
            return None
        finally:
            self._tell(self._clock.seconds() - started_at, answered=answered)

    async def _exchange(self, url: str, original: Original, within_s: float) -> BackendReply:
        target = f"{url}{'&' if '?' in url else '?'}{original.query.decode('latin-1')}"
        response = await self._http.post(
            target,
            data=original.body,
            headers={
                b"content-type": original.content_type,
                b"user-agent": original.user_agent,
            },
            unbuffered=True,
            allow_redirects=False,
        )
        body = await read_whole(
            response, self._clock, idle_timeout_s=within_s, limit=MAX_ANSWER_BYTES
        )
        if response.code != 200:
            raise BackendError(f"HTTP {response.code}")
        _require_reply(body, encrypted=b"encrypt_type=aes" in original.query)
        kind = response.headers.getRawHeaders(b"content-type", [b"text/plain"])[0]
        return BackendReply(kind, body)


def _require_reply(body: bytes, *, encrypted: bool) -> None:
    """Raise BackendError for a body that would make WeChat show its error text to the user."""
    reply = body.strip()
    if reply in (b"", b"success"):
        return
    if not reply.startswith((b"<xml", b"<?xml")):
        raise BackendError("its response is not a reply that WeChat accepts")
    if encrypted and b"<Encrypt" not in reply:
        raise BackendError("its reply is not encrypted, but the message was")


class BackendError(WxgptError):
    """the backend's response is not a reply that WeChat accepts"""
