"""The commands that `decide` accepts. Each carries its own clock reading and random values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from wxgptd.domain.intake.routing import Message
from wxgptd.domain.model.events import Fact
from wxgptd.domain.model.values import (
    PAGE_PREFIX,
    AnswerUsage,
    AssistantName,
    CloseReason,
    DeliveryKey,
    LinkHash,
    Policy,
    SessionId,
    Usage,
)


class PartialAnswer(NamedTuple):
    """A running answer as written so far, in case it is stopped; see `events.AnswerFailed`."""

    question: DeliveryKey
    text: str
    usage: AnswerUsage


@dataclass(frozen=True, slots=True, kw_only=True)
class Receive:
    """WeChat delivers a message; only the state shows whether this is a retry.

    `fresh_session` and `link` are used if a session opens or a link is needed. Daily limits follow
    the daemon's local day; `moderated` means that the word list matched. `spent` holds the
    assistants that have used up their daily budget. `used` is the user's usage today before being
    erased. `sent_at` is the message's CreateTime, or 0; `delay_s` is how long it was in transit
    when it first arrived. `written` holds the user's running answers so far. `sealed` is the
    encrypted text, in case the message is held back, and `held` the text of the message held back
    earlier.
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
    written: tuple[PartialAnswer, ...] = ()
    sealed: bytes = b""
    held: str = ""

    @property
    def delivery(self) -> DeliveryKey:
        """The key of the message."""
        return self.message.delivery

    @property
    def tapped(self) -> bool:
        """Whether the message was sent by tapping a link."""
        return self.message.tapped

    @property
    def is_on_page(self) -> bool:
        """Whether the message comes from a page, not from WeChat."""
        return self.delivery.startswith(PAGE_PREFIX)


@dataclass(frozen=True, slots=True, kw_only=True)
class AskOnPage:
    """A question arrives from a page of `session`.

    `message` has a delivery key that begins with `PAGE_PREFIX`, and its content is the question's
    text. `retries` is the question that it repeats, if any, and `image` that question's picture;
    it is recorded only within one session. `model` is
    the model that the user chose for it, if any.
    """

    message: Receive
    session: SessionId
    retries: DeliveryKey = DeliveryKey("")
    image: str = ""
    model: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteSession:
    """Delete a session of the past, or the open one if nothing in it is being answered."""

    at: float
    session: SessionId


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmitWriter:
    """Exchange the write secret of a link, issued at `issued_at`, for a cookie.

    `question` and `cookie` are as in `events.WriterAdmitted`.
    """

    at: float
    question: DeliveryKey
    cookie: bytes
    issued_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferReply:
    """Settle the window of `delivery` with what is available.

    `written` is everything that a running model has produced so far; `room` is the maximum size of
    the slice of an answer, in bytes of UTF-8; `pushes` means that the rest will be pushed;
    `in_line` means that the question is still waiting for a slot.
    """

    at: float
    delivery: DeliveryKey
    written: str
    room: int
    policy: Policy
    pushes: bool = False
    in_line: bool = False


@dataclass(frozen=True, slots=True)
class RecordFact:
    """Record `fact`, unless it comes too late or is already recorded."""

    fact: Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpireSession:
    """Close the session if it has expired."""

    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseSession:
    """Close the session, regardless of its age; `written` holds its running answers so far."""

    at: float
    session: SessionId
    reason: CloseReason
    written: tuple[PartialAnswer, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StartPush:
    """Send the next part of a late answer, if any is left and WeChat still allows it."""

    at: float
    question: DeliveryKey
    room: int
    policy: Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlePush:
    """Record the outcome of a push: `code` and `detail` say why it failed, if it did."""

    at: float
    question: DeliveryKey
    delivered: bool
    code: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseUser:
    """Erase the user and everything they said; `reason` is why any open session ends."""

    at: float
    reason: CloseReason


Command = (
    Receive
    | AskOnPage
    | DeleteSession
    | AdmitWriter
    | OfferReply
    | RecordFact
    | ExpireSession
    | CloseSession
    | StartPush
    | SettlePush
    | EraseUser
)
