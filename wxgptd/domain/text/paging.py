"""Cut an answer into replies that WeChat accepts, at the places a reader would choose.

`cut` returns positions in the output of `readable`: consecutive slices `text[a:b]` cover all of it,
with no character lost or repeated; `page` turns a slice into a reply. Bytes are bytes of UTF-8.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from wxgptd.domain.model.values import Style
from wxgptd.domain.text.inert import inert
from wxgptd.domain.text.plain import plain

_PARAGRAPH = re.compile(r"\n[^\S\n]*\n+")
_LINE = re.compile(r"\n")
_SENTENCE = re.compile(r"[。！？!?…]+[”’」』）)\"']*|(?<!\d)\.[\"')]*(?=\s)")
_CLAUSE = re.compile(r"[，、；：,;:—]+")
_SPACE = re.compile(r"\s+")
_FENCE = re.compile(
    r"^[^\S\n]{0,12}(?P<marks>`{3,20}|~{3,20})(?P<info>[^`\n]{0,40})$", re.MULTILINE
)

_JOINERS = "\u200d\ufe0e\ufe0f"


@lru_cache(maxsize=16)
def readable(text: str, style: Style, *, growing: bool = False) -> str:
    """Return an answer as the chat shows it; for a `growing` one, only what is final."""
    rendered = text if style is Style.MARKDOWN else plain(text, growing=growing)
    return inert(rendered, growing=growing)


def page(text: str, start: int, end: int, style: Style) -> str:
    """Return the slice as a standalone reply: a code block that was cut is fenced in both parts."""
    body = text[start:end]
    if style is not Style.MARKDOWN:
        return inert(body)  # the part cut off may have kept it from being a link
    fence = _fence_at(text, end)
    if fence is not None:
        body = f"{body.rstrip(chr(10))}\n{fence['marks']}"
    fence = _fence_at(text, start)
    if fence is not None:
        body = f"{fence[0].strip()}\n{body.removeprefix(chr(10))}"
    return inert(body)


def cut(
    text: str, start: int, room: int, style: Style = Style.PLAIN, *, growing: bool = False
) -> int:
    """Return the end of the slice that begins at `start` and whose page has at most `room` bytes.

    An answer that is still `growing` is cut at its last complete sentence even if all of it fits,
    so that no reply ends mid-word. Advances by at least one character unless at the end.
    """
    if style is Style.MARKDOWN:
        room = max(room - _dress(text, start), 1)
    longest = _longest_fit(text, start, room)
    if longest == len(text) and not growing:
        return longest
    if growing and longest == len(text):
        return _last(text, start, longest, 1, (_LINE, _SENTENCE)) or (
            _last(text, start, longest, 1, (_CLAUSE, _SPACE)) or longest
        )
    # No boundary is worth a slice that is less than half full.
    min_chars = max(1, _longest_fit(text, start, room // 2) - start)
    outside = _before_open_fence(text, start, longest)
    if outside - start >= min_chars:
        longest = outside
    for boundary in (_PARAGRAPH, _LINE, _SENTENCE, _CLAUSE, _SPACE):
        end = _last(text, start, longest, min_chars, (boundary,))
        if end:
            return end
    return longest


def _longest_fit(text: str, start: int, room: int) -> int:
    piece = text[start : start + room]
    encoded = piece.encode("utf-8", "surrogatepass")
    if len(encoded) > room:
        piece = encoded[:room].decode("utf-8", "ignore")
    end = start + len(piece)
    # Step back over a few characters rather than separate an accent or an emoji from its base.
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
    text: str, start: int, end: int, min_chars: int, boundaries: tuple[re.Pattern[str], ...]
) -> int:
    """Return the last boundary from `start + min_chars` to `end`, or 0."""
    position = 0
    # Look one character past `end`: a full stop ends a sentence if a space follows.
    window = text[start : end + 1]
    for boundary in boundaries:
        for match in boundary.finditer(window):
            if min_chars <= match.end() <= end - start:
                position = max(position, start + match.end())
    return position


def _before_open_fence(text: str, start: int, end: int) -> int:
    """Return the start of the code fence that is open at `end`, or `end` if none is."""
    fence = _fence_at(text, end)
    return fence.start() if fence is not None and fence.start() > start else end


def _fence_at(text: str, at: int) -> re.Match[str] | None:
    """Return the line that opened the code block around `at`, or None."""
    fence: re.Match[str] | None = None
    for match in _FENCE.finditer(text, 0):
        if match.end() > at:
            break
        if fence is None:
            fence = match
        elif match["marks"].startswith(fence["marks"]) and not match["info"].strip():
            fence = None
    return fence


def _dress(text: str, start: int) -> int:
    """Return how many bytes fences may add to the page that begins at `start`."""
    longest = max((len(match["marks"]) for match in _FENCE.finditer(text)), default=0)
    fence = _fence_at(text, start)
    opening = len(fence[0].strip().encode("utf-8", "replace")) + 1 if fence is not None else 0
    return opening + (longest + 1 if longest else 0)
