"""Markdown as text that reads well in WeChat, which shows text and nothing else.

Line by line and from left to right, so that an answer can be shown while it is written: what a
growing text is made into is a beginning of what the whole will be. That is what no Markdown
library does, whose later lines change earlier ones; for the same reason a heading has to be
written with `#`, a table's lines have to begin with `|`, and nothing spans two lines but code,
formulas and tables.

Code is kept as it is. Emphasis loses its marks, links become `text (address)`, tables lines of
`column：cell`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import unescape
from urllib.parse import quote

from wxgptd.domain.formula import formula

RULE = "————————"

_URL_SAFE = "!#$%&'()*+,/:;=?@[]~"
"""What stands in addresses as it is. WeChat takes no Chinese character for part of one."""

_FENCE = re.compile(r"[^\S\n]{0,40}(?P<marks>`{3,99}+|~{3,99}+)(?P<info>[^`]*)")
_HEADING = re.compile(r" {0,3}#{1,6}(?:[ \t]|\Z)")
_RULE = re.compile(r" {0,3}(?:(?:-[ \t]*+){3,}|(?:\*[ \t]*+){3,}|(?:_[ \t]*+){3,})")
_UNDERLINE = re.compile(r" {0,3}={3,}[ \t]*")
_QUOTE = re.compile(r"(?: {0,3}>[ \t]?){1,8}")
_ITEM = re.compile(r"(?P<indent>[ \t]{0,40})[-*+][ \t]++(?P<task>\[[ xX]\][ \t]++)?")
_MATH = re.compile(r"[ \t]{0,40}(?:\$\$|\\\[)(?P<rest>(?:(?!\$\$|\\\]).)*)")
_MATH_END = re.compile(r"(?P<rest>.*?)(?:\$\$|\\\])(?P<behind>.*)")
_ROW = re.compile(r"[ \t]{0,40}\|.*")
_DELIMITER = re.compile(r"[ \t]{0,40}\|(?:[ \t]*+:?+-++:?+[ \t]*+\|)*+(?:[ \t]*+:?+-++:?+)?[ \t]*+")
_CELL = re.compile(r"((?:[^|\\]|\\.)*+)(?:\||$)")

_MAX_COLUMN, _MAX_COLUMNS = 30, 30
"""How much of a table's head is said again in each row."""

_SPAN = 400
"""How long emphasis, code or a formula within a line may be. A bound keeps time linear."""

_INLINE = re.compile(
    rf"""
    (?<!`)(?P<ticks>`++)(?P<code>.{{1,{_SPAN}}}?)(?<!`)(?P=ticks)(?!`)
  | !?\[(?P<label>(?:[^\[\]\\]|\\.){{0,{_SPAN}}})\]
      \([ ]{{0,9}}<?(?P<url>(?:[^()\s<>]|\([^()\s<>]{{0,{_SPAN}}}\)){{0,2000}}+)>?
      (?:[ ]{{1,9}}"[^"]{{0,200}}")?[ ]{{0,9}}\)
  | <(?P<auto>https?://[^<>\s]{{1,2000}})>
  | (?P<break><br[ ]?/?>)
  | (?P<entity>&(?:[a-zA-Z]{{2,8}}|\#[0-9]{{1,6}});)
  | \\\((?P<round>[^`]{{1,{_SPAN}}}?)\\\)
  | \\\[(?P<square>[^`]{{1,{_SPAN}}}?)\\\]
  | \$\$(?P<display>[^$`]{{1,{_SPAN}}})\$\$
  | \$(?![\s${{])(?P<math>(?:[^$\\`。，；！？]|\\.){{1,{_SPAN}}}?)(?<!\s)\$(?![\w$])
  | \\(?P<escaped>[!-'*-/:-@\\^-`{{-~])
  | (?<![0-9A-Za-z])\*\*(?=\S)(?P<strong>(?:[^\\]|\\.){{1,{_SPAN}}}?)(?<=\S)\*\*(?!\*)
  | (?<!\w)__(?=\S)(?![A-Za-z0-9_]+__)(?P<strong_>.{{1,{_SPAN}}}?)(?<=\S)__(?!\w)
  | (?<![0-9A-Za-z])\*(?=[^\s*/.,;:?+)|=])(?P<em>(?:[^*\\]|\\.){{1,{_SPAN}}}?)(?<=[^\s/])\*(?!\*)
  | (?<!\w)_(?=[^\s_])(?P<em_>[^_]{{1,{_SPAN}}}?)(?<=\S)_(?!\w)
  | ~~(?=\S)(?P<struck>.{{1,{_SPAN}}}?)(?<=\S)~~(?!~)
    """,
    re.VERBOSE,
)
_UNRESOLVED = re.compile(r"[`*_~\[\]<$\\|&]|!(?=\[|\Z)")
_MAY_BECOME = re.compile(
    r"[^\S\n]*+(?:[#>|`~$\\&].*|[-*+][ \t]++\[.{0,4}|[-*_+=\d.)\s]*+)", re.DOTALL
)
"""Beginnings of lines that what follows can still make into something else."""


