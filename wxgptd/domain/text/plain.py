"""Markdown as text that reads well in WeChat, which shows only plain text.

It is parsed as for the pages (`wxgptd.markdown`), except for link definitions: they come after the
text that they change, and would change what has already been sent.

An answer can be shown while it is being written: the output for growing text is a prefix of the
output for the complete text. Which block a line belongs to does not depend on later lines, except
for a table header; so all complete lines are parsed, and the last one up to where it might stop
being plain words. The last paragraph is shown up to the first mark that may still be closed.

Code is unchanged. Emphasis loses its marks, links become `text (address)`, tables become lines of
`column：cell`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from markdown_it.token import Token

from wxgptd.domain.text.formula import formula
from wxgptd.markdown.formulas import as_written
from wxgptd.markdown.growing import decided, held, reader

RULE = "————————"
MARGIN = "│ "

_MAX_COLUMN, _MAX_COLUMNS = 30, 30
"""The maximum length and number of the column names that are repeated in each row."""

MAX_CHARS = 100_000
"""Text beyond this is shown unparsed: hostile Markdown of this length takes a second to parse."""

_NUMBER = re.compile(r"[0-9]")

_parser = reader()


def plain(text: str, *, growing: bool = False) -> str:
    """Return `text` without its Markdown.

    For a `growing` text, return the prefix that no continuation can change.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")
    text, beyond = text[:MAX_CHARS], text[MAX_CHARS:]
    if growing:
        text = text[: held(text, _parser)]
    writer = _Writer(text.split("\n"), growing=growing)
    writer.blocks(_parser.parse(text))
    return "\n".join(writer.lines) + ("" if growing else beyond)


class _Writer:
    """Writes blocks as lines."""

    def __init__(self, source: Sequence[str], *, growing: bool) -> None:
        self.lines: list[str] = []
        self._source = source
        self._growing = growing
        self._margins: list[str] = []
        """The prefix of each line, one part for each enclosing block."""
        self._bullet: str | None = None
        """The text that replaces the innermost margin on an item's first line."""
        self._items = 0
        self._apart = False
        """Whether an empty line must follow the lines written so far."""

    def blocks(self, tokens: Sequence[Token]) -> None:
        """Write all of `tokens`."""
        last = max((at for at, token in enumerate(tokens) if token.type == "inline"), default=-1)
        at = 0
        while at < len(tokens):
            token = tokens[at]
            if token.type == "table_open":
                end = _end(tokens, at)
                self._table(tokens[at:end], token)
                at = end
            else:
                following = tokens[at + 2] if at + 2 < len(tokens) else token
                self._block(token, tokens[at - 1], following, is_last=at == last)
                at += 1

    def _block(self, token: Token, around: Token, following: Token, *, is_last: bool) -> None:
        match token.type:
            case "blockquote_open":
                self._margins.append(MARGIN)
            case "blockquote_close":
                self._margins.pop()
            case "list_item_open":
                self._item(token, number=_is_number(following))
            case "list_item_close":
                self._bullet = None
                self._margins.pop()
            case "bullet_list_open" | "ordered_list_open":
                self._items += 1
            case "bullet_list_close" | "ordered_list_close":
                self._items -= 1
            case "hr":
                self._write(RULE, token)
            case "fence" | "code_block":
                self._code(token)
            case "formula_block":
                self._formula(token)
            case "inline":
                self._inline(token, around, is_open=is_last and self._is_open(token))
            case _:
                pass

    def _item(self, token: Token, *, number: bool) -> None:
        if token.info:
            bullet = f"{token.info}{token.markup} "
        elif (token.meta or {}).get("task"):
            bullet = ""
        elif number and token.markup != "*":
            bullet = f"{token.markup} "  # a minus or plus sign, perhaps
        else:
            bullet = f"{'•' if self._items == 1 else '◦'} "
        self._bullet = bullet
        self._margins.append("  ")

    def _is_open(self, token: Token) -> bool:
        """Return whether text still to come may belong to the paragraph of `token`."""
        return self._growing and token.map is not None and token.map[1] >= len(self._source) - 1

    def _inline(self, token: Token, around: Token, *, is_open: bool) -> None:
        tokens = token.children or []
        if is_open and around.type == "paragraph_open":
            text = _words(decided(token.content, _parser)).rstrip()
        else:
            text = _words(tokens)
        if around.type == "heading_open":
            text = f"【{text}】" if text.strip() else ""
        if text.strip():
            self._write(text, around)

    def _code(self, token: Token) -> None:
        self._apart = True
        content = token.content.removesuffix("\n")
        if token.content:
            self._write(content, token, rstrip=False)
        self._apart = True

    def _formula(self, token: Token) -> None:
        if token.meta["closed"]:
            self._write(formula(token.content.strip()) + token.info, token)
        else:
            self._write(as_written(token), token)

    def _table(self, tokens: Sequence[Token], table: Token) -> None:
        rows: list[list[str]] = []
        for token in tokens:
            if token.type == "tr_open":
                rows.append([])
            elif token.type == "inline":
                text = _words(token.children or [])
                rows[-1].append(text.replace("\n", " ").strip())
        columns, *rest = rows
        wide = any(len(column) > _MAX_COLUMN for column in columns)
        self._apart = True
        if len(columns) <= 2 or wide or not (rest or self._growing):
            self._write(_joined(columns), table)
        names = [column[:_MAX_COLUMN] for column in columns[:_MAX_COLUMNS]]
        for cells in rest:
            self._row(names, cells, table)
        self._apart = True

    def _row(self, columns: Sequence[str], cells: Sequence[str], table: Token) -> None:
        if len(columns) <= 2 and len(cells) <= 2:
            self._write(f"• {_joined(cells)}", table)
            return
        mark = "• "
        for number, cell in enumerate(cells):
            if cell:
                column = columns[number] if number < len(columns) else ""
                self._write(f"{mark}{_joined([column, cell])}", table)
                mark = "  "

    def _write(self, text: str, block: Token, *, rstrip: bool = True) -> None:
        """Write the lines of `block`, after an empty line if the source has one there."""
        begin = block.map[0] if block.map else 0
        blank = begin > 0 and not self._source[begin - 1].strip(" \t>")
        margin = "".join(self._margins)
        if self.lines and (self._apart or blank) and self.lines[-1].strip(f" {MARGIN}"):
            self.lines.append("".join(part for part in self._margins if part == MARGIN).rstrip())
        self._apart = False
        first = margin if self._bullet is None else "".join(self._margins[:-1]) + self._bullet
        self._bullet = None
        for line in text.split("\n"):
            written = first + line
            self.lines.append(written.rstrip(" \t") if rstrip else written)
            first = margin


