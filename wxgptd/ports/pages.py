"""What stands behind a link, and whoever knows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from twisted.internet.defer import Deferred


class Progress(StrEnum):
    """How far an answer is, for whoever looks at its page."""

    WAITING = "waiting"
    THINKING = "thinking"
    WRITING = "writing"
    DONE = "done"
    CUT_SHORT = "cut_short"
    INTERRUPTED = "interrupted"
    FAILED = "failed"

    @property
    def final(self) -> bool:
        """Whether nothing more will come."""
        return self not in (Progress.WAITING, Progress.THINKING, Progress.WRITING)


@dataclass(frozen=True, slots=True)
class AnswerView:
    """An answer as it stands. `failure` is the sentence to show if it is `FAILED`.

    `generation` changes when the answer begins anew, so that positions in the former text mean
    nothing any more. `thoughts` is what the model thought, where readers may see that; it is not
    on record, and gone once the answer is. It has been asked `waited_s` seconds ago.
    """

    question: str
    asked_at: float
    progress: Progress
    text: str
    failure: str
    generation: int
    thoughts: str
    waited_s: float = field(compare=False)


@dataclass(frozen=True, slots=True)
class Turn:
    """One question of a history page and what came of it."""

    asked_at: float
    question: str
    answer: str
    progress: Progress
    failure: str


@dataclass(frozen=True, slots=True)
class Dialogue:
    """One session of a history page: its assistant's title, and the label of how it ended."""

    opened_at: float
    assistant: str
    ended: str
    turns: tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class HistoryView:
    """One page of a user's sessions, newest first; `pages` is how many there are.

    `turns` is how many questions are on all of them. Sessions that ended before `since` are not
    kept any more; 0 is that all are.
    """

    dialogues: tuple[Dialogue, ...]
    page: int
    pages: int
    turns: int
    since: float = 0.0


class History(Protocol):
    """One user's history as it is at one moment. Another thread may read it."""

    def page(self, number: int, words: Sequence[str] = ()) -> HistoryView:
        """Return one page of it, counted from 1.

        Of the turns that hold all of `words`, in whatever case, if there are any.
        """
        ...

    def whole(self) -> Sequence[Dialogue]:
        """Return all of it, oldest first."""
        ...


class PageViews(Protocol):
    """Whoever knows what stands behind a link. A dead link and an unknown one look the same."""

    def owner(self, token: str) -> str:
        """Return what tells whose link it is from those of others, or "" if it leads nowhere.

        A follower has many links: what is bounded for a link is bounded for all of one owner's.
        """
        ...

    def answer(self, token: str) -> AnswerView | None:
        """Return the answer behind `token` as it stands, or None."""
        ...

    def opened(self, token: str) -> None:
        """Note that the page behind `token` was asked for."""
        ...

    def changed(self, token: str) -> Deferred[None]:
        """Fire when the answer behind `token` is not what it was."""
        ...

    def durable(self) -> Deferred[None]:
        """Fire when all that was told so far is on record: before then nobody may be shown it."""
        ...

    def history(self, token: str) -> History | None:
        """Return the history behind `token`, or None."""
        ...

    def confirmation(self, token: str) -> str:
        """Return what a form behind `token` has to bring, so that no other page can send it."""
        ...

    def erase(self, token: str) -> Deferred[bool]:
        """Erase the user whose history is behind `token`.

        Fires with whether there is one, once nothing is known of them any more.
        """
        ...
