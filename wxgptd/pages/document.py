"""Markdown that grows, as the HTML of its top-level blocks. Pure.

While an answer is written, all but its last blocks are settled: whatever follows, they stay as
they are. They are rendered once, and only what is open is rendered again. The result never
depends on the pieces in which the text came: it is that of the whole text at once.

A block is settled once the two lines that begin the next one are whole. (In CommonMark a block
ends where the next one begins, and nothing but a table looks further ahead than at one line.)
Only links can then still change it, those whose address is defined further down.
"""

from __future__ import annotations

from markdown_it.token import Token
from markupsafe import escape

from wxgptd.loose import References
from wxgptd.pages.html import parse_blocks, render

Blocks = tuple[str, ...]

MAX_OPEN_CHARS = 16_384
"""Hostile Markdown can take a second a hundred kilobytes: a longer block is parted."""

MAX_RENDERED_CHARS = 100_000
"""What is beyond is shown as it is written."""


class Document:
    """A text as far as it has come, and its blocks."""

    def __init__(self, max_open_chars: int = MAX_OPEN_CHARS) -> None:
        self._max_open_chars = max_open_chars
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._text = ""
        self._begin = 0
        """Where the open part of the text begins."""
        self._resumed = ""
        """What the open part has to begin with beside that, where a block of code was parted."""
        self._references: References = {}
        self._known: References = {}
        """The references that the settled blocks were rendered with."""
        self._sources: list[str] = []
        self._settled: list[str] = []

    def work(self, text: str) -> int:
        """Return how many characters an update to `text` may look at.

        What is settled is looked at again where a link may be defined that it uses.
        """
        defines = "]:" in text[self._begin :]
        return len(text) if defines else len(text) - self._begin

    def update(self, text: str) -> Blocks:
        """Return the blocks of `text`, of which the former text is the beginning as a rule."""
        text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")
        text = text.encode("utf-8", "replace").decode("utf-8")  # a lone half of a character
        rest = text[MAX_RENDERED_CHARS:]
        text = text[:MAX_RENDERED_CHARS]
        if not text.startswith(self._text):
            self._begin_anew()
        self._text = text
        while self._settle():
            pass
        references = dict(self._references)
        source = self._resumed + text[self._begin :]
        opened = _sources(source, parse_blocks(source, references))
        self._render_settled(references)
        shown = [*self._settled, *(render(one, references) for one in opened)]
        if rest:
            shown.append(f'<p class="plain">{escape(rest)}</p>')
        return tuple(shown)

    def _settle(self) -> bool:
        """Settle what can be settled now; tell whether that was anything."""
        source = self._resumed + self._text[self._begin : self._begin + self._max_open_chars]
        lines = source.split("\n")
        tokens = parse_blocks(source, dict(self._references))
        spans = _spans(tokens)
        for (_, ended), (begin, _) in zip(spans[-2::-1], spans[:0:-1], strict=True):
            # What stands directly before a block without being one defines a link, and may go on.
            if begin + 2 < len(lines) and (ended == begin or not lines[begin - 1].strip()):
                self._take("\n".join(lines[:begin]) + "\n")
                return True
        if len(self._text) - self._begin <= self._max_open_chars:
            return False
        # Behind what was resumed, or nothing would be taken.
        cut = source.rfind("\n", max(len(source) // 2, len(self._resumed))) + 1 or len(source)
        self._take(source[:cut])
        return True

    def _take(self, source: str) -> None:
        """Take `source`, with which the open part begins, for settled."""
        tokens = parse_blocks(source, self._references)
        self._sources += _sources(source, tokens)
        self._begin += len(source) - len(self._resumed)
        self._resumed = _unclosed(tokens)

    def _render_settled(self, references: References) -> None:
        if _addresses(references) != _addresses(self._known):
            self._known = references
            for index in range(len(self._settled)):
                if "]" in self._sources[index]:
                    self._settled[index] = render(self._sources[index], references)
        for source in self._sources[len(self._settled) :]:
            self._settled.append(render(source, references))


def _spans(tokens: list[Token]) -> list[tuple[int, int]]:
    """Return where the top-level blocks begin and end, in lines; definitions of links are none."""
    return [
        (token.map[0], token.map[1])
        for token in tokens
        if token.level == 0 and token.map and token.nesting >= 0
    ]


def _sources(text: str, tokens: list[Token]) -> list[str]:
    lines = text.split("\n")
    return ["\n".join(lines[begin:end]) for begin, end in _spans(tokens)]


def _unclosed(tokens: list[Token]) -> str:
    """Return the line that the last block began with if it is code without an end."""
    last = tokens[-1] if tokens else None
    if last is None or last.type != "fence" or last.level or last.map is None:
        return ""
    lines = last.content.count("\n") + (last.content[-1:] not in ("", "\n"))
    is_closed = last.map[1] - last.map[0] > lines + 1
    return "" if is_closed else f"{last.markup}{last.info}\n"


def closed(text: str) -> str:
    """Return `text` such that what is written below it is not taken for its code."""
    if "```" not in text and "~~~" not in text:
        return text
    opened = _unclosed(parse_blocks(text, {}))
    return f"{text}\n{opened[: len(opened) - len(opened.lstrip('`~'))]}" if opened else text


def _addresses(references: References) -> dict[str, str]:
    return {label: str(one["href"]) for label, one in references.items()}
