"""The vocabulary of events, commands and state.

A user is one follower of one account: OpenIDs are unique only within an account (WeChat's "UnionID
mechanism" document), so the pair is the identity and the consistency boundary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, NewType

AccountName = NewType("AccountName", str)
OpenId = NewType("OpenId", str)
SessionId = NewType("SessionId", str)
NO_SESSION = SessionId("")
AssistantName = NewType("AssistantName", str)

DeliveryKey = NewType("DeliveryKey", str)
"""Identifies one message of one user, however often WeChat delivers it. A question is identified by
the key of the delivery that asked it."""

EVENT_PREFIX = "event:"
"""Prefix of the delivery keys of events; those of messages never have it."""

PAGE_PREFIX = "page:"
"""Prefix of the delivery keys of questions that were asked on a page."""

SHARE_PREFIX = "share:"
"""Prefix of the delivery keys from which links to shared turns are made."""

LinkHash = NewType("LinkHash", bytes)
"""SHA-256 of the token in a link. The token itself is never stored."""


class User(NamedTuple):
    """One follower of one account: the aggregate."""

    account: AccountName
    openid: OpenId


LOG_ITSELF = User(AccountName(""), OpenId(""))
"""The pseudo-user under which events about the log itself are recorded."""


def account_itself(account: AccountName) -> User:
    """Return the pseudo-user that account-level events are recorded under; its OpenID is empty."""
    return User(account, OpenId(""))


def is_follower(user: User) -> bool:
    """Return whether `user` is a person, and not an account or the log itself."""
    return bool(user.openid)


class CloseReason(StrEnum):
    """Why a session ended."""

    STOPPED = "stopped"
    CLEARED = "cleared"
    EXPIRED = "expired"
    REPLACED = "replaced"
    UNSUBSCRIBED = "unsubscribed"
    OPERATOR = "operator"


class FailureReason(StrEnum):
    """Why a question has no (complete) answer. Each has a text for the user in the catalogue."""

    MISCONFIGURED = "misconfigured"
    QUOTA = "quota"
    BUSY = "busy"
    TOO_LONG = "too_long"
    CONTENT_FILTER = "refused"
    UNAVAILABLE = "unavailable"
    INTERRUPTED = "interrupted"
    STOPPED = "stopped"
    PICTURE = "picture"
    MODERATED = "moderated"
    EMPTY = "empty"
    ONLY_THOUGHTS = "only_thoughts"
    ONLY_TOOLS = "only_tools"
    ONLY_MEDIA = "only_media"


class Finish(StrEnum):
    """How a completed answer ended."""

    STOP = "stop"
    LENGTH = "length"


class ReplyKind(StrEnum):
    """The content of an offered reply."""

    NOTICE = "notice"
    ANSWER = "answer"
    PARTIAL = "partial"
    LINK = "link"
    FAILURE = "failure"


class Notice(StrEnum):
    """The fixed texts that answer a command or decline a message, by name in the catalogue."""

    SESSION_OPENED = "session_opened"
    SESSION_ALREADY_OPEN = "session_already_open"
    SESSION_STOPPED = "session_stopped"
    SESSION_CLEARED = "session_cleared"
    NO_SESSION = "no_session"
    HISTORY = "history"
    HELP = "help"
    TOO_MANY_WAITING = "too_many_waiting"
    QUESTION_TOO_LONG = "question_too_long"
    NOT_UNDERSTOOD = "not_understood"
    WELCOME = "welcome"
    ALL_SAID = "all_said"
    CONFIRM_CLEAR = "confirm_clear"
    MODERATED = "moderated"
    BLOCKED = "blocked"
    NOT_ALLOWED = "not_allowed"
    TOO_MANY_MESSAGES = "too_many_messages"
    TOO_MANY_QUESTIONS = "too_many_questions"
    TOO_MANY_TOKENS = "too_many_tokens"
    BUDGET_SPENT = "budget_spent"
    ANSWER_STOPPED = "answer_stopped"
    NO_SUCH_COMMAND = "no_such_command"
    NOTHING_TO_RETRY = "nothing_to_retry"
    EXPIRED_HINT = "expired_hint"
    SESSION_RESUMED = "session_resumed"
    ONLY_MODEL = "only_model"
    MODELS = "models"
    MODEL_CHOSEN = "model_chosen"
    NO_SUCH_MODEL = "no_such_model"


class Style(StrEnum):
    """How the chat shows a model's Markdown."""

    PLAIN = "plain"
    MARKDOWN = "markdown"


