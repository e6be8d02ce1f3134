"""Cut an answer into replies that WeChat accepts, where a reader would cut it.

`cut` returns positions, never text: consecutive slices `text[a:b]` are the whole text, with no
character lost and none twice. Bytes are bytes of UTF-8.
"""

from __future__ import annotations

import re
import unicodedata

_PARAGRAPH = re.compile(r"\n[^\S\n]*\n+")
_LINE = re.compile(r"\n")
_SENTENCE = re.compile(r"[。！？!?…]+[”’」』）)\"']*|(?<!\d)\.[\"')]*(?=\s)")
_CLAUSE = re.compile(r"[，、；：,;:—]+")
_SPACE = re.compile(r"\s+")
_FENCE = re.compile(r"^[^\S\n]{0,3}(```|~~~)", re.MULTILINE)

_JOINERS = "\u200d\ufe0e\ufe0f"


def cut(text: str, start: int, room: int, *, growing: bool = False) -> int:
    """Return where the slice that begins at `start` ends, at most `room` bytes further.

    A text that is still `growing` is cut at its last finished sentence even where all of it
    fits, so that nobody reads half a word. Moves on by at least one character unless at the end.
    """
    longest = _longest_fit(text, start, room)
    if longest == len(text) and not growing:
        return longest
    if growing and longest == len(text):
        return _last(text, start, longest, 1, (_LINE, _SENTENCE)) or (
            _last(text, start, longest, 1, (_CLAUSE, _SPACE)) or longest
        )
    # No boundary is worth a slice that is less than half full.
    least = max(1, _longest_fit(text, start, room // 2) - start)
    outside = _before_open_fence(text, start, longest)
    if outside - start >= least:
        longest = outside
    for boundary in (_PARAGRAPH, _LINE, _SENTENCE, _CLAUSE, _SPACE):
        end = _last(text, start, longest, least, (boundary,))
        if end:
            return end
    return longest


def _longest_fit(text: str, start: int, room: int) -> int:
    piece = text[start : start + room]
    encoded = piece.encode("utf-8", "surrogatepass")
    if len(encoded) > room:
        piece = encoded[:room].decode("utf-8", "ignore")
    end = start + len(piece)
    # Step back over a few characters rather than part an accent or an emoji from its base.
    for earlier in range(end, max(start, end - 12), -1):
        if earlier == len(text) or not _sticks(text[earlier - 1], text[earlier]):
            return earlier
    return max(end, min(start + 1, len(text)))


def _sticks(before: str, after: str) -> bool:
    return (
        before == "\u200d"
        or after in _JOINERS
        or "\U0001f3fb" <= after <= "\U0001f3ff"
        or (before == "\r" and after == "\n")
        or unicodedata.combining(after) != 0
    )


def _last(
    text: str, start: int, end: int, least: int, boundaries: tuple[re.Pattern[str], ...]
) -> int:
    """Return the last boundary in (start + least, end], or 0."""
    found = 0
    # One character past `end` is looked at: a full stop ends a sentence if a space follows.
    window = text[start : end + 1]
    for boundary in boundaries:
        for match in boundary.finditer(window):
            if least <= match.end() <= end - start:
                found = max(found, start + match.end())
    return found


def _before_open_fence(text: str, start: int, end: int) -> int:
    """Return where the code fence that is open at `end` begins, or `end` if none is."""
    fences = [match.start() for match in _FENCE.finditer(text, 0, end)]
    if len(fences) % 2 == 0 or fences[-1] <= start:
        return end
    return fences[-1]
