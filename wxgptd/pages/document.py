"""Render growing Markdown as the HTML of its top-level blocks. Pure.

While an answer is being written, all but its last blocks are settled: no later text can change
them. They are rendered once, and only the open blocks are rendered again. The result does
not depend on how the text was split into pieces: it equals the result for the complete text.

A block is settled once the first two lines of the next one are complete. (In CommonMark a block
ends where the next one begins, and only tables look ahead further than one line.) After that, only
link definitions further down can still change it.
"""

from __future__ import annotations

from markdown_it.token import Token
from markupsafe import escape

from wxgptd.pages.html import parse_blocks, render
from wxgptd.untyped import References

Blocks = tuple[str, ...]

MAX_OPEN_CHARS = 16_384
"""Hostile Markdown can take a second per hundred kilobytes, so a longer block is split."""

MAX_RENDERED_CHARS = 100_000
"""Text beyond this is shown unrendered."""


class Document:
    """The text received so far, and its blocks."""

    def __init__(self, max_open_chars: int = MAX_OPEN_CHARS) -> None:
        self._max_open_chars = max_open_chars
        self._reset()

    def _reset(self) -> None:
        self._text = ""
        self._begin = 0
        """The start of the open part of the text."""
        self._reopened = ""
        """The fence to put before the open part if a code block was split there."""
        self._references: References = {}
        self._rendered_with: References = {}
        """The references that the settled blocks were rendered with."""
        self._sources: list[str] = []
        self._settled: list[str] = []
        self._rendered_open: dict[str, str] = {}
        """The open blocks of the last update by their sources: most have not changed since."""
        self._rendered_open_with: dict[str, str] = {}

    def work(self, text: str) -> int:
        """Return how many characters an update to `text` may have to process.

        That includes settled text if the open part may define a link that it uses.
        """
        defines = "]:" in text[self._begin :]
        return len(text) if defines else len(text) - self._begin

    def update(self, text: str) -> Blocks:
        """Return the blocks of `text`, which usually extends the previous text."""
        text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")
        text = text.encode("utf-8", "replace").decode("utf-8")  # lone surrogates
        rest = text[MAX_RENDERED_CHARS:]
        text = text[:MAX_RENDERED_CHARS]
        if not text.startswith(self._text):
            self._reset()
        self._text = text
        references = dict(self._references)
        while (tokens := self._settle(references)) is None:
            references = dict(self._references)
        source = self._reopened + text[self._begin :]
        open_sources = _sources(source, tokens)
        self._render_settled(references)
        rendered = self._rendered_open if self._has_rendered_with(references) else {}
        self._rendered_open = {
            block: rendered.get(block) or render(block, references) for block in open_sources
        }
        self._rendered_open_with = _addresses(references)
        blocks = [*self._settled, *map(self._rendered_open.__getitem__, open_sources)]
        if rest:
            blocks.append(f'<p class="plain">{escape(rest)}</p>')
        return tuple(blocks)

    def _has_rendered_with(self, references: References) -> bool:
        return _addresses(references) == self._rendered_open_with

    def _settle(self, references: References) -> list[Token] | None:
        """Settle as many blocks as possible; if none can be, return the tokens of the open part.

        Adds the open part's link definitions to `references`.
        """
        source = self._reopened + self._text[self._begin : self._begin + self._max_open_chars]
        lines = source.split("\n")
        tokens = parse_blocks(source, references)
        spans = _spans(tokens)
        for (_, end), (begin, _) in zip(spans[-2::-1], spans[:0:-1], strict=True):
            # A line directly before a block, but in no block itself, belongs to a link definition,
            # which may continue.
            if begin + 2 < len(lines) and (end == begin or not lines[begin - 1].strip()):
                self._settle_source("\n".join(lines[:begin]) + "\n")
                return None
        if len(self._text) - self._begin <= self._max_open_chars:
            return tokens
        # Cut after the reopened fence; otherwise no text would be settled.
        cut = source.rfind("\n", max(len(source) // 2, len(self._reopened))) + 1 or len(source)
        self._settle_source(source[:cut])
        return None

    def _settle_source(self, source: str) -> None:
        """Settle `source`, the beginning of the open part."""
        tokens = parse_blocks(source, self._references)
        self._sources += _sources(source, tokens)
        self._begin += len(source) - len(self._reopened)
        self._reopened = _open_fence(tokens)

    def _render_settled(self, references: References) -> None:
        if _addresses(references) != _addresses(self._rendered_with):
            self._rendered_with = references
            for index in range(len(self._settled)):
                if "]" in self._sources[index]:
                    self._settled[index] = render(self._sources[index], references)
        rendered = self._rendered_open if self._has_rendered_with(references) else {}
        for source in self._sources[len(self._settled) :]:
            self._settled.append(rendered.get(source) or render(source, references))


def _spans(tokens: list[Token]) -> list[tuple[int, int]]:
    """Return the line ranges of the top-level blocks; link definitions are not blocks."""
    return [
        (token.map[0], token.map[1])
        for token in tokens
        if token.level == 0 and token.map and token.nesting >= 0
    ]


def _sources(text: str, tokens: list[Token]) -> list[str]:
    lines = text.split("\n")
    return ["\n".join(lines[begin:end]) for begin, end in _spans(tokens)]


def _open_fence(tokens: list[Token]) -> str:
    """Return the opening fence of the last block if that is an unclosed code block, else ""."""
    last = tokens[-1] if tokens else None
    if last is None or last.type != "fence" or last.level or last.map is None:
        return ""
    lines = last.content.count("\n") + (last.content[-1:] not in ("", "\n"))
    is_closed = last.map[1] - last.map[0] > lines + 1
    return "" if is_closed else f"{last.markup}{last.info}\n"


def closed(text: str) -> str:
    """Return `text` with any open code block closed, so that text below it is not read as code."""
    if "```" not in text and "~~~" not in text:
        return text
    fence = _open_fence(parse_blocks(text, {}))
    return f"{text}\n{fence[: len(fence) - len(fence.lstrip('`~'))]}" if fence else text


def _addresses(references: References) -> dict[str, str]:
    return {label: str(definition["href"]) for label, definition in references.items()}
