"""The outcomes of WeChat's attempts, and the port that answers them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred

from wxgptd.domain.intake.rules import RuleReply
from wxgptd.domain.model.values import Content, DeliveryKey, User


@dataclass(frozen=True, slots=True)
class Say:
    """Answer the attempt with this text."""

    text: str


@dataclass(frozen=True, slots=True)
class Ignore:
    """Answer the attempt with `success`: the message is not for the daemon."""


@dataclass(frozen=True, slots=True)
class Silence:
    """Close the connection without sending anything, so that WeChat retries."""


@dataclass(frozen=True, slots=True)
class Present:
    """Answer the attempt with the reply of an operator's rule."""

    reply: RuleReply


@dataclass(frozen=True, slots=True)
class Forward:
    """Forward the attempt unchanged to the server at `url`, and return that server's answer.

    The attempt arrived at `arrived`, on the monotonic clock.
    """

    url: str
    arrived: float


@dataclass(frozen=True, slots=True)
class PassOn:
    """Answer the attempt with the response of another server."""

    content_type: bytes
    body: bytes


Outcome = Say | Present | Forward | PassOn | Ignore | Silence

Relay = Callable[[str, float], Deferred[PassOn | None]]
"""Sends an attempt, which arrived at that monotonic time, to the node at a URL.

Fires with its response, or with None if there is none.
"""


class Conversations(Protocol):
    """Answers messages."""

    def attempt(
        self,
        user: User,
        delivery: DeliveryKey,
        content: Content,
        sent_at: int,
        relay: Relay | None = None,
    ) -> Deferred[Outcome]:
        """Answer one attempt to deliver a message.

        `sent_at` is when WeChat first sent the message, by its own clock: seconds since the epoch,
        or 0. `relay` passes it to the node that leads, if that is another one.

        Cancel the Deferred when the peer hangs up: this ends the wait of this attempt, and nothing
        else.
        """
        ...
