"""A user's past sessions: like a tuple, but what changes one of them does not copy all of them.

A user may have had tens of thousands of sessions. They are in blocks, which versions share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import overload

from wxgptd.domain.model.session import Question, Session
from wxgptd.domain.model.values import DeliveryKey, SessionId

BLOCK = 32
"""How many sessions are in a block; only the last may have fewer."""


class _Block:
    """Some sessions, oldest first, and where their questions are."""

    __slots__ = ("_places", "sessions")

    def __init__(self, sessions: tuple[Session, ...]) -> None:
        self.sessions = sessions
        self._places: dict[DeliveryKey, int] | None = None

    def place(self, question: DeliveryKey) -> int | None:
        """Return the index of the session with that question, or None."""
        if self._places is None:
            self._places = {
                name: at for at, session in enumerate(self.sessions) for name in session.questions
            }
        return self._places.get(question)

    def replaced(self, at: int, session: Session) -> _Block:
        """Return the block with another session at index `at`."""
        return _Block((*self.sessions[:at], session, *self.sessions[at + 1 :]))


class Past(Sequence[Session]):
    """Past sessions, oldest first. Immutable."""

    __slots__ = ("_blocks",)

    def __init__(self, sessions: Iterable[Session] = ()) -> None:
        all_sessions = tuple(sessions)
        self._blocks = tuple(
            _Block(all_sessions[at : at + BLOCK]) for at in range(0, len(all_sessions), BLOCK)
        )

    @classmethod
    def _of(cls, blocks: tuple[_Block, ...]) -> Past:
        past = cls()
        past._blocks = blocks
        return past

    def appended(self, session: Session) -> Past:
        """Return these sessions and one more."""
        if not self._blocks or len(self._blocks[-1].sessions) == BLOCK:
            return Past._of((*self._blocks, _Block((session,))))
        return Past._of((*self._blocks[:-1], _Block((*self._blocks[-1].sessions, session))))

    def without_last(self) -> Past:
        """Return these sessions without the newest."""
        rest = self._blocks[-1].sessions[:-1]
        return Past._of((*self._blocks[:-1], _Block(rest)) if rest else self._blocks[:-1])

    def without(self, name: SessionId) -> Past:
        """Return these sessions without the one with that identifier."""
        return Past(session for session in self if session.id != name)

    def holder(self, question: DeliveryKey) -> Session | None:
        """Return the session with that question, or None."""
        for block in reversed(self._blocks):
            at = block.place(question)
            if at is not None:
                return block.sessions[at]
        return None

    def with_holder(self, question: DeliveryKey, change: Callable[[Session], Session]) -> Past:
        """Return these sessions with the one that has `question` changed; the same if none has."""
        for number in range(len(self._blocks) - 1, -1, -1):
            block = self._blocks[number]
            at = block.place(question)
            if at is not None:
                changed = block.replaced(at, change(block.sessions[at]))
                return Past._of((*self._blocks[:number], changed, *self._blocks[number + 1 :]))
        return self

    def with_question(self, question: Question) -> Past:
        """Return these sessions with `question` replaced in its session."""
        return self.with_holder(question.delivery, lambda session: session.with_question(question))

    def __len__(self) -> int:
        if not self._blocks:
            return 0
        return (len(self._blocks) - 1) * BLOCK + len(self._blocks[-1].sessions)

    def __iter__(self) -> Iterator[Session]:
        return chain.from_iterable(block.sessions for block in self._blocks)

    def __reversed__(self) -> Iterator[Session]:
        return chain.from_iterable(reversed(block.sessions) for block in reversed(self._blocks))

    @overload
    def __getitem__(self, index: int) -> Session: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Session, ...]: ...

    def __getitem__(self, index: int | slice) -> Session | tuple[Session, ...]:
        if isinstance(index, slice):
            return tuple(self)[index]
        at = index + len(self) if index < 0 else index
        if not 0 <= at < len(self):
            raise IndexError(index)
        return self._blocks[at // BLOCK].sessions[at % BLOCK]

    def last(self) -> Session | None:
        """Return the newest session, or None."""
        return self._blocks[-1].sessions[-1] if self._blocks else None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Past) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Past({tuple(self)!r})"


NO_SESSIONS = Past()
