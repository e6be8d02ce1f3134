"""The way between WeChat and the daemon: attempts are lost, late and repeated on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionRefusedError as Refused

from tests.simulation.node import Node
from tests.support.story import TOKEN, URL
from wxgpt.wechat import peer
from wxgptd.wechat import envelope

WINDOW_S = 15.0
ARRIVES = ("arrives", "repeated")
"""The ways of attempts that arrive at once, and whose replies do."""


@dataclass
class Message:
    """One message to WeChat, its attempts' ways, and every reply the daemon wrote to it."""

    user: str
    text: str
    key: str
    """WeChat's id of the message, which is also its key in the log."""
    at: float
    """When it was sent, in seconds of the world's clock, like all times here."""
    ways: list[str] = field(default_factory=list)
    replies: list[tuple[float, str]] = field(default_factory=list)
    """What the daemon answered, whether WeChat saw it or not; "" stands for `success`."""
    delivery: peer.Delivery | None = None
    failure: str = ""


class Network:
    """Delivers messages as WeChat does, over a network that the seed makes bad."""

    def __init__(self, node: Node, seed: int, tell: Callable[[str], None]) -> None:
        self._node = node
        self._seed = seed
        self._sent: Counter[str] = Counter()
        self._tell = tell
        self.messages: list[Message] = []
        self.p_arrives = 1.0
        """The probability that an attempt and its reply arrive without further delay."""

    def deliver(self, user: str, fields: dict[str, str], text: str) -> Message:
        """Send a message; its outcome is in the result, once there is one."""
        key = str(fields.get("MsgId", ""))
        message = Message(user, text, key, self._node.world_clock.seconds())
        self.messages.append(message)
        self._sent[user] += 1
        # Each message has its own source: a shorter plan leaves the others' ways as they are.
        way = _Way(self, message, Random(f"network {self._seed} {user} {self._sent[user]}"))
        hook = peer.Webhook(url=URL + "/wx/main", token=TOKEN)
        wechat = peer.Peer(hook, http=way, clock=self._node.world_clock, wall=self._node.wall)
        sent = Deferred.fromCoroutine(wechat.deliver(user, fields))
        sent.addCallbacks(
            lambda delivery: self._done(message, delivery),
            lambda failure: setattr(message, "failure", failure.getTraceback()),
        )
        return message

    def _done(self, message: Message, delivery: peer.Delivery) -> None:
        message.delivery = delivery
        results = " ".join(str(attempt.result) for attempt in delivery.attempts)
        shown = "FAULT" if delivery.fault else (delivery.shown or "success")
        self._tell(f"{message.user} is shown ({results}): {shown[:60]!r}")

    def send(self, message: Message, random: Random, args: Any, kwargs: Any) -> Deferred[Any]:
        """Carry one attempt."""
        if random.random() < self.p_arrives:
            way = "arrives"
        else:
            way = random.choice(["lost", "reply lost", "late", "repeated"])
        message.ways.append(way)
        if way == "lost":
            return Deferred(lambda _: None)
        if way == "late":
            result: Deferred[Any] = Deferred()
            delay = random.uniform(0.5, 7.0)
            self._node.world_clock.callLater(
                delay, self._arrive_late, message, args, kwargs, result
            )
            return result
        response = self._request(message, args, kwargs)
        if way == "repeated":
            self._node.world_clock.callLater(
                random.uniform(0.0, 2.0), self._again, message, args, kwargs
            )
        if way == "reply lost":
            response.addErrback(lambda _: None)
            return Deferred(lambda _: response.cancel())
        return response

    def _arrive_late(self, message: Message, args: Any, kwargs: Any, to: Deferred[Any]) -> None:
        response = self._request(message, args, kwargs)
        if to.called:  # WeChat hung up meanwhile, and the connection is gone
            response.addErrback(lambda _: None)
            response.cancel()
        else:
            response.addCallbacks(
                lambda value: None if to.called else to.callback(value),
                lambda failure: None if to.called else to.errback(failure),
            )

    def _again(self, message: Message, args: Any, kwargs: Any) -> None:
        response = self._request(message, args, kwargs)
        response.addErrback(lambda _: None)
        self._node.world_clock.callLater(5.0, response.cancel)

    def _request(self, message: Message, args: Any, kwargs: Any) -> Deferred[Any]:
        if not self._node.is_up:
            return fail(Refused())
        incarnation = self._node.hub
        response: Deferred[Any] = self._node.http.post(*args, **kwargs)

        async def read(arrived: Any) -> Any:
            body = await arrived.content()
            if incarnation.alive and arrived.code == 200:
                shown = "" if body in (b"", b"success") else envelope.parse(body).get("Content", "")
                message.replies.append((self._node.world_clock.seconds(), str(shown)))
            return _Read(arrived.code, body)

        response.addCallback(lambda arrived: Deferred.fromCoroutine(read(arrived)))
        return response


class _Read:
    """A response that has been read."""

    def __init__(self, code: int, body: bytes) -> None:
        self.code = code
        self._body = body

    async def content(self) -> bytes:
        return self._body


class _Way:
    """The HTTP client of WeChat for one message."""

    def __init__(self, network: Network, message: Message, random: Random) -> None:
        self._network = network
        self._message = message
        self._random = random

    def post(self, *args: Any, **kwargs: Any) -> Deferred[Any]:
        return self._network.send(self._message, self._random, args, kwargs)
