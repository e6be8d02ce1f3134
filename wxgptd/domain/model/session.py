"""A session and its questions: what was asked, how it ended, how much of the answer was offered.

Types that change with every event are NamedTuples, whose `_replace` is five times as fast as
`dataclasses.replace`: verifying a log folds all of its events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from wxgptd.domain.model.values import (
    AssistantName,
    CloseReason,
    DeliveryKey,
    FailureReason,
    Finish,
    LinkHash,
    Rating,
    SessionId,
    Style,
)


@dataclass(frozen=True, slots=True)
class Pending:
    """No answer has been recorded yet."""

    @property
    def text(self) -> str:
        """Empty: what a running model has written is not recorded."""
        return ""


class Completed(NamedTuple):
    """The model finished."""

    text: str
    finish: Finish
    model: str
    at: float
    took_s: float
    tokens: int = 0


class Failed(NamedTuple):
    """The model did not finish; `text` is what it had written by then."""

    reason: FailureReason
    text: str
    at: float
    retry_after_s: float
    tokens: int = 0


Answer = Pending | Completed | Failed


class Question(NamedTuple):
    """One question.

    `offered` is the number of characters of its answer, as `style` renders it, that were sent as
    replies, and `all_offered` whether that is all of it; `failure_told` whether the user was
    notified of a failure. `restarts` counts how often it was asked again, which invalidates
    positions in the answer. `late` means that the answer came after its window was settled;
    `pushed` whether its last push was delivered, None if there was none; `trimmed` whether to
    notify the user that older turns were left out. `retries` is the question that this one repeats,
    if any; `rating` is what the user thinks of the answer.
    """

    delivery: DeliveryKey
    text: str
    asked_at: float
    link: LinkHash
    image: str = ""
    answer: Answer = Pending()
    offered: int = 0
    all_offered: bool = False
    style: Style | None = None
    failure_told: bool = False
    restarts: int = 0
    page_opened: bool = False
    late: bool = False
    pushed: bool | None = None
    trimmed: bool = False
    retries: DeliveryKey = DeliveryKey("")
    rating: Rating = Rating.NONE

    def answered(self, answer: Answer, *, late: bool) -> Question:
        """Return the question with that answer."""
        return self._replace(answer=answer, late=late)

    def restarted(self) -> Question:
        """Return the question asked again.

        The new answer is a different text, none of which has been offered.
        """
        return self._replace(offered=0, all_offered=False, style=None, restarts=self.restarts + 1)

    def offered_to(self, end: int, style: Style, *, rest: bool) -> Question:
        """Return the question with its answer offered up to `end`.

        If no `rest` follows, a failure has been reported too.
        """
        tells_failure = isinstance(self.answer, Failed) and not rest
        return self._replace(
            offered=max(self.offered, end),
            all_offered=self.all_offered or not rest,
            style=style,
            failure_told=self.failure_told or tells_failure,
        )

    def seen(self) -> Question:
        """Return the question with its page opened."""
        return self._replace(page_opened=True)

    def has_more(self) -> bool:
        """Return whether part of the answer was not offered, or is still to come."""
        match self.answer:
            case Pending():
                return True
            case Failed() if not self.failure_told:
                return True
            case _:
                return not self.all_offered


NO_QUESTIONS: Mapping[DeliveryKey, Question] = {}


class Forgotten(NamedTuple):
    """What remains of a question whose session was deleted: it still counts towards the limits."""

    asked_at: float
    tokens: int


class Session(NamedTuple):
    """One session, open or closed. `last_at` is the time of the last activity.

    Activity is a message from the user, the end of an answer, or a look at an answer's page in a
    browser that may write. `model` is the model that the user has chosen, and `title` the title
    that a model has proposed, if any.
    """

    id: SessionId
    assistant: AssistantName
    opened_at: float
    last_at: float
    ttl_s: float
    questions: Mapping[DeliveryKey, Question] = NO_QUESTIONS
    closed: CloseReason | None = None
    closed_at: float = 0.0
    model: str = ""
    trimmed: bool = False
    title: str = ""

    @property
    def expires_at(self) -> float:
        """When the session ends without further activity, in seconds since the epoch."""
        return self.last_at + self.ttl_s

    def model_of(self, assistant: AssistantName) -> str:
        """Return the model of `assistant` that the user has chosen, or an empty string."""
        return self.model if assistant == self.assistant else ""

    def touched(self, at: float) -> Session:
        """Return the session after some activity at `at`."""
        return self._replace(last_at=max(self.last_at, at))

    def resumed(self, at: float, ttl_s: float) -> Session:
        """Return the session, which had expired, open again."""
        return self._replace(closed=None, closed_at=0.0, ttl_s=ttl_s).touched(at)

    @property
    def newest(self) -> Question | None:
        """The newest question."""
        return next(reversed(self.questions.values()), None)  # type: ignore[call-overload]

    def with_question(self, question: Question) -> Session:
        """Return the session with that question added or replaced."""
        return self._replace(questions={**self.questions, question.delivery: question})

    def closed_as(self, reason: CloseReason, at: float) -> Session:
        """Return the session, ended."""
        return self._replace(closed=reason, closed_at=at)
