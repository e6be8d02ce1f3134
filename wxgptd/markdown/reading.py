"""The parser that the chat and the pages share. Pure."""

from __future__ import annotations

import sys

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock, table
from markdown_it.rules_core import StateCore

from wxgptd.markdown import emphasis, formulas, notes

PICTURE_SIGN = "[图片]"
"""The placeholder for a picture that cannot be shown and has no alt text."""

MAX_NESTING = 60
MIN_TABLE_LINES = 2
MAX_PART_CHARS = 2_000
"""Hostile input takes quadratic time, so a longer paragraph is parsed in independent parts."""

# Limits the empty cells that short rows of a table are padded with: 65,536 of them take seconds.
sys.modules["markdown_it.rules_block.table"].MAX_AUTOCOMPLETED_CELLS = 1_000  # type: ignore[attr-defined]


def reader() -> MarkdownIt:
    """Return a parser for what models write.

    HTML is plain text. A paragraph above dashes is not a heading, and an indented paragraph is not
    code: models write `#` and fences for those, and mean a rule and a paragraph here. Table rows
    must begin with `|`, so that a line's first character shows whether it can belong to a table;
    any other line ends the table.
    """
    markdown = MarkdownIt("commonmark", {"html": False, "maxNesting": MAX_NESTING})
    markdown.enable(["table", "strikethrough"])
    markdown.disable(["code", "lheading"])
    markdown.block.ruler.at("table", _table, {"alt": ["paragraph", "reference"]})
    markdown.core.ruler.at("inline", _inline)
    formulas.enable(markdown)
    emphasis.enable(markdown)
    notes.enable(markdown)
    return markdown


def parts(words: str) -> list[str]:
    """Split `words` into the parts to parse; the split does not depend on what follows."""
    return [words[at : at + MAX_PART_CHARS] for at in range(0, len(words), MAX_PART_CHARS)]


def _inline(state: StateCore) -> None:
    for token in state.tokens:
        if token.type == "inline" and token.children is not None:
            for part in parts(token.content):
                state.md.inline.parse(part, state.md, state.env, token.children)


def _table(state: StateBlock, begin: int, end: int, silent: bool) -> bool:
    last = begin
    while last < end and state.src.startswith("|", state.bMarks[last] + state.tShift[last]):
        last += 1
    return last - begin >= MIN_TABLE_LINES and table(state, begin, last, silent)