def plain(text: str, *, growing: bool = False) -> str:
    """Return `text` without its Markdown.

    Of a `growing` text, as much as no continuation can change.
    """
    writer = _Writer()
    lines = text.split("\n")
    for line in lines[:-1]:
        writer.take(line)
    if growing:
        writer.begin(lines[-1])
    else:
        writer.take(lines[-1])
        writer.end()
    return "".join(writer.written)


class _Writer:
    def __init__(self) -> None:
        self.written: list[str] = []
        self._fence = ""
        self._math = False
        self._header: str | None = None
        self._columns: Sequence[str] | None = None
        self._blank = True  # whether nothing, or an empty line, came before
        self._lines = 0

    # Whole lines.

    def take(self, line: str) -> None:
        """Take a line that is complete."""
        if self._fence:
            self._in_code(line)
        elif self._math:
            self._in_math(line)
        elif not self._in_table(line):
            self._outside(line)

    def end(self) -> None:
        """Take note that no line follows."""
        header, self._header = self._header, None
        if header is not None:
            self._outside(header)

    def _in_code(self, line: str) -> None:
        match = _FENCE.fullmatch(line)
        if (
            match is not None
            and match["marks"].startswith(self._fence)
            and not match["info"].strip()
        ):
            self._fence = ""
            self._gap()
        else:
            self._emit(line)

    def _in_math(self, line: str) -> None:
        match = _MATH_END.fullmatch(line)
        if match is None:
            self._text(formula(line.strip()))
            return
        self._math = False
        if match["rest"].strip():
            self._text(formula(match["rest"].strip()))
        if match["behind"].strip():
            self._text(_inline(match["behind"].strip()))

    def _in_table(self, line: str) -> bool:
        """Take `line` if it belongs to a table, or may begin one."""
        if self._columns is not None:
            if _ROW.fullmatch(line):
                self._row(self._columns, _cells(line))
                return True
            self._columns = None
            self._gap()
            return False
        header, self._header = self._header, None
        if header is not None and _DELIMITER.fullmatch(line) and "-" in line:
            self._begin_table(_cells(header))
            return True
        if header is not None:
            self._outside(header)
        if _ROW.fullmatch(line):
            self._header = line
            return True
        return False

    def _begin_table(self, columns: Sequence[str]) -> None:
        wide = any(len(column) > _MAX_COLUMN for column in columns)
        self._columns = [column[:_MAX_COLUMN] for column in columns[:_MAX_COLUMNS]]
        self._gap()
        if len(columns) <= 2 or wide:
            self._text(_joined(columns))

    def _row(self, columns: Sequence[str], cells: Sequence[str]) -> None:
        if len(columns) <= 2 and len(cells) <= 2:
            self._text(f"• {_joined(cells)}")
            return
        mark = "• "
        for number, cell in enumerate(cells):
            if cell:
                column = columns[number] if number < len(columns) else ""
                self._text(f"{mark}{_joined([column, cell])}")
                mark = "  "

    def _outside(self, line: str) -> None:
        fence = _FENCE.fullmatch(line)
        math = _MATH.fullmatch(line)
        if fence is not None:
            self._fence = fence["marks"]
            self._gap()
        elif math is not None:
            self._math = True
            if math["rest"].strip():
                self._text(formula(math["rest"].strip()))
        elif not line.strip():
            self._gap()
        else:
            # A backslash at the end of a line is a line end, too.
            said = _line(line.removesuffix("\\"))
            if said:
                self._text(said)

    # What is written.

    def _text(self, said: str) -> None:
        self._emit(said.rstrip(" \t\r"))

    def _emit(self, said: str) -> None:
        if self._lines:
            self.written.append("\n")
        self._lines += 1
        self.written.append(said)
        self._blank = not said.strip()

    def _gap(self) -> None:
        """Leave one line empty, unless there is one already."""
        if not self._blank:
            self._emit("")

    # The line that is still being written.

    def begin(self, line: str) -> None:
        """Write as much of an unfinished `line` as no continuation can change."""
        if self._fence:
            if line.strip() and not line.lstrip().startswith(("`", "~")):
                self._emit(line)
            return
        if self._math or _MAY_BECOME.fullmatch(line):
            return
        if self._columns is not None:
            self._gap()  # it begins with no `|`, so the table is over
        elif self._header is not None:
            self.end()
        item = _ITEM.match(line)
        behind = item.end() if item is not None else 0
        stable = _stable(line, behind)
        said = (_bullet(item) if item is not None else "") + _inline(line[behind:stable])
        if said.strip():
            self._text(said)


