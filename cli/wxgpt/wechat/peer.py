"""Simulate WeChat: sign, encrypt and deliver messages, retry, and accept what WeChat accepts.

Each of the three attempts uses a new connection, the same body, timestamp and nonce, and a 5 s
timeout. As in WeChat, a reply, `success` or an empty body is final, and anything else is an error.
What WeChat does when a connection fails is not documented; here the next attempt starts when the
5 s are up.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlencode

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as LostPatience
from twisted.internet.error import ConnectionDone, ConnectionLost, DNSLookupError
from twisted.internet.error import ConnectionRefusedError as ConnectionRefused
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.client import ResponseNeverReceived

from wxgptd.domain.replies.texts import MAX_REPLY_BYTES
from wxgptd.untyped import Reactor, Wrapped
from wxgptd.wechat import crypto, envelope, signature
from wxgptd.wording import say

PATIENCE_S = 5.0
ATTEMPTS = 3

FAULT_TEXT = "该公众号提供的服务出现故障，请稍后再试"
"""What WeChat shows when an account's server does not answer."""


class Result(StrEnum):
    """The result of one attempt."""

    REPLY = "reply"
    NOTHING = "success"
    TIMEOUT = "timeout"
    CLOSED = "closed"
    REFUSED = "refused"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt; `began_s` is relative to the start of the first one."""

    number: int
    began_s: float
    took_s: float
    result: Result
    detail: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivered message, and what its sender sees: a text, nothing, or WeChat's fault text."""

    attempts: tuple[Attempt, ...]
    shown: str | None
    fault: bool

    @property
    def took_s(self) -> float:
        """How long the sender waited."""
        last = self.attempts[-1]
        return last.began_s + last.took_s


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where messages are delivered, and the secrets shared with the server there."""

    url: str
    token: str
    app_id: str = ""
    key: crypto.Key | None = None
    to: str = "gh_wxgpt_local"


Message = Mapping[str, str] | str
"""The fields of a message, or its complete XML."""


class Peer:
    """WeChat, as seen by one account's server."""

    def __init__(
        self,
        webhook: Webhook,
        *,
        http: Wrapped,
        clock: IReactorTime,
        wall: Callable[[], float],
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._webhook = webhook
        self._http = http
        self._clock = clock
        self._wall = wall
        self._patience_s = patience_s

    async def deliver(
        self,
        user: str,
        message: Message,
        on_attempt: Callable[[Attempt], None] = lambda _: None,
        attempts: int = ATTEMPTS,
    ) -> Delivery:
        """Deliver one message from `user`, retrying as WeChat would."""
        url, body = self.request(user, message)
        began = self._clock.seconds()
        done: list[Attempt] = []
        for number in range(1, attempts + 1):
            attempt = await self.attempt(url, body, user, number, began)
            done.append(attempt)
            on_attempt(attempt)
            match attempt.result:
                case Result.REPLY:
                    return Delivery(tuple(done), attempt.detail, fault=False)
                case Result.NOTHING:
                    return Delivery(tuple(done), None, fault=False)
                case Result.CLOSED | Result.REFUSED if number < attempts:
                    remaining_s = self._patience_s - attempt.took_s
                    await deferLater(self._clock, max(0.0, remaining_s))
                case _:
                    pass
        return Delivery(tuple(done), FAULT_TEXT, fault=True)

    def request(self, user: str, message: Message) -> tuple[str, bytes]:
        """Return the URL and the body that all attempts to deliver a message share."""
        webhook, now = self._webhook, int(self._wall())
        if not isinstance(message, str):
            head = {"ToUserName": webhook.to, "FromUserName": user, "CreateTime": str(now)}
            message = _xml({**head, **message})
        timestamp, nonce = str(now), str(secrets.randbelow(9 * 10**8) + 10**8)
        query = {
            "signature": signature.sign(webhook.token, timestamp, nonce),
            "timestamp": timestamp,
            "nonce": nonce,
            "openid": user,
        }
        if webhook.key is not None:
            encrypted = webhook.key.encrypt(message, webhook.app_id)
            query["encrypt_type"] = "aes"
            query["msg_signature"] = signature.sign(webhook.token, timestamp, nonce, encrypted)
            message = _xml({"ToUserName": webhook.to, "Encrypt": encrypted})
        separator = "&" if "?" in webhook.url else "?"
        return f"{webhook.url}{separator}{urlencode(query)}", message.encode()

    async def attempt(self, url: str, body: bytes, user: str, number: int, began: float) -> Attempt:
        """Make one attempt."""
        start = self._clock.seconds()
        exchange = Deferred.fromCoroutine(self._exchange(url, body))
        try:
            # However the client reports the cancellation, its cause is the timeout.
            status, answer = await exchange.addTimeout(
                self._patience_s, self._clock, lambda *_: Failure(LostPatience())
            )
        except LostPatience:
            result = Result.TIMEOUT
            detail: str = say("no reply, hung up")
        except CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 (anything that can go wrong with a connection)
            cause = _cause(error)
            if isinstance(cause, CancelledError):
                raise CancelledError from None  # ^C, however the client wraps it
            refused = isinstance(cause, ConnectionRefused)
            result, detail = Result.REFUSED if refused else Result.CLOSED, _why(cause)
        else:
            result, detail = self._judge(status, answer, user)
        took_s = self._clock.seconds() - start
        return Attempt(number, start - began, took_s, result, detail)

    async def _exchange(self, url: str, body: bytes) -> tuple[int, bytes]:
        headers = {
            "User-Agent": "Mozilla/4.0",
            "Content-Type": "text/xml",
            "Connection": "close",
        }
        response = await self._http.post(url, data=body, headers=headers, allow_redirects=False)
        return response.code, await response.content()

    def _judge(self, status: int, body: bytes, user: str) -> tuple[Result, str]:
        if status != 200:
            text = body.decode("utf-8", "replace").strip()
            return Result.ERROR, f"HTTP {status} {text}"[:200].strip()
        if body in (b"", b"success"):
            return Result.NOTHING, ""
        try:
            xml = self._open(body)
            fields = envelope.parse(xml)
        except (envelope.Malformed, crypto.Undecipherable, signature.Forged) as error:
            return Result.ERROR, say("invalid reply: {error}", error=error)
        if (fields.get("ToUserName"), fields.get("FromUserName")) != (user, self._webhook.to):
            return Result.ERROR, say("the reply is addressed to another user or account")
        if fields.get("MsgType") != "text":
            return Result.REPLY, _described(fields.get("MsgType", ""), xml)
        content = fields.get("Content", "")
        size = len(content.encode())
        if not content or size > MAX_REPLY_BYTES:
            what = say(
                "the reply has {size} bytes, WeChat accepts 1 to {most}",
                size=size,
                most=MAX_REPLY_BYTES,
            )
            return Result.ERROR, what
        return Result.REPLY, content

    def _open(self, body: bytes) -> bytes:
        webhook = self._webhook
        if webhook.key is None:
            return body
        fields = envelope.parse(body)
        encrypted = fields.get("Encrypt", "")
        expected = signature.sign(
            webhook.token, fields.get("TimeStamp", ""), fields.get("Nonce", ""), encrypted
        )
        if fields.get("MsgSignature") != expected:
            raise signature.Forged("its signature does not match")
        return webhook.key.decrypt(encrypted, webhook.app_id)


def _described(kind: str, xml: bytes) -> str:
    """Describe a non-text reply: its kind, and its titles or media ids."""
    details = re.findall(
        r"<(?:Title|MediaId)>(?:<!\[CDATA\[)?(.*?)(?:\]\]>)?</", xml.decode("utf-8", "replace")
    )
    return " ".join([f"[{kind}]", *details])


def _xml(fields: Mapping[str, str]) -> str:
    def element(name: str, text: str) -> str:
        plain = text.isdigit() and name in ("CreateTime", "MsgId")
        return f"<{name}>{text if plain else f'<![CDATA[{envelope.cdata(text)}]]>'}</{name}>"

    return f"<xml>{''.join(element(name, text) for name, text in fields.items())}</xml>"


def _cause(error: BaseException) -> BaseException:
    """Return the error that Twisted's client wrapped."""
    reasons = getattr(error, "reasons", None)
    return reasons[0].value if reasons else error


def _why(error: BaseException) -> str:
    if isinstance(error, ConnectionDone | ConnectionLost | ResponseNeverReceived):
        return say("the connection was closed without a reply")
    if isinstance(error, ConnectionRefused):
        return say("connection refused: nothing is listening there")
    message = " ".join(str(error).split())
    if "certificate verify failed" in message:
        return say("its certificate is not valid: expired, self-signed, or for another name")
    if isinstance(error, DNSLookupError):
        return say("no such host: check the name")
    return message or type(error).__name__


def real_client(reactor: Reactor) -> Wrapped:
    """Return an HTTP client that opens a new connection for each request."""
    from treq.client import HTTPClient
    from twisted.web.client import Agent

    return HTTPClient(Agent(reactor, connectTimeout=PATIENCE_S))
