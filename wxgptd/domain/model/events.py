"""Everything that can happen to one user, as a closed union.

Names are in the past tense and claim no more than is known: `ReplyOffered`, because we cannot know
whether WeChat showed the reply. `at` is in seconds since the epoch, set when the command was
created. Tags, versions and the order of fields on disk belong to `eventlog.codec`, not to this
module.
"""

from __future__ import annotations

from dataclasses import dataclass

from wxgptd.domain.model.account_facts import AccountFact as AccountFact  # noqa: PLC0414
from wxgptd.domain.model.account_facts import MessagesUnanswered as MessagesUnanswered  # noqa: PLC0414
from wxgptd.domain.model.account_facts import TailTrimmed as TailTrimmed  # noqa: PLC0414
from wxgptd.domain.model.account_facts import TimeoutBudgetSet as TimeoutBudgetSet  # noqa: PLC0414
from wxgptd.domain.model.page_events import AnswerRated as AnswerRated  # noqa: PLC0414
from wxgptd.domain.model.page_events import PageEvent as PageEvent  # noqa: PLC0414
from wxgptd.domain.model.page_events import PageOpened as PageOpened  # noqa: PLC0414
from wxgptd.domain.model.page_events import ReaderSeen as ReaderSeen  # noqa: PLC0414
from wxgptd.domain.model.page_events import ShareWithdrawn as ShareWithdrawn  # noqa: PLC0414
from wxgptd.domain.model.page_events import TurnsShared as TurnsShared  # noqa: PLC0414
from wxgptd.domain.model.page_events import WriterAdmitted as WriterAdmitted  # noqa: PLC0414
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
    """From now on, the user's messages go to `assistant`.

    The session lasts until `ttl_s` seconds pass without activity; see `session.Session`.
    """

    at: float
    session: SessionId
    assistant: AssistantName
    ttl_s: float


@dataclass(frozen=True, slots=True)
class SessionClosed:
    """The session accepts no more questions; answers already requested still arrive."""

    at: float
    session: SessionId
    reason: CloseReason


@dataclass(frozen=True, slots=True)
class SessionResumed:
    """The last session, which had expired, accepts questions again and keeps its earlier turns."""

    at: float
    session: SessionId
    ttl_s: float


@dataclass(frozen=True, slots=True)
class MessageHeld:
    """A message arrived after the session expired; no model sees it unless its sender resumes.

    `sealed` is its text, encrypted with a key that is deleted after a few minutes.
    """

    at: float
    delivery: DeliveryKey
    sealed: bytes = b""
    tapped: bool = False


@dataclass(frozen=True, slots=True)
class CommandGiven:
    """A chat command arrived for the first time; `command` is its canonical name.

    `clear` invalidates the links to the user's history, `clear session` (the same command in the
    chat) does not, and `clear unconfirmed` has not taken effect yet. `sent_at` and `tapped` are as
    in `QuestionAsked`.
    """

    at: float
    delivery: DeliveryKey
    command: str
    sent_at: int = 0
    tapped: bool = False


@dataclass(frozen=True, slots=True)
class QuestionAsked:
    """A question arrived for the first time. `delivery` identifies it from now on.

    `image` is the URL at which WeChat stores the picture that the question is about, if any.
    `sent_at` is when it was sent, by WeChat's clock in whole seconds since the epoch, or 0 if
    unknown; `delay_s` is how long it was in transit, judging by `sent_at`. `tapped` is as in
    `Text`. `retries` is the question of the same session that this one repeats, if any; `held`
    means that the text is that of a `MessageHeld`. `model` is the model that the user has chosen
    for this question and the session's later ones, empty for no change.
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
    model: str = ""


@dataclass(frozen=True, slots=True)
class ContinuationAsked:
    """The user asked for the part of the answer to `question` that had not been offered yet.

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
    """A message was not accepted as a question; `reason` names the notice."""

    at: float
    delivery: DeliveryKey
    reason: str
    about: str
    tapped: bool = False


@dataclass(frozen=True, slots=True)
class UserSubscribed:
    """The user followed the account; `scene` is that of the QR code, if there was one."""

    at: float
    delivery: DeliveryKey
    scene: str