def _is_number(token: Token) -> bool:
    """Return whether an item begins with a number."""
    return token.type == "inline" and _NUMBER.match(token.content) is not None


def _end(tokens: Sequence[Token], begin: int) -> int:
    """Return the index after the token that closes the one at `begin`."""
    level = tokens[begin].level
    for at in range(begin + 1, len(tokens)):
        if tokens[at].level <= level and tokens[at].nesting <= 0:
            return at + 1
    return len(tokens)


def _words(tokens: Sequence[Token]) -> str:
    """Return the text of `tokens`, without the markup."""
    parts: list[str] = []
    links: list[tuple[int, Token]] = []
    for token in tokens:
        match token.type:
            case "softbreak" | "hardbreak":
                parts.append("\n")
            case "formula":
                parts.append(formula(token.content.strip()))
            case "footnote_reference_open":
                parts.append("[")
            case "footnote_reference_close":
                parts.append("]")
            case "image":
                label = _words(token.children or [])
                parts.append(_linked(label.strip(), str(token.attrs.get("src", ""))))
            case "link_open":
                links.append((len(parts), token))
            case "link_close":
                begin, opening = links.pop()
                label = "".join(parts[begin:])
                if opening.markup not in ("linkify", "autolink"):  # whose label is the address
                    label = _linked(label.strip(), str(opening.attrs["href"]))
                parts[begin:] = [label]
            case _:
                parts.append(token.content)
    return "".join(parts)


def _linked(label: str, address: str) -> str:
    return f"{label} ({address})" if address and label not in ("", address) else address or label


def _joined(cells: Sequence[str]) -> str:
    filled = [cell for cell in cells if cell]
    wide = any(ord(char) > 0x2E7F for cell in filled for char in cell)
    return ("：" if wide else ": ").join(filled)
