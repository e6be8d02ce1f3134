"""The parser that the chat and the pages have in common. Pure."""

from __future__ import annotations

import sys

from markdown_it import MarkdownIt

from wxgptd.markdown import emphasis, formulas, notes

MAX_NESTING = 60

# Empty cells that a short row is filled up with, in a table: 65,536 of them take seconds.
sys.modules["markdown_it.rules_block.table"].MAX_AUTOCOMPLETED_CELLS = 1_000  # type: ignore[attr-defined]


def reader() -> MarkdownIt:
    """Return a parser of what models write.

    HTML is text. A paragraph above dashes is no heading, and one that is indented is no code:
    models write `#` and fences, and mean a line and a paragraph.
    """
    markdown = MarkdownIt("commonmark", {"html": False, "maxNesting": MAX_NESTING})
    markdown.enable(["table", "strikethrough"])
    markdown.disable(["code", "lheading"])
    formulas.enable(markdown)
    emphasis.enable(markdown)
    notes.enable(markdown)
    return markdown
