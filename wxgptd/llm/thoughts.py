"""Separate a model's thoughts from its answer. Pure.

Servers with a parser for thoughts send them in a field of their own; others send them in the text,
between marks that differ from model to model. Marks count only at the beginning of an answer:
further on they are words, in a sentence about such models or in code. Where the opening mark is in
the prompt, only the closing mark arrives: the text before it, which was taken for the answer, is
then withdrawn.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum, auto

MAX_THOUGHT_CHARS = 200_000

_NAMES = "think|thinking|thoughts?|reasoning|seed:think|mm:think"

_OPENINGS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(rf"<(?P<name>{_NAMES})>", re.IGNORECASE), "</{name}>"),
    (re.compile(r"\[(?P<name>THINK)\]", re.IGNORECASE), "[/{name}]"),
    (re.compile(r"◁(?P<name>think)▷", re.IGNORECASE), "◁/{name}▷"),
    (re.compile(r"<\|begin_of_thought\|>"), "<|end_of_thought|>"),
    (re.compile(r"<\|begin▁of▁thought\|>"), "<|end▁of▁thought|>"),
    (
        re.compile(r"<details\b[^<>]{0,60}\btype=\"reasoning\"[^<>]{0,60}>", re.IGNORECASE),
        "</details>",
    ),
)
"""Marks that open thoughts, and the marks that close them."""

_HARMONY = re.compile(
    r"(?:<\|start\|>\s{0,2}assistant)?\s{0,2}<\|channel\|>\s{0,2}(?P<channel>[a-z]{1,20})"
    r"[^<]{0,80}(?:<\|constrain\|>[^<]{0,20})?<\|message\|>"
)
"""How gpt-oss begins a message: https://github.com/openai/harmony."""
_HARMONY_END = re.compile(r"<\|(?:end|return|call)\|>")
_HARMONY_ENDS = re.compile(rf"{_HARMONY_END.pattern}|(?=<\|start\|>|<\|channel\|>)")
"""Where thoughts end: at their end mark, or at the next message if that mark is missing."""
_FINAL = "final"

_BEGINNINGS = (
    "<think>", "<thinking>", "<thought>", "<thoughts>", "<reasoning>", "<seed:think>", "<mm:think>",
    "[think]", "◁think▷", "<|begin_of_thought|>", "<|begin▁of▁thought|>",
)  # fmt: skip
_LONG_BEGINNINGS = ("<details", "<|channel|>", "<|start|>")
_LONGEST_OPENING = 200

_CLOSE = re.compile(
    rf"</(?:{_NAMES})>|\[/THINK\]|◁/think▷|<\|end[_▁]of[_▁]thought\|>",
    re.IGNORECASE,
)
_ANY_CLOSE = rf"</(?:{_NAMES}|details)>"
_LONGEST_CLOSE = 20
MAX_WORDS = 20
"""A text with this many closing marks is about them."""

_STRIPPED = "analysis"
"""What a harmony message begins with if its marks were lost on the way..."""
_STRIPPED_END = "assistantfinal"
"""...and what then precedes the answer."""

_WORD_BEFORE = re.compile(r"[`'\"“‘「『（(*|]\s?$")
_WORD_AFTER = re.compile(r"\s?[、，,|`'\"”’」』）)*]")
_SENTENCE_END = re.compile(r"[\s。！？!?.…~～”’」』）)\]}>;；:：]$")
_FENCE = re.compile(r"^[\s>]*(?:```|~~~)", re.MULTILINE)


_BLANK = " \t\r\n\v\f\x85\xa0\u2028\u2029\u3000\ufeff\u200b"
"""Characters that may precede a mark at the beginning."""


class _Place(Enum):
    BEGINNING = auto()
    THINKING = auto()
    ANSWER = auto()