@dataclass(frozen=True, slots=True)
class UserUnsubscribed:
    """The user unfollowed the account."""

    at: float
    delivery: DeliveryKey


@dataclass(frozen=True, slots=True)
class AttemptRepeated:
    """WeChat delivered a known message again, having accepted no reply to earlier attempts."""

    at: float
    delivery: DeliveryKey
    number: int


@dataclass(frozen=True, slots=True)
class AnswerCompleted:
    """The model finished. `model` is the name that its server reported.

    `withdrawn` means that the parts offered so far were thoughts, and are not in `text`.
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
    """The model did not finish; `text` is what it had written, `detail` is for the operator."""

    at: float
    question: DeliveryKey
    reason: FailureReason
    text: str
    detail: str
    retry_after_s: float = 0.0
    usage: AnswerUsage = AnswerUsage()


@dataclass(frozen=True, slots=True)
class AnswerRestarted:
    """A question that was unanswered when the daemon stopped is sent to the model again."""

    at: float
    question: DeliveryKey


@dataclass(frozen=True, slots=True)
class ReplyOffered:
    """The reply to `delivery` was settled: written to WeChat, which may or may not show it.

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
    """A link to the user's own history was issued."""

    at: float
    delivery: DeliveryKey
    link: LinkHash


@dataclass(frozen=True, slots=True)
class SessionTitled:
    """A model was asked for a title for the session, and proposed this one; empty if unusable.

    `model` is as in `AnswerCompleted`.
    """

    at: float
    session: SessionId
    title: str
    model: str
    usage: AnswerUsage = AnswerUsage()


@dataclass(frozen=True, slots=True)
class SessionDeleted:
    """The user deleted a past session, which is hidden from now on.

    What was said in it, from `opened_at` on, is removed from the log's files later.
    """

    at: float
    session: SessionId
    opened_at: float


@dataclass(frozen=True, slots=True)
class PushStarted:
    """A part of a late answer is about to be sent as a customer-service message.

    Its outcome is a separate event; if there is none (the daemon stopped), it is unknown.
    """

    at: float
    question: DeliveryKey
    start: int
    end: int
    style: Style
    rest: bool


@dataclass(frozen=True, slots=True)
class PushDelivered:
    """WeChat accepted the message."""

    at: float
    question: DeliveryKey


@dataclass(frozen=True, slots=True)
class PushFailed:
    """WeChat did not accept the message, or may not have; `code` is WeChat's error code, or 0."""

    at: float
    question: DeliveryKey
    code: int
    detail: str


@dataclass(frozen=True, slots=True)
class StandingChanged:
    """The operator changed the user's standing, permanently if `until` is 0."""

    at: float
    standing: Standing
    until: float


@dataclass(frozen=True, slots=True)
class UserNamed:
    """The operator gave the user a name, or took it away if empty."""

    at: float
    name: str


@dataclass(frozen=True, slots=True)
class UserErased:
    """The user's key is deleted after this, so their identity and messages become unreadable."""

    at: float


@dataclass(frozen=True, slots=True)
class ContextTrimmed:
    """For the first time in a session, older turns were left out of the prompt."""

    at: float
    question: DeliveryKey
    turns: int


@dataclass(frozen=True, slots=True)
class ModelChosen:
    """From now on the session's questions go to another of the assistant's models."""

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
    | PageEvent
    | SessionTitled
    | SessionDeleted
    | PushStarted
    | PushDelivered
    | PushFailed
    | StandingChanged
    | UserNamed
    | ContextTrimmed
    | ModelChosen
    | UserErased
    | TailTrimmed
    | TimeoutBudgetSet
    | MessagesUnanswered
)

Fact = (
    AnswerCompleted
    | AnswerFailed
    | AnswerRestarted
    | ContextTrimmed
    | PageOpened
    | ReaderSeen
    | AnswerRated
    | TurnsShared
    | ShareWithdrawn
    | SessionTitled
    | StandingChanged
    | UserNamed
    | AccountFact
)
"""Facts that the daemon observes or receives. `decide` only checks whether they still apply."""
