"""Everything that can have happened to one user, as a closed union.

Past tense, and no more than is known: `ReplyOffered`, since nobody can tell whether WeChat
showed it. `at` is seconds since the epoch, stamped when the command was made. Tags, versions
and the order of fields on disk belong to `eventlog.codec`, not to this module.
"""

from __future__ import annotations

from dataclasses import dataclass

from wxgptd.domain.model.values import (
    AnswerUsage,
    AssistantName,
    CloseReason,
    DeliveryKey,
    FailureReason,
    Finish,
    LinkHash,
    ReplyKind,
    SessionId,
    Standing,
    Style,
)


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """From here on the user's messages go to `assistant`.

    It lasts until `ttl_s` pass without activity; see `session.Session`.
    """

    at: float
    session: SessionId
    assistant: AssistantName
    ttl_s: float


@dataclass(frozen=True, slots=True)
class SessionClosed:
    """The session takes no more questions; the answers it has asked for still come."""

    at: float
    session: SessionId
    reason: CloseReason


@dataclass(frozen=True, slots=True)
class SessionResumed:
    """The last session, which had expired, takes questions again, with all that was said in it."""

    at: float
    session: SessionId
    ttl_s: float


@dataclass(frozen=True, slots=True)
class MessageHeld:
    """A message came after the session's expiry. It is not sent to a model unless its sender asks.

    `sealed` has the words, encrypted with a key that is deleted after a few minutes.
    """

    at: float
    delivery: DeliveryKey
    sealed: bytes = b""
    tapped: bool = False


@dataclass(frozen=True, slots=True)
class CommandGiven:
    """A chat command arrived for the first time; `command` is its canonical name.

    `clear` ends the links to the user's history, `clear session` (which is the same in the chat)
    does not, and `clear unconfirmed` has not done anything yet. `sent_at` and `tapped` are as in
    `QuestionAsked`.
    """

    at: float
    delivery: DeliveryKey
    command: str
    sent_at: int = 0
    tapped: bool = False


@dataclass(frozen=True, slots=True)
class QuestionAsked:
    """A question arrived for the first time. It is named by `delivery` from now on.

    `image` is where WeChat keeps the picture that it is about, if it is about one. `sent_at` is
    when it was sent by WeChat's clock, in whole seconds since the epoch, or 0 if that is not known;
    `delay_s` is how long it had been on its way, as far as that tells. `tapped` is as in `Text`.
    `retries` is the question of the same session that this one repeats, if it does; `held` tells
    that these are the words of a `MessageHeld`.
    """

    at: float
    session: SessionId
    delivery: DeliveryKey
    text: str
    link: LinkHash
    image: str = ""
    sent_at: int = 0
    delay_s: float = 0.0
    tapped: bool = False
    retries: DeliveryKey = DeliveryKey("")
    held: bool = False


@dataclass(frozen=True, slots=True)
class ContinuationAsked:
    """The user asked for what has not been offered yet of the answer to `question`.

    `sent_at`, `delay_s` and `tapped` are as in `QuestionAsked`.
    """

    at: float
    delivery: DeliveryKey
    question: DeliveryKey
    sent_at: int = 0
    delay_s: float = 0.0
    tapped: bool = False


@dataclass(frozen=True, slots=True)
class MessageDeclined:
    """A message of an open session was not taken as a question; `reason` names the notice."""

    at: float
    delivery: DeliveryKey
    reason: str
    about: str
    tapped: bool = False


@dataclass(frozen=True, slots=True)
class UserSubscribed:
    """The user follows the account; `scene` is that of the QR code, where there was one."""

    at: float
    delivery: DeliveryKey
    scene: str


@dataclass(frozen=True, slots=True)
class UserUnsubscribed:
    """The user left the account."""

    at: float
    delivery: DeliveryKey


@dataclass(frozen=True, slots=True)
class AttemptRepeated:
    """WeChat delivered a known message again: earlier attempts went without a reply it took."""

    at: float
    delivery: DeliveryKey
    number: int


@dataclass(frozen=True, slots=True)
class AnswerCompleted:
    """The model finished. `model` is the name its server gave it.

    `withdrawn` tells that the parts offered so far were thoughts, and are not in `text`.
    """

    at: float
    question: DeliveryKey
    text: str
    finish: Finish
    model: str
    first_text_s: float
    took_s: float
    usage: AnswerUsage
    withdrawn: bool = False


