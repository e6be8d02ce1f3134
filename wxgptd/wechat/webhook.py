"""The webhook: check the signature, read the message, answer the attempt or stay silent.

It knows nothing of how a request arrives: `resource` passes on those that twisted.web has read,
and `wxgptd.process.connection` those that arrived whole.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import NamedTuple, Protocol

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import BAD_REQUEST, FORBIDDEN, OK

from wxgptd.domain.intake.rules import RuleReply, TextReply
from wxgptd.domain.model.values import AccountName, DeliveryKey, User
from wxgptd.errors import WxgptError
from wxgptd.ports.wechat import (
    Conversations,
    Forward,
    Ignore,
    Outcome,
    PassOn,
    Present,
    Say,
    Silence,
)
from wxgptd.untyped import Result
from wxgptd.wechat import crypto, envelope, query, signature
from wxgptd.wechat.forwarding import BackendReply, Original
from wxgptd.wechat.signature import Freshness

log = Logger()

SUCCESS = b"success"
"""The body that acknowledges a message without replying to it."""

PLAIN_TEXT = b"text/plain; charset=utf-8"

REMEMBERED_SIGNATURES = 50_000

MAX_KEY_BYTES = 64
"""The longest key that BLAKE2b accepts."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """The secrets an account shares with WeChat. Without keys, messages arrive in plain text."""

    account: AccountName
    token: str
    app_id: str
    keys: Sequence[crypto.Key]

    def __repr__(self) -> str:
        return "Credentials(***)"


ForwardMessage = Callable[[str, Original, float], Deferred[BackendReply | None]]
"""Forwards a message to the backend at a URL, given its arrival time by the monotonic clock.

