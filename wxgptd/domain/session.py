"""A session and its questions: what was asked, what came of it, what of it was offered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from wxgptd.domain.values import (
    AssistantName,
    CloseReason,
    DeliveryKey,
    FailureReason,
    Finish,
    LinkHash,
    SessionId,
)


@dataclass(frozen=True, slots=True)
class Pending:
    """No answer is on record yet."""

    @property
    def text(self) -> str:
        """Nothing: what a running model has written is not on record."""
        return ""


@dataclass(frozen=True, slots=True)
class Completed:
    """The model finished."""

    text: str
    finish: Finish
    model: str
    at: float
    took_s: float


@dataclass(frozen=True, slots=True)
class Failed:
    """The model did not finish; `text` is as far as it came."""

    reason: FailureReason
    text: str
    at: float
    retry_after_s: float


Answer = Pending | Completed | Failed


@dataclass(frozen=True, slots=True)
class Question:
    """One question.

    `offered` is how many characters of its answer went out as replies, `failure_told` whether the
    user has read that it failed. `restarts` counts how often it has been asked again: positions
    in an answer hold for one count only.
    """

    delivery: DeliveryKey
    text: str
    asked_at: float
    link: LinkHash
    answer: Answer = Pending()
    offered: int = 0
    failure_told: bool = False
    restarts: int = 0
    page_opened: bool = False

    def answered(self, answer: Answer) -> Question:
        """Return the question with that answer."""
        return replace(self, answer=answer)

    def restarted(self) -> Question:
        """Return the question asked again.

        The new answer is another text: what was offered of the former one is no part of it.
        """
        return replace(self, offered=0, restarts=self.restarts + 1)

    def offered_to(self, end: int) -> Question:
        """Return the question with its answer offered up to `end`, and its failure told there."""
        told = isinstance(self.answer, Failed) and end >= len(self.answer.text)
        return replace(self, offered=max(self.offered, end), failure_told=self.failure_told or told)

    def seen(self) -> Question:
        """Return the question with its page opened."""
        return replace(self, page_opened=True)

    def has_more(self) -> bool:
        """Tell whether something of the answer has not been offered, or is still to come."""
        match self.answer:
            case Pending():
                return True
            case Failed() if not self.failure_told:
                return True
            case Failed(text=text) | Completed(text=text):
                return bool(text[self.offered :].strip())


@dataclass(frozen=True, slots=True)
class Session:
    """One session, open or closed. `last_at` is when its user was last heard of."""

    id: SessionId
    assistant: AssistantName
    opened_at: float
    last_at: float
    ttl_s: float
    questions: Mapping[DeliveryKey, Question] = field(default_factory=dict)
    closed: CloseReason | None = None
    closed_at: float = 0.0

    @property
    def expires_at(self) -> float:
        """When the session ends if its user says nothing more, in seconds since the epoch."""
        return self.last_at + self.ttl_s

    def unanswered(self) -> int:
        """Count the questions without an answer: the running one, and those behind it."""
        return sum(isinstance(q.answer, Pending) for q in self.questions.values())

    def touched(self, at: float) -> Session:
        """Return the session after a message of its user's at `at`."""
        return replace(self, last_at=max(self.last_at, at))

    def with_question(self, question: Question) -> Session:
        """Return the session with that question added or replaced."""
        return replace(self, questions={**self.questions, question.delivery: question})

    def closed_as(self, reason: CloseReason, at: float) -> Session:
        """Return the session, ended."""
        return replace(self, closed=reason, closed_at=at)
