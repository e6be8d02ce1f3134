"""Clean up what a model writes so that it can be shown. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

from wxgptd.domain.text import bidi
from wxgptd.llm.pictures import PictureFilter
from wxgptd.llm.thoughts import ThoughtSplitter

_FORBIDDEN = re.compile(f"[^\t\n\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|{bidi.CONTROLS}")
"""Characters that XML cannot carry, and controls that would reorder the text around them."""


class Joiner:
    """Joins characters that were split between pieces, and drops those that cannot be shown."""

    def __init__(self) -> None:
        self._surrogate = ""

    def feed(self, piece: str) -> str:
        """Return the text that can now be shown, given the next `piece`."""
        return _FORBIDDEN.sub("", self.join(piece))

    def join(self, piece: str) -> str:
        """Return the held-back text plus `piece`, holding back a trailing half of a character."""
        piece = self._surrogate + piece
        self._surrogate = ""
        if piece and "\ud800" <= piece[-1] <= "\udbff":
            piece, self._surrogate = piece[:-1], piece[-1]
        if any("\ud800" <= char <= "\udfff" for char in piece):
            piece = piece.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return piece


class Cleaner:
    """Cleans up an answer, piece by piece, so that it can be shown.

    Removes thoughts, pictures, characters that cannot be shown, and leading white space; joins
    characters that were split between pieces.

    Thoughts go to `on_thought` as they arrive; for `on_withdrawn`, see `ThoughtSplitter`.
    """

    def __init__(
        self,
        on_thought: Callable[[str], None] = lambda _: None,
        on_withdrawn: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_thought = on_thought
        self._on_withdrawn = on_withdrawn
        self._joiner = Joiner()
        self._parting = ThoughtSplitter(self._forward_thought, self._withdraw)
        self._pictures = PictureFilter()
        self._started = False

    @property
    def thought(self) -> bool:
        """Whether the model's text contained thoughts."""
        return self._parting.thought

    @property
    def holds_text(self) -> bool:
        """Whether part of the answer is held back because it may be a marker or a picture."""
        return self._parting.holds_answer or self._pictures.holds

    def feed(self, piece: str) -> str:
        """Return the text that can now be shown, given the next `piece`."""
        text = self._parting.feed(self._joiner.join(piece))  # may call _withdraw
        return self._show(self._pictures.feed(text))

    def close(self) -> str:
        """Return the held-back text that turned out to be plain text."""
        text = self._parting.close()
        return self._show(self._pictures.feed(text) + self._pictures.close())

    def release(self) -> None:
        """Drop the callbacks, which keep the question and its pictures alive.

        The cleaner and its splitter refer to each other, so only the garbage collector frees them.
        """
        self._on_thought = lambda _: None
        self._on_withdrawn = lambda: None

    def _forward_thought(self, piece: str) -> None:
        text = _FORBIDDEN.sub("", piece)
        if text:
            self._on_thought(text)

    def _withdraw(self) -> None:
        self._started = False
        self._pictures = PictureFilter()
        self._on_withdrawn()

    def _show(self, text: str) -> str:
        text = _FORBIDDEN.sub("", text)
        if not self._started:
            text = text.lstrip()
            self._started = bool(text)
        return text
