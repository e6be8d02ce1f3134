"""Make what a model writes fit to be shown. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

from wxgptd.domain import bidi

_FORBIDDEN = re.compile(f"[^\t\n\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|{bidi.CONTROLS}")
"""What XML cannot carry, and what would turn the text around it about."""

MAX_THOUGHT_CHARS = 200_000


class Cleaner:
    """Makes what a model writes fit to be shown, piece by piece.

    Leaves out `<think>...</think>` and what neither XML nor a reader can take; joins the halves
    of characters that were split over pieces; drops white space before the first word.

    What it takes for thoughts goes to `on_thought` as it comes.

    Thoughts come first, so one that the answer begins with and that never ends is dropped. A mark
    further on that is never closed was a word of the answer, and is given back at the end; one
    behind a backtick is a word at once.
    """

    _OPEN, _CLOSE = "<think>", "</think>"

    def __init__(self, on_thought: Callable[[str], None] = lambda _: None) -> None:
        self._on_thought = on_thought
        self._thinking = False
        self._begun = False
        self._held = ""
        self._thought: list[str] = []
        self._thought_chars = 0
        self._last = ""
        self._surrogate = ""

    def feed(self, piece: str) -> str:
        """Return what of `piece`, and of what was held back before, can be shown."""
        return self._show(self._unthink(self._join(piece)))

    def close(self) -> str:
        """Return what was held back and turned out to be plain text."""
        held, self._held = self._held, ""
        if self._thinking:
            held = "".join((*self._thought, held)) if self._begun else ""
        return self._show(held)

    def _join(self, piece: str) -> str:
        piece = self._surrogate + piece
        self._surrogate = ""
        if piece and "\ud800" <= piece[-1] <= "\udbff":
            piece, self._surrogate = piece[:-1], piece[-1]
        if any("\ud800" <= char <= "\udfff" for char in piece):
            piece = piece.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return piece

    def _unthink(self, piece: str) -> str:
        pending = self._held + piece
        shown: list[str] = []
        while True:
            mark = self._CLOSE if self._thinking else self._OPEN
            before, found, after = pending.partition(mark)
            if not found:
                break
            pending = after
            if self._thinking:
                self._tell_thought(before)
                self._thinking, self._thought, self._thought_chars = False, [], 0
                continue
            shown.append(before)
            if (before or self._last).endswith("`"):
                shown.append(mark)
                self._last = mark
            else:
                self._thinking, self._thought, self._last = True, [mark], ""
        # The end may be the first letters of a mark.
        kept = next(
            (size for size in range(len(mark) - 1, 0, -1) if pending.endswith(mark[:size])), 0
        )
        certain, self._held = pending[: len(pending) - kept], pending[len(pending) - kept :]
        if self._thinking:
            # Thoughts without end are dropped in any case: nobody would read so many.
            if self._thought_chars < MAX_THOUGHT_CHARS:
                self._thought.append(certain)
                self._thought_chars += len(certain)
                self._tell_thought(certain)
        else:
            shown.append(certain)
            self._last = certain or self._last
        return "".join(shown)

    def _tell_thought(self, piece: str) -> None:
        shown = _FORBIDDEN.sub("", piece)
        if shown:
            self._on_thought(shown)

    def _show(self, text: str) -> str:
        text = _FORBIDDEN.sub("", text)
        if not self._begun:
            text = text.lstrip()
            self._begun = bool(text)
        return text
