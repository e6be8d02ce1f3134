"""Separate a model's thoughts from its answer. Pure.

Servers with a parser for thoughts send them in a separate field; others send them in the text,
between markers that differ from model to model. Markers count only at the beginning of an answer:
later on they are plain text, in a sentence about such models or in code. Where the opening marker
is in the prompt, only the closing marker arrives: the text before it, which was taken for the
answer, is then withdrawn.
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
"""Markers that open thoughts, and the markers that close them."""

_HARMONY = re.compile(
    r"(?:<\|start\|>\s{0,2}assistant)?\s{0,2}<\|channel\|>\s{0,2}(?P<channel>[a-z]{1,20})"
    r"[^<]{0,80}(?:<\|constrain\|>[^<]{0,20})?<\|message\|>"
)
"""How gpt-oss begins a message: https://github.com/openai/harmony."""
_HARMONY_END = re.compile(r"<\|(?:end|return|call)\|>")
_HARMONY_ENDS = re.compile(rf"{_HARMONY_END.pattern}|(?=<\|start\|>|<\|channel\|>)")
"""Where thoughts end: at their end marker, or at the next message if that marker is missing."""
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
"""Text with this many closing markers is assumed to be about them."""

_STRIPPED = "analysis"
"""What a harmony message begins with if its markers were stripped..."""
_STRIPPED_END = "assistantfinal"
"""...and what then precedes the answer."""

_WORD_BEFORE = re.compile(r"[`'\"“‘「『（(*|]\s?$")
_WORD_AFTER = re.compile(r"\s?[、，,|`'\"”’」』）)*]")
_SENTENCE_END = re.compile(r"[\s。！？!?.…~～”’」』）)\]}>;；:：]$")
_FENCE = re.compile(r"^[\s>]*(?:```|~~~)", re.MULTILINE)


_BLANK = " \t\r\n\v\f\x85\xa0\u2028\u2029\u3000\ufeff\u200b"
"""Characters that may precede a marker at the beginning."""


class _State(Enum):
    BEGINNING = auto()
    THINKING = auto()
    ANSWER = auto()


