"""The pages that links lead to, and the port that provides them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from twisted.internet.defer import Deferred


class Progress(StrEnum):
    """The progress of an answer, as shown on its page."""

    WAITING = "waiting"
    THINKING = "thinking"
    WRITING = "writing"
    DONE = "done"
    CUT_SHORT = "cut_short"
    INTERRUPTED = "interrupted"
    FAILED = "failed"

    @property
    def final(self) -> bool:
        """Whether no more text will come."""
        return self not in (Progress.WAITING, Progress.THINKING, Progress.WRITING)


@dataclass(frozen=True, slots=True)
class AnswerView:
    """An answer in its current state. `failure` is the sentence to show if it has `FAILED`.

    `generation` changes when the answer starts over, which invalidates positions in the earlier
    text. `thoughts` holds the model's thoughts, if readers may see them; they are not recorded, and
    are gone once the answer is complete. The question was asked `waited_s` seconds ago. `author` is
    the assistant's title, with the model if the operator shows it.
    """

    question: str
    asked_at: float
    progress: Progress
    text: str
    failure: str
    generation: int
    thoughts: str
    waited_s: float = field(compare=False)
    author: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """One question on a history page, and its outcome."""

    asked_at: float
    question: str
    answer: str
    progress: Progress
    failure: str


@dataclass(frozen=True, slots=True)
class Dialogue:
    """One session on a history page: its assistant's title, and a label for how it ended.

    `title` is what it is about, and `count` the number of its turns, of which `turns` may hold only
    some. `can_be_shared` is false if the links to its answers no longer work.
    """

    session: str
    title: str
    opened_at: float
    assistant: str
    ended: str
    turns: tuple[Turn, ...]
    count: int
    can_be_shared: bool = True


@dataclass(frozen=True, slots=True)
class HistoryView:
    """One page of a user's sessions, newest first; `pages` is the number of pages.

    `turns` is the number of questions on all pages. Sessions that ended before `since` are no
    longer kept; 0 means that all are kept.
    """

    dialogues: tuple[Dialogue, ...]
    page: int
    pages: int
    turns: int
    since: float = 0.0


class History(Protocol):
    """A snapshot of one user's history, which another thread may read."""

    def page(self, number: int) -> HistoryView:
        """Return page `number` of the list of sessions, counted from 1.

        Sessions have their turns, until the page is long enough; the others have none.
        """
        ...

    def found(self, number: int, words: Sequence[str]) -> HistoryView:
        """Return page `number` of the turns that contain all `words`, ignoring case."""
        ...

    def session(self, number: int, session: str) -> HistoryView:
        """Return page `number` of one session's turns, the newest on the first page."""
        ...

    def whole(self, session: str = "") -> Sequence[Dialogue]:
        """Return the complete history, or one session, oldest first."""
        ...


class PageViews(Protocol):
    """Provides the pages that links lead to. An expired link and an unknown one look the same."""

    def owner(self, token: str) -> str:
        """Return an identifier of the link's owner, or "" if the link is not valid.

        A follower has many links: a limit on one link applies to all links of its owner together.
        """
        ...

    def answer(self, token: str) -> AnswerView | None:
        """Return the answer behind `token` in its current state, or None."""
        ...

    def opened(self, token: str) -> None:
        """Record that the page behind `token` was requested."""
        ...

    def changed(self, token: str) -> Deferred[None]:
        """Fire when the answer behind `token` has changed."""
        ...

    def durable(self) -> Deferred[None]:
        """Fire when everything returned so far is durable; until then it must not be shown."""
        ...

    def history(self, token: str) -> History | None:
        """Return the history behind `token`, or None."""
        ...

    def confirmation(self, token: str) -> str:
        """Return the value that a form behind `token` must submit, so that none can be forged."""
        ...

    def erase(self, token: str) -> Deferred[bool]:
        """Erase the user whose history is behind `token`.

        Fires with whether there was anything to delete, once it is deleted.
        """
        ...