class Parting:
    """Separates an answer from thoughts, piece by piece.

    Thoughts go to `on_thought` as they arrive. `on_withdrawn` is called when all of the answer so
    far turns out to have been thoughts; what that call of `feed` or `close` returns comes after it.
    """

    def __init__(
        self,
        on_thought: Callable[[str], None] = lambda _: None,
        on_withdrawn: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_thought = on_thought
        self._on_withdrawn = on_withdrawn
        self._place = _Place.BEGINNING
        self._pending = ""
        self._closing = ""
        self._harmony = False
        self._thought_chars = 0
        self._may_be_thought = True
        """Whether a closing mark without an opening one can still occur."""
        self._answered: list[str] = []
        self._start = ""
        self._words = 0
        """How many closing marks were just words of the answer."""
        self._judged = 0
        """The position in `_pending` up to which they have been counted."""
        self.thought = False
        """Whether there were any thoughts."""

    @property
    def holds_answer(self) -> bool:
        """Whether part of the answer is held back because it may be a mark."""
        return self._place is _Place.ANSWER and bool(self._pending)

    def feed(self, piece: str) -> str:
        """Return the text that is now certain to be the answer, given the next `piece`."""
        self._pending += piece
        return self._go_on(last=False)

    def close(self) -> str:
        """Return the held-back text that turned out to be the answer."""
        shown = self._go_on(last=True)
        if self._place is _Place.THINKING:
            self._think(self._pending)
            self._pending = ""
        return shown

    def _go_on(self, *, last: bool) -> str:
        shown: list[str] = []
        while True:
            place = self._place
            match place:
                case _Place.BEGINNING:
                    moved = self._begin(last=last)
                case _Place.THINKING:
                    moved = self._close_thoughts(last=last)
                case _Place.ANSWER:
                    return "".join(shown) + self._answer(last=last)
            if not moved:
                return ""

    # At the beginning.

    def _begin(self, *, last: bool) -> bool:
        """Determine what the answer begins with; return whether that is decided."""
        said = self._pending.lstrip(_BLANK)
        harmony = _HARMONY.match(said)
        if harmony is not None:
            self._pending = said[harmony.end() :]
            self._harmony, self._may_be_thought = True, False
            self._closing = ""
            is_final = harmony["channel"] == _FINAL
            self._place = _Place.ANSWER if is_final else _Place.THINKING
            return True
        for opening, closing in _OPENINGS:
            found = opening.match(said)
            if found is not None:
                name = found.groupdict().get("name", "")
                self._closing = closing.format(name=name)
                self._pending = said[found.end() :]
                self._may_be_thought = False
                self._place = _Place.THINKING
                return True
        if not last and _may_open(said):
            return False
        if not said and not last:
            return False
        self._place = _Place.ANSWER
        return True

    # Thoughts.

    def _close_thoughts(self, *, last: bool) -> bool:
        self.thought = True
        if self._harmony:
            found = _HARMONY_ENDS.search(self._pending)
            begin, end = (found.start(), found.end()) if found else (-1, -1)
            longest = 12
        else:
            pattern = _ANY_CLOSE if self._closing.startswith("</") else re.escape(self._closing)
            found = re.search(pattern, self._pending, re.IGNORECASE)
            begin, end = found.span() if found else (-1, -1)
            longest = max(len(self._closing), _LONGEST_CLOSE)
        if begin >= 0:
            self._think(self._pending[:begin])
            self._pending = self._pending[end:]
            self._place = _Place.BEGINNING
            return True
        if not last:
            kept = min(longest - 1, len(self._pending))
            kept = _kept(self._pending, kept, ("<", "[", "◁"))
            certain = self._pending[: len(self._pending) - kept]
            self._think(certain)
            self._pending = self._pending[len(certain) :]
        return False

    def _think(self, piece: str) -> None:
        if piece and self._thought_chars < MAX_THOUGHT_CHARS:
            # Nobody reads more than that.
            self._thought_chars += len(piece)
            self._on_thought(piece)

    # The answer.

    def _answer(self, *, last: bool) -> str:
        if self._harmony:
            return self._harmony_answer(last=last)
        if not self._may_be_thought:
            shown, self._pending = self._pending, ""
            return shown
        while (found := self._closing_mark(last=last)) is not None:
            begin, end = found
            before, self._pending = self._pending[:begin], self._pending[end:]
            thought = "".join(self._answered) + before
            self._may_be_thought = False
            self.thought = True
            self._think(thought)
            if self._answered:
                self._answered.clear()
                self._on_withdrawn()
            self._place = _Place.BEGINNING
            return self._go_on(last=last)
        kept = 0 if last else _kept(self._pending, _LONGEST_CLOSE, ("<", "[", "◁"))
        if not last and self._is_stripped() and not kept:
            kept = _prefix_kept(self._pending, _STRIPPED_END)
        shown = self._pending[: len(self._pending) - kept]
        self._pending = self._pending[len(shown) :]
        self._judged = max(self._judged - len(shown), 0)
        if shown:
            self._answered.append(shown)
            self._start = (self._start + shown[:20])[:20]
        return shown

    def _harmony_answer(self, *, last: bool) -> str:
        shown = _HARMONY_END.sub("", self._pending)
        kept = 0 if last else _kept(shown, 10, ("<",))
        self._pending = shown[len(shown) - kept :]
        return shown[: len(shown) - kept]

    def _closing_mark(self, *, last: bool) -> tuple[int, int] | None:
        """Return the position of a mark that closes thoughts without an opening mark."""
        at = self._pending.find(_STRIPPED_END) if self._is_stripped() else -1
        for found in _CLOSE.finditer(self._pending, self._judged):
            if 0 <= at < found.start():
                break
            if not last and found.end() >= len(self._pending):
                return None  # it depends on what follows
            if self._closes(found):
                return found.span()
            self._words += 1
            self._judged = found.end()
            if self._words == MAX_WORDS:
                self._may_be_thought = False
                return None
        return (at, at + len(_STRIPPED_END)) if at >= 0 else None

    def _closes(self, found: re.Match[str]) -> bool:
        before = "".join(self._answered) + self._pending[: found.start()]
        after = self._pending[found.end() :]
        if _WORD_BEFORE.search(before) or len(_FENCE.findall(before)) % 2:
            return False
        opening = found.group().replace("/", "", 1).lower()
        if opening in before.lower():
            return False  # the text is about both marks
        line = before.rpartition("\n")[2]
        if line.count("`") % 2 or (line.strip() and _WORD_AFTER.match(after)):
            return False
        is_tag = found.group().startswith("<")
        if (
            is_tag
            and line.strip()
            and not _SENTENCE_END.search(line)
            and after
            and after[0] not in "\r\n"
        ):
            return False
        spoken_of = line.endswith(" ") and after.startswith(" ") and line.strip()
        return not spoken_of

    def _is_stripped(self) -> bool:
        begun = self._start + self._pending[:20]
        behind = begun[len(_STRIPPED) : len(_STRIPPED) + 1]
        return begun.startswith(_STRIPPED) and not behind.isspace()


def _may_open(said: str) -> bool:
    """Return whether `said` may be the beginning of an opening mark."""
    lowered = said.lower()
    if any(mark.startswith(lowered) for mark in _BEGINNINGS):
        return True
    if any(mark.startswith(lowered) for mark in _LONG_BEGINNINGS):
        return True
    if len(said) > _LONGEST_OPENING:
        return False
    if lowered.startswith("<details"):
        return ">" not in said
    return lowered.startswith(("<|channel|>", "<|start|>")) and "<|message|>" not in said


def _kept(text: str, longest: int, firsts: tuple[str, ...]) -> int:
    """Return how many characters at the end of `text` may be the beginning of a mark."""
    tail = text[-longest:] if longest else ""
    places = [at for at in (tail.rfind(first) for first in firsts) if at >= 0]
    return len(tail) - max(places) if places else 0


def _prefix_kept(text: str, mark: str) -> int:
    return next(
        (
            size
            for size in range(min(len(mark) - 1, len(text)), 0, -1)
            if text.endswith(mark[:size])
        ),
        0,
    )