class ThoughtSplitter:
    """Separates an answer from thoughts, piece by piece.

    Thoughts go to `on_thought` as they arrive. `on_withdrawn` is called when all of the answer so
    far turns out to have been thoughts; the current `feed` or `close` returns the text after them.
    """

    def __init__(
        self,
        on_thought: Callable[[str], None] = lambda _: None,
        on_withdrawn: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_thought = on_thought
        self._on_withdrawn = on_withdrawn
        self._state = _State.BEGINNING
        self._pending = ""
        self._closing = ""
        self._harmony = False
        self._thought_chars = 0
        self._may_be_thought = True
        """Whether a closing marker without an opening one can still occur."""
        self._answer_pieces: list[str] = []
        self._start = ""
        self._marks_in_text = 0
        """The number of closing markers that were just part of the answer."""
        self._scanned = 0
        """The position in `_pending` up to which they have been counted."""
        self.thought = False
        """Whether the text contained thoughts."""

    @property
    def holds_answer(self) -> bool:
        """Whether part of the answer is held back because it may be a marker."""
        return self._state is _State.ANSWER and bool(self._pending)

    def feed(self, piece: str) -> str:
        """Return the text now known to be part of the answer, given the next `piece`."""
        self._pending += piece
        return self._advance(last=False)

    def close(self) -> str:
        """Return the held-back text that turned out to be the answer."""
        answer = self._advance(last=True)
        if self._state is _State.THINKING:
            self._think(self._pending)
            self._pending = ""
        return answer

    def _advance(self, *, last: bool) -> str:
        answer: list[str] = []
        while True:
            state = self._state
            match state:
                case _State.BEGINNING:
                    advanced = self._find_opening(last=last)
                case _State.THINKING:
                    advanced = self._close_thoughts(last=last)
                case _State.ANSWER:
                    return "".join(answer) + self._answer(last=last)
            if not advanced:
                return ""

    # At the beginning.

    def _find_opening(self, *, last: bool) -> bool:
        """Determine what the answer begins with; return whether that is known yet."""
        text = self._pending.lstrip(_BLANK)
        harmony = _HARMONY.match(text)
        if harmony is not None:
            self._pending = text[harmony.end() :]
            self._harmony, self._may_be_thought = True, False
            self._closing = ""
            is_final = harmony["channel"] == _FINAL
            self._state = _State.ANSWER if is_final else _State.THINKING
            return True
        for opening, closing in _OPENINGS:
            match = opening.match(text)
            if match is not None:
                name = match.groupdict().get("name", "")
                self._closing = closing.format(name=name)
                self._pending = text[match.end() :]
                self._may_be_thought = False
                self._state = _State.THINKING
                return True
        if not last and _may_open(text):
            return False
        if not text and not last:
            return False
        self._state = _State.ANSWER
        return True

    # Thoughts.

    def _close_thoughts(self, *, last: bool) -> bool:
        self.thought = True
        if self._harmony:
            match = _HARMONY_ENDS.search(self._pending)
            begin, end = (match.start(), match.end()) if match else (-1, -1)
            longest = 12
        else:
            pattern = _ANY_CLOSE if self._closing.startswith("</") else re.escape(self._closing)
            match = re.search(pattern, self._pending, re.IGNORECASE)
            begin, end = match.span() if match else (-1, -1)
            longest = max(len(self._closing), _LONGEST_CLOSE)
        if begin >= 0:
            self._think(self._pending[:begin])
            self._pending = self._pending[end:]
            self._state = _State.BEGINNING
            return True
        if not last:
            held_chars = min(longest - 1, len(self._pending))
            held_chars = _partial_mark_chars(self._pending, held_chars, ("<", "[", "◁"))
            certain = self._pending[: len(self._pending) - held_chars]
            self._think(certain)
            self._pending = self._pending[len(certain) :]
        return False

    def _think(self, piece: str) -> None:
        if piece and self._thought_chars < MAX_THOUGHT_CHARS:
            # Longer thoughts are truncated.
            self._thought_chars += len(piece)
            self._on_thought(piece)

    # The answer.

    def _answer(self, *, last: bool) -> str:
        if self._harmony:
            return self._harmony_answer(last=last)
        if not self._may_be_thought:
            answer, self._pending = self._pending, ""
            return answer
        while (found := self._closing_mark(last=last)) is not None:
            begin, end = found
            before, self._pending = self._pending[:begin], self._pending[end:]
            thought = "".join(self._answer_pieces) + before
            self._may_be_thought = False
            self.thought = True
            self._think(thought)
            if self._answer_pieces:
                self._answer_pieces.clear()
                self._on_withdrawn()
            self._state = _State.BEGINNING
            return self._advance(last=last)
        held_chars = (
            0 if last else _partial_mark_chars(self._pending, _LONGEST_CLOSE, ("<", "[", "◁"))
        )
        if not last and self._is_stripped() and not held_chars:
            held_chars = _prefix_chars(self._pending, _STRIPPED_END)
        answer = self._pending[: len(self._pending) - held_chars]
        self._pending = self._pending[len(answer) :]
        self._scanned = max(self._scanned - len(answer), 0)
        if answer:
            self._answer_pieces.append(answer)
            self._start = (self._start + answer[:20])[:20]
        return answer

    def _harmony_answer(self, *, last: bool) -> str:
        answer = _HARMONY_END.sub("", self._pending)
        held_chars = 0 if last else _partial_mark_chars(answer, 10, ("<",))
        self._pending = answer[len(answer) - held_chars :]
        return answer[: len(answer) - held_chars]

    def _closing_mark(self, *, last: bool) -> tuple[int, int] | None:
        """Return the span of a marker that closes thoughts without an opening marker."""
        stripped_at = self._pending.find(_STRIPPED_END) if self._is_stripped() else -1
        for mark in _CLOSE.finditer(self._pending, self._scanned):
            if 0 <= stripped_at < mark.start():
                break
            if not last and mark.end() >= len(self._pending):
                return None  # it depends on what follows
            if self._closes(mark):
                return mark.span()
            self._marks_in_text += 1
            self._scanned = mark.end()
            if self._marks_in_text == MAX_WORDS:
                self._may_be_thought = False
                return None
        return (stripped_at, stripped_at + len(_STRIPPED_END)) if stripped_at >= 0 else None

    def _closes(self, mark: re.Match[str]) -> bool:
        before = "".join(self._answer_pieces) + self._pending[: mark.start()]
        after = self._pending[mark.end() :]
        if _WORD_BEFORE.search(before) or len(_FENCE.findall(before)) % 2:
            return False
        opening = mark.group().replace("/", "", 1).lower()
        if opening in before.lower():
            return False  # the text is about both markers
        line = before.rpartition("\n")[2]
        if line.count("`") % 2 or (line.strip() and _WORD_AFTER.match(after)):
            return False
        is_tag = mark.group().startswith("<")
        if (
            is_tag
            and line.strip()
            and not _SENTENCE_END.search(line)
            and after
            and after[0] not in "\r\n"
        ):
            return False
        is_mentioned = line.endswith(" ") and after.startswith(" ") and line.strip()
        return not is_mentioned

    def _is_stripped(self) -> bool:
        beginning = self._start + self._pending[:20]
        next_char = beginning[len(_STRIPPED) : len(_STRIPPED) + 1]
        return beginning.startswith(_STRIPPED) and not next_char.isspace()


def _may_open(text: str) -> bool:
    """Return whether `text` may be the beginning of an opening marker."""
    lowered = text.lower()
    if any(mark.startswith(lowered) for mark in _BEGINNINGS):
        return True
    if any(mark.startswith(lowered) for mark in _LONG_BEGINNINGS):
        return True
    if len(text) > _LONGEST_OPENING:
        return False
    if lowered.startswith("<details"):
        return ">" not in text
    return lowered.startswith(("<|channel|>", "<|start|>")) and "<|message|>" not in text


def _partial_mark_chars(text: str, longest: int, firsts: tuple[str, ...]) -> int:
    """Return how many characters at the end of `text` may be the beginning of a marker."""
    tail = text[-longest:] if longest else ""
    places = [at for at in (tail.rfind(first) for first in firsts) if at >= 0]
    return len(tail) - max(places) if places else 0


def _prefix_chars(text: str, mark: str) -> int:
    return next(
        (
            size
            for size in range(min(len(mark) - 1, len(text)), 0, -1)
            if text.endswith(mark[:size])
        ),
        0,
    )
