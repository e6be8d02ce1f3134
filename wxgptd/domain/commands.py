"""What the daemon may ask `decide` for. Each carries its own clock reading and random values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wxgptd.domain.values import (
    AssistantName,
    CloseReason,
    Content,
    DeliveryKey,
    FailureReason,
    Finish,
    LinkHash,
    Policy,
    SessionId,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receive:
    """WeChat delivers a message: for the first time or again, which only the state knows.

    `fresh_session` and `link` are used if a session opens or a link is due. `assistants` maps
    each chat command to its assistant; the first is the one that `/clear` falls back to.
    """

    at: float
    delivery: DeliveryKey
    content: Content
    policy: Policy
    assistants: Mapping[str, AssistantName]
    fresh_session: SessionId
    link: LinkHash


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferReply:
    """Settle the window of `delivery` with what there is.

    `written` is the whole of what a running model has produced so far; `room` is how many bytes
    of UTF-8 the slice of an answer may take.
    """

    at: float
    delivery: DeliveryKey
    written: str
    room: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CompleteAnswer:
    """The model finished its answer."""

    at: float
    question: DeliveryKey
    text: str
    finish: Finish
    model: str
    prompt_tokens: int
    completion_tokens: int
    first_text_s: float
    took_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FailAnswer:
    """The model gave up, or was given up on."""

    at: float
    question: DeliveryKey
    reason: FailureReason
    text: str
    detail: str
    retry_after_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartAnswer:
    """Ask again what a stop of the daemon left without an answer."""

    at: float
    question: DeliveryKey


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpireSession:
    """Close the session if its time is over."""

    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseSession:
    """Close the session, whatever its age."""

    at: float
    session: SessionId
    reason: CloseReason


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenPage:
    """The page of an answer was asked for."""

    at: float
    question: DeliveryKey


Command = (
    Receive
    | OfferReply
    | CompleteAnswer
    | FailAnswer
    | RestartAnswer
    | ExpireSession
    | CloseSession
    | OpenPage
)