Fires within the time that WeChat allows, with the response to pass on, if any.
"""


class Onward(NamedTuple):
    """Where messages go that are answered elsewhere.

    `forward` forwards a message to another backend, and `pass_on` to the same account's webhook on
    another node, given that node's URL.
    """

    forward: ForwardMessage
    pass_on: ForwardMessage


class _SeenSignatures:
    """The message that each signature came with.

    In plain mode a signature covers the query but not the body, so anyone who has seen one could
    send another message with it. The same message again is a retry by WeChat. Most senders are
    strangers, and some were erased, so messages are remembered as keyed digests, not OpenIDs.
    """

    def __init__(self, remembered: int, secret: bytes) -> None:
        self._remembered = remembered
        self._key = secret[:MAX_KEY_BYTES]
        self._messages: OrderedDict[str, bytes] = OrderedDict()

    def belongs(self, signed: str, user: User, delivery: DeliveryKey) -> bool:
        identity = f"{user.account}\0{user.openid}\0{delivery}".encode()
        message = blake2b(identity, key=self._key, digest_size=16).digest()
        first = self._messages.setdefault(signed, message)
        if len(self._messages) > self._remembered:
            self._messages.popitem(last=False)
        return first == message


class Peer(Protocol):
    """The sender of a request, who is waiting for one response."""

    def respond(self, status: int, content_type: bytes, body: bytes) -> None:
        """Send the response."""
        ...

    def hang_up(self) -> None:
        """Close the connection without a response."""
        ...

    def on_lost(self, lost: Callable[[], None]) -> None:
        """Call `lost` if the peer hangs up before there is a response."""
        ...


class Webhook:
    """One account's webhook.

    `secret` hides what delivery keys would
    otherwise reveal. `rejected` is called for each rejected request with the account and the kind
    of fault.
    """

    def __init__(
        self,
        credentials: Credentials,
        conversations: Conversations,
        *,
        freshness: Freshness,
        onward: Onward,
        secret: bytes,
        rejected: Callable[[AccountName, str], None],
    ) -> None:
        self._secret = secret
        self._rejected = rejected
        self.onward = onward
        self._account = credentials.account
        self._credentials = credentials
        self._conversations = conversations
        self._freshness = freshness
        self._seen = _SeenSignatures(REMEMBERED_SIGNATURES, secret)

    def adopt(self, credentials: Credentials, onward: Onward) -> None:
        """Use these from now on; a request in progress keeps the credentials it came with."""
        self._credentials = credentials
        self.onward = onward

    def verify(self, asked: bytes, agent: str, peer: Peer) -> None:
        """Answer WeChat's check of the URL with the echostr, if the signature is valid."""
        args = query.parameters(asked)
        try:
            signature.check(self._credentials.token, args, self._freshness)
            echo = signature.single(args, b"echostr")
        except signature.Forged as error:
            self._reject(peer, FORBIDDEN, "signature", str(error))
            return
        caller = "wxgpt doctor" if agent == "wxgpt doctor" else "WeChat"
        log.info(
            "{account}: {who} checked the URL", id="url-checked", account=self._account, who=caller
        )
        peer.respond(OK, PLAIN_TEXT, echo)

    def deliver(self, original: Original, peer: Peer) -> None:
        """Answer one of WeChat's attempts to deliver a message."""
        encrypted = bool(self._credentials.keys)
        try:
            fields, key, signed = self._open(original)
            user = User(self._account, envelope.sender(fields))
            source = envelope.recipient(fields)
            delivery = envelope.delivery_key(fields, self._secret)
            content = envelope.content(fields)
            sent_at = envelope.sent_at(fields)
        except signature.Forged as error:
            self._reject(peer, FORBIDDEN, "signature", str(error))
            return
        except crypto.Undecipherable as error:
            self._reject(peer, FORBIDDEN, "encryption", str(error), reveal=False)
            return
        except envelope.Malformed as error:
            # In safe mode this was decrypted, so none of it may leak.
            self._reject(peer, BAD_REQUEST, "malformed", str(error), reveal=not encrypted)
            return
        if not self._seen.belongs(signed, user, delivery):
            why = "the signature has already been used for another message"
            self._reject(peer, FORBIDDEN, "replayed", why)
            return
        received = _Received(original, user.openid, source, key, self._credentials)
        exchange = _Exchange(self, peer, received)
        # An exception must not escape: an error status would use up all of WeChat's attempts.
        exchange.follow(
            maybeDeferred(
                self._conversations.attempt,
                user,
                delivery,
                content,
                sent_at,
                partial(self._relay, original),
            )
        )

    def _open(self, original: Original) -> tuple[envelope.Fields, crypto.Key | None, str]:
        """Return the message, the key that it was encrypted with (if any), and its signature."""
        credentials, body = self._credentials, original.body
        args = query.parameters(original.query)
        if not credentials.keys:
            signed = signature.check(credentials.token, args, self._freshness)
            fields = envelope.parse(body)
            if "Encrypt" in fields and "MsgType" not in fields:
                raise envelope.Malformed(
                    "the message is encrypted (安全模式), but this account has no aes_key: copy "
                    "EncodingAESKey from WeChat's backend, or choose 明文模式 there"
                )
            return fields, None, signed
        if args.get(b"encrypt_type") != [b"aes"]:
            raise signature.Forged("the message is not encrypted, but this account has an aes_key")
        sealed = envelope.parse(body).get("Encrypt", "")
        signed = signature.check(credentials.token, args, self._freshness, encrypted=sealed)
        for key in credentials.keys:
            try:
                return envelope.parse(key.decrypt(sealed, credentials.app_id)), key, signed
            except crypto.Undecipherable:
                continue
            except envelope.Malformed:
                break  # the error would reveal something about the plaintext
        raise crypto.Undecipherable

    def _relay(self, original: Original, url: str, arrived: float) -> Deferred[PassOn | None]:
        """Pass a message on to the same account's webhook on another node."""
        relayed = self.onward.pass_on(url, original, arrived)
        return relayed.addCallback(
            lambda reply: PassOn(reply.content_type, reply.body) if reply is not None else None
        )

    def _reject(self, peer: Peer, status: int, kind: str, why: str, *, reveal: bool = True) -> None:
        self._rejected(self._account, kind)
        log.warn(
            "{account}: rejected a request ({status}): {why}",
            id="request-rejected",
            account=self._account,
            status=status,
            why=why,
            bounded_as=f"rejected {self._account} {kind}",
        )
        peer.respond(status, PLAIN_TEXT, f"{why}\n".encode() if reveal else b"")

    def _seal(self, reply: str, key: crypto.Key, credentials: Credentials) -> str:
        """Return `reply` encrypted with the credentials that the message came with."""
        timestamp = str(int(self._freshness.wall()))
        nonce = timestamp[::-1]
        sealed = key.encrypt(reply, credentials.app_id)
        signed = signature.sign(credentials.token, timestamp, nonce, sealed)
        return envelope.encrypted_reply(sealed, signed, timestamp, nonce)

    def reply(self, received: _Received, said: RuleReply) -> bytes:
        """Return the response body that carries `said`, in reply to `received`."""
        _, sender, recipient, key, credentials = received
        xml = envelope.reply(sender, recipient, self._freshness.wall(), said)
        return (self._seal(xml, key, credentials) if key is not None else xml).encode()


