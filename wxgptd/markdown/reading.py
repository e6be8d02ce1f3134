"""The parser that the chat and the pages have in common. Pure."""

from __future__ import annotations

import sys

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock, table

from wxgptd.markdown import emphasis, formulas, notes

MAX_NESTING = 60
MIN_TABLE_LINES = 2

# Empty cells that a short row is filled up with, in a table: 65,536 of them take seconds.
sys.modules["markdown_it.rules_block.table"].MAX_AUTOCOMPLETED_CELLS = 1_000  # type: ignore[attr-defined]


def reader() -> MarkdownIt:
    """Return a parser of what models write.

    HTML is text. A paragraph above dashes is no heading, and one that is indented is no code:
    models write `#` and fences, and mean a line and a paragraph. Lines of a table begin with `|`:
    so a line tells at once whether it may be one, and one that does not begin so ends the table.
    """
    markdown = MarkdownIt("commonmark", {"html": False, "maxNesting": MAX_NESTING})
    markdown.enable(["table", "strikethrough"])
    markdown.disable(["code", "lheading"])
    markdown.block.ruler.at("table", _table, {"alt": ["paragraph", "reference"]})
    formulas.enable(markdown)
    emphasis.enable(markdown)
    notes.enable(markdown)
    return markdown


def _table(state: StateBlock, begin: int, end: int, silent: bool) -> bool:
    last = begin
    while last < end and state.src.startswith("|", state.bMarks[last] + state.tShift[last]):
        last += 1
    return last - begin >= MIN_TABLE_LINES and table(state, begin, last, silent)