@dataclass(frozen=True, slots=True)
class AnswerFailed:
    """The model did not finish; `text` is as far as it came, `detail` is for the operator."""

    at: float
    question: DeliveryKey
    reason: FailureReason
    text: str
    detail: str
    retry_after_s: float = 0.0
    usage: AnswerUsage = AnswerUsage()


@dataclass(frozen=True, slots=True)
class AnswerRestarted:
    """A question that a stop of the daemon left without its answer is asked again."""

    at: float
    question: DeliveryKey


@dataclass(frozen=True, slots=True)
class ReplyOffered:
    """A reply was settled on for `delivery`: written to WeChat, which may or may not show it.

    See `values.Reply`. `rest` is None in logs from before it was recorded.
    """

    at: float
    delivery: DeliveryKey
    kind: ReplyKind
    notice: str
    about: str
    question: DeliveryKey
    start: int
    end: int
    text: str
    style: Style
    rest: bool | None
    reminder: DeliveryKey


@dataclass(frozen=True, slots=True)
class HistoryLinkIssued:
    """A link to the user's own history was made."""

    at: float
    delivery: DeliveryKey
    link: LinkHash


@dataclass(frozen=True, slots=True)
class PageOpened:
    """Somebody who has the link looked at the answer to `question` for the first time."""

    at: float
    question: DeliveryKey


@dataclass(frozen=True, slots=True)
class PushStarted:
    """A part of a late answer is about to be sent as a customer-service message.

    What came of it is another event; without one (the daemon stopped in between), nobody knows.
    """

    at: float
    question: DeliveryKey
    start: int
    end: int
    style: Style
    rest: bool


@dataclass(frozen=True, slots=True)
class PushDelivered:
    """WeChat took the message."""

    at: float
    question: DeliveryKey


@dataclass(frozen=True, slots=True)
class PushFailed:
    """WeChat did not take the message, or nobody knows; `code` is WeChat's, or 0."""

    at: float
    question: DeliveryKey
    code: int
    detail: str


@dataclass(frozen=True, slots=True)
class StandingChanged:
    """The operator blocked or allowed the user, until a time or (0) for good."""

    at: float
    standing: Standing
    until: float


@dataclass(frozen=True, slots=True)
class UserErased:
    """The user's key is deleted behind this: nobody can read any more who it was and said what."""

    at: float


@dataclass(frozen=True, slots=True)
class TailTrimmed:
    """A start has cut off `size` bytes at `offset` of a segment: what a crash left of a write.

    No event in them was ever acknowledged. It is nobody's event but the log's own.
    """

    at: float
    segment: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class TimeoutBudgetSet:
    """From here on the account lets WeChat time out `size` times in five minutes at most.

    `timeouts` is how many had led to a suspension that was just over, 0 if there was none;
    `ceiling` is that number as of the last one. Recorded for the account, not for a user.
    """

    at: float
    size: int
    ceiling: int
    timeouts: int


@dataclass(frozen=True, slots=True)
class MessagesUnanswered:
    """`count` messages have gone unanswered since the last of these events: no session, no rule.

    Recorded for the account, not for a user, and without a word of theirs.
    """

    at: float
    count: int


@dataclass(frozen=True, slots=True)
class ContextTrimmed:
    """For the first time in a session, older turns were left out of what the model is told."""

    at: float
    question: DeliveryKey
    turns: int


@dataclass(frozen=True, slots=True)
class ModelChosen:
    """From here on the session's questions go to another one of the assistant's models."""

    at: float
    session: SessionId
    delivery: DeliveryKey
    model: str
    tapped: bool = False


Event = (
    SessionOpened
    | SessionClosed
    | SessionResumed
    | MessageHeld
    | CommandGiven
    | QuestionAsked
    | ContinuationAsked
    | MessageDeclined
    | UserSubscribed
    | UserUnsubscribed
    | AttemptRepeated
    | AnswerCompleted
    | AnswerFailed
    | AnswerRestarted
    | ReplyOffered
    | HistoryLinkIssued
    | PageOpened
    | PushStarted
    | PushDelivered
    | PushFailed
    | StandingChanged
    | ContextTrimmed
    | ModelChosen
    | UserErased
    | TailTrimmed
    | TimeoutBudgetSet
    | MessagesUnanswered
)

AccountFact = TailTrimmed | TimeoutBudgetSet | MessagesUnanswered
"""What is recorded for an account, or for the log itself. No user's state can contradict it."""

Fact = (
    AnswerCompleted
    | AnswerFailed
    | AnswerRestarted
    | ContextTrimmed
    | PageOpened
    | StandingChanged
    | AccountFact
)
"""What the daemon finds or is given. `decide` only checks whether it still counts."""