class Standing(StrEnum):
    """What an operator has decided about a user."""

    DEFAULT = "default"
    ALLOWED = "allowed"
    BLOCKED = "blocked"


class AfterExpiry(StrEnum):
    """What to do with a message whose sender's session expired recently."""

    RESUME = "resume"
    HINT = "hint"
    IGNORE = "ignore"


class Reply(NamedTuple):
    """The reply of a settled window. Each late attempt renders the same text again.

    `start` and `end` are positions in the answer to `question` as `style` renders it, in
    characters; `rest` means that more follows. `text` holds the written part of an answer that was
    still growing, because it is recorded nowhere else. `reminder` is another question, whose answer
    has not been seen yet.
    """

    kind: ReplyKind
    notice: str = ""
    about: str = ""
    question: DeliveryKey = DeliveryKey("")
    start: int = 0
    end: int = 0
    text: str = ""
    style: Style = Style.PLAIN
    rest: bool = False
    reminder: DeliveryKey = DeliveryKey("")


@dataclass(frozen=True, slots=True)
class Text:
    """A text message: typed, recognised from speech, or derived from a location or a link.

    `tapped` means that the text was sent by tapping a link, not typed.
    """

    text: str
    kind: str = "text"
    tapped: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture; `url` is where WeChat stores it."""

    url: str


@dataclass(frozen=True, slots=True)
class Unsupported:
    """A message of a kind that is never sent to a model."""

    kind: str


@dataclass(frozen=True, slots=True)
class Subscribe:
    """The user follows the account."""

    scene: str = ""


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """The user unfollowed the account."""


@dataclass(frozen=True, slots=True)
class Ignorable:
    """An event that needs no response, including kinds that WeChat has yet to introduce."""

    name: str
    key: str = ""


Content = Text | Picture | Unsupported | Subscribe | Unsubscribe | Ignorable


class Rating(StrEnum):
    """What a user thinks of an answer; `NONE` takes a rating back."""

    NONE = ""
    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one user may ask for; 0 means no limit. Users who are `ALLOWED` have no limits."""

    messages_per_minute: int = 0
    questions_per_day: int = 0
    tokens_per_day: int = 0
    only_allowed: bool = False


class AnswerUsage(NamedTuple):
    """Which assistant answered a question, and what all calls for it used.

    `assistant` is the last one that was called, which may differ from the session's. Token counts
    are as the server reported them or, if `estimated`, estimates. `prompt_bytes` is the length of
    the prompt in UTF-8, or 0 if it cannot be used to calibrate. `cost` is in the operator's
    currency.
    """

    assistant: AssistantName = AssistantName("")
    prompt_tokens: int = 0
    completion_tokens: int = 0
    estimated: bool = False
    prompt_bytes: int = 0
    cost: float = 0.0

    @property
    def tokens(self) -> int:
        """Tokens of the prompt and of the answer."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class Usage:
    """How many questions a user has asked in a period, and how many tokens the answers used."""

    questions: int = 0
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings that `decide` follows. Commands carry them in from the configuration.

    If `open_with` is not empty, any text outside a session opens one with that assistant. `sighted`
    lists the assistants whose models accept pictures; `models` lists those that a user may choose
    from, for assistants with more than one. `clear_ends_history` means that `/clear` also
    invalidates the links to the user's history. `after_expiry` applies to a session that expired
    less than `resume_within_s` ago.
    """

    session_ttl_s: float = 300.0
    max_waiting: int = 2
    max_question_bytes: int = 16_384
    settled_for_s: float = 60.0
    link_ttl_s: float = 7 * 86_400.0
    welcome: bool = False
    open_with: AssistantName = AssistantName("")
    sighted: frozenset[AssistantName] = frozenset()
    models: Mapping[AssistantName, tuple[str, ...]] = field(default_factory=dict)
    style: Style = Style.PLAIN
    limits: Limits = Limits()
    clear_ends_history: bool = True
    resume_within_s: float = 86_400.0
    after_expiry: AfterExpiry = AfterExpiry.IGNORE
