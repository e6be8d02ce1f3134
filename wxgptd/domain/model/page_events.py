"""What happens on the pages behind links."""

from __future__ import annotations

from dataclasses import dataclass

from wxgptd.domain.model.values import DeliveryKey, Rating


@dataclass(frozen=True, slots=True)
class PageOpened:
    """The page of the answer to `question` was opened for the first time, by anyone with a link.

    `extends` means that this counted as activity in its session, as it did in earlier versions.
    """

    at: float
    question: DeliveryKey
    extends: bool = False


@dataclass(frozen=True, slots=True)
class WriterAdmitted:
    """A browser may write on the user's pages, in exchange for the write secret of a link.

    The link leads to the answer to `question`, or to the history if it is empty. `cookie` is the
    digest of the browser's cookie; the secret was issued at `issued_at`.
    """

    at: float
    question: DeliveryKey
    cookie: bytes
    issued_at: float


@dataclass(frozen=True, slots=True)
class ReaderSeen:
    """A browser that may write had the page of the answer to `question` open."""

    at: float
    question: DeliveryKey


@dataclass(frozen=True, slots=True)
class AnswerRated:
    """The user rated the answer to `question` on its page, and may have said why.

    A later rating replaces an earlier one.
    """

    at: float
    question: DeliveryKey
    rating: Rating
    words: str = ""


@dataclass(frozen=True, slots=True)
class TurnsShared:
    """The user made a link that shows the turns with these `questions` to anyone who has it.

    The link's token is derived from `delivery`, which begins with `SHARE_PREFIX`.
    """

    at: float
    delivery: DeliveryKey
    questions: tuple[DeliveryKey, ...]


@dataclass(frozen=True, slots=True)
class ShareWithdrawn:
    """The user withdrew a link to shared turns."""

    at: float
    delivery: DeliveryKey


PageEvent = PageOpened | WriterAdmitted | ReaderSeen | AnswerRated | TurnsShared | ShareWithdrawn