def _line(line: str) -> str:
    """Return an ordinary line without its marks."""
    if _RULE.fullmatch(line):
        return RULE
    if _UNDERLINE.fullmatch(line):
        return ""
    if _HEADING.match(line) is not None:
        title = line.strip().lstrip("#").strip().rstrip("#").rstrip()
        return f"【{_inline(title)}】" if title else ""
    quote = _QUOTE.match(line)
    if quote is not None:
        return "│ " * quote[0].count(">") + _line(line[quote.end() :].lstrip("> \t"))
    item = _ITEM.match(line)
    if item is not None:
        return _bullet(item) + _inline(line[item.end() :])
    return _inline(line)


def _bullet(item: re.Match[str]) -> str:
    indent = item["indent"].replace("\t", "    ")
    if item["task"]:
        return f"{indent}{'☐' if item['task'][1] == ' ' else '☑'} "
    return f"{indent}{'◦' if len(indent) >= 2 else '•'} "


def _inline(text: str) -> str:
    return _INLINE.sub(_unmarked, text)


def _unmarked(match: re.Match[str]) -> str:
    kind, said = match.lastgroup, match[match.lastgroup or 0]
    match kind:
        case "code":
            inner = match["code"]
            spaced = inner.startswith(" ") and inner.endswith(" ") and inner.strip()
            return inner[1:-1] if spaced else inner
        case "entity":
            return unescape(said)
        case "url":
            said = quote(said, safe=_URL_SAFE, errors="replace")
            label = _inline(match["label"]).strip()
            return f"{label} ({said})" if said and label not in ("", said) else said or label
        case "break" | "auto" | "escaped":
            return "\n" if kind == "break" else said
        case "round" | "square" | "display" | "math":
            return formula(said.strip())
        case _:
            return _inline(said)


def _stable(line: str, begin: int) -> int:
    """Return up to where `line` means the same whatever follows."""
    at = begin
    for match in _INLINE.finditer(line, begin):
        loose = _UNRESOLVED.search(line, at, match.start())
        if loose is not None:
            return loose.start()
        if match.end() == len(line):
            return match.start()
        at = match.end()
    loose = _UNRESOLVED.search(line, at)
    return loose.start() if loose is not None else len(line)


def _cells(line: str) -> list[str]:
    inner = line.strip().removeprefix("|")
    found = [match[1] for match in _CELL.finditer(inner)]
    if found and not found[-1].strip():
        found.pop()
    return [_inline(cell.strip()).replace("\n", " ") for cell in found]


def _joined(cells: Sequence[str]) -> str:
    filled = [cell for cell in cells if cell]
    wide = any(ord(char) > 0x2E7F for cell in filled for char in cell)
    return ("：" if wide else ": ").join(filled)
