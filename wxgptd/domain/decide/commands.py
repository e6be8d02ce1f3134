"""What the daemon may ask `decide` for. Each carries its own clock reading and random values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from wxgptd.domain.intake.routing import Message
from wxgptd.domain.model.events import Fact
from wxgptd.domain.model.values import (
    AnswerUsage,
    AssistantName,
    CloseReason,
    DeliveryKey,
    LinkHash,
    Policy,
    SessionId,
    Usage,
)


class Written(NamedTuple):
    """What a running answer has come to, in case it is stopped: as in `events.AnswerFailed`."""

    question: DeliveryKey
    text: str
    usage: AnswerUsage


@dataclass(frozen=True, slots=True, kw_only=True)
class Receive:
    """WeChat delivers a message: for the first time or again, which only the state knows.

    `fresh_session` and `link` are used if a session opens or a link is due. The day is the
    operator's, which limits count by; `moderated` tells whether the words list objects. `spent` are
    the assistants whose budget for the day is used up. `used` is what the user had asked for today
    before being erased. `sent_at` is the message's CreateTime, or 0; `delay_s` is how long it was
    on its way when it arrived for the first time. `written` is what the user's running answers have
    come to. `sealed` are the words, should the message be held back, and `held` those of the one
    that was.
    """

    at: float
    message: Message
    policy: Policy
    fresh_session: SessionId
    link: LinkHash
    day_began_at: float
    day_ends_at: float
    moderated: bool = False
    spent: frozenset[AssistantName] = frozenset()
    used: Usage = Usage()
    sent_at: int = 0
    delay_s: float = 0.0
    written: tuple[Written, ...] = ()
    sealed: bytes = b""
    held: str = ""

    @property
    def delivery(self) -> DeliveryKey:
        """Which message it is."""
        return self.message.delivery

    @property
    def tapped(self) -> bool:
        """Whether it is the words of a link that was tapped."""
        return self.message.tapped


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferReply:
    """Settle the window of `delivery` with what there is.

    `written` is the whole of what a running model has produced so far; `room` is how many bytes
    of UTF-8 the slice of an answer may take; `pushes` tells whether the rest will be pushed;
    `in_line` that the model was not asked yet, for want of a place.
    """

    at: float
    delivery: DeliveryKey
    written: str
    room: int
    policy: Policy
    pushes: bool = False
    in_line: bool = False


@dataclass(frozen=True, slots=True)
class Note:
    """Put `fact` on record, unless it comes too late or is on record already."""

    fact: Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpireSession:
    """Close the session if its time is over."""

    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseSession:
    """Close the session, whatever its age; `written` is what its running answers have come to."""

    at: float
    session: SessionId
    reason: CloseReason
    written: tuple[Written, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StartPush:
    """Send the next part of a late answer, if there is one and WeChat still allows it."""

    at: float
    question: DeliveryKey
    room: int
    policy: Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlePush:
    """Note what came of a push: `code` and `detail` say why it failed, if it did."""

    at: float
    question: DeliveryKey
    delivered: bool
    code: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseUser:
    """Forget the user, and everything that was said; `reason` ends what is open."""

    at: float
    reason: CloseReason


Command = (
    Receive | OfferReply | Note | ExpireSession | CloseSession | StartPush | SettlePush | EraseUser
)
