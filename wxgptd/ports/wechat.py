"""What comes of one of WeChat's attempts, and whoever answers them."""

from __future__ import annotations

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
    """Answer the attempt with `success`: it is for others, or for nobody."""


@dataclass(frozen=True, slots=True)
class Silence:
    """Close the connection without a byte, so that WeChat asks again."""


@dataclass(frozen=True, slots=True)
class Present:
    """Answer the attempt with what an operator's rule has for it."""

    reply: RuleReply


@dataclass(frozen=True, slots=True)
class Forward:
    """Hand the attempt on to the server at `url`, as WeChat sent it, and answer as that does.

    It arrived at `arrived`, by the monotonic clock.
    """

    url: str
    arrived: float


Outcome = Say | Present | Forward | Ignore | Silence


class Conversations(Protocol):
    """Whoever answers messages."""

    def attempt(
        self, user: User, delivery: DeliveryKey, content: Content, sent_at: int
    ) -> Deferred[Outcome]:
        """Answer one attempt to deliver a message.

        `sent_at` is when WeChat sent it first, by its own clock: seconds since the epoch, or 0.

        Cancel the Deferred when the peer hangs up: that ends the waiting of this attempt, and
        nothing else.
        """
        ...