class _Received(NamedTuple):
    """A message and the credentials that it came with, even if a reload has replaced them."""

    original: Original
    sender: str
    recipient: str
    key: crypto.Key | None
    credentials: Credentials


class _Exchange:
    """One request waiting for the outcome of its attempt."""

    __slots__ = ("_attempt", "_peer", "_received", "_webhook")

    def __init__(self, webhook: Webhook, peer: Peer, received: _Received) -> None:
        self._webhook = webhook
        self._peer = peer
        self._received = received
        self._attempt: Deferred[Result] | None = None

    def follow(self, attempt: Deferred[Outcome]) -> None:
        """Answer the request when `attempt` fires; cancel `attempt` when the peer hangs up."""
        self._attempt = attempt
        attempt.addCallbacks(self._answer, self._fail)
        if self._attempt is not None:
            self._peer.on_lost(self._hung_up)

    def _hung_up(self) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.cancel()

    def _answer(self, outcome: Outcome) -> None:
        if self._attempt is None:
            return  # too late, the peer has hung up
        if isinstance(outcome, Forward):
            original = self._received.original
            self._attempt = self._webhook.onward.forward(outcome.url, original, outcome.arrived)
            self._attempt.addCallbacks(self._pass_on, self._fail)
            return
        self._attempt = None
        match outcome:
            case Say(text=text):
                self._present(TextReply(text))
            case Present(reply=reply):
                self._present(reply)
            case Ignore():
                self._peer.respond(OK, b"text/plain", SUCCESS)
            case PassOn(content_type=content_type, body=body):
                self._peer.respond(OK, content_type, body)
            case Silence():
                self._peer.hang_up()

    def _present(self, reply: RuleReply) -> None:
        body = self._webhook.reply(self._received, reply)
        self._peer.respond(OK, b"application/xml; charset=utf-8", body)

    def _pass_on(self, answered: BackendReply | None) -> None:
        if self._attempt is None:
            return  # too late, the peer has hung up
        self._attempt = None
        if answered is None:
            self._peer.respond(OK, b"text/plain", SUCCESS)
        else:
            self._peer.respond(OK, answered.content_type, answered.body)

    def _fail(self, failure: Failure) -> None:
        # An error status would use up all of WeChat's attempts within a second; silence gives
        # the next one a chance.
        if failure.check(WxgptError):
            log.error(
                "failed to answer an attempt: {error}",
                id="attempt-failed",
                error=failure.value,
                bounded_as="attempt failed",
            )
        elif failure.check(CancelledError) is None:
            log.failure(
                "failed to answer an attempt",
                failure,
                id="attempt-failed",
                bounded_as="attempt failed",
            )
        if self._attempt is not None:
            self._attempt = None
            self._peer.hang_up()
