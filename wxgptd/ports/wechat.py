"""The outcomes of WeChat's attempts, and the port that answers them."""

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


Outcome = Say | Present | Forward | Ignore | Silence


class Conversations(Protocol):
    """Answers messages."""

    def attempt(
        self, user: User, delivery: DeliveryKey, content: Content, sent_at: int
    ) -> Deferred[Outcome]:
        """Answer one attempt to deliver a message.

        `sent_at` is when WeChat first sent the message, by its own clock: seconds since the epoch,
        or 0.

        Cancel the Deferred when the peer hangs up: this ends the wait of this attempt, and nothing
        else.
        """
        ...
