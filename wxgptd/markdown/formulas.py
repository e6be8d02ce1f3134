r"""LaTeX in Markdown: `\(x\)` and `$x$` inline, `\[x\]` and `$$x$$` as blocks. Pure.

A block begins at a line that starts with an opening delimiter, and ends at its closing delimiter or
at the first blank line, as in LaTeX: what follows never changes what came before.

The tokens are `formula` and `formula_block`. Their content is the LaTeX; `meta["closed"]` indicates
whether a block has its closing delimiter, and `info` is the text after it.
"""

from __future__ import annotations

import re

from markdown_it import MarkdownIt
from markdown_it.ruler import RuleOptionsType
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

MAX_FORMULA_CHARS = 2_000

_ENVIRONMENTS = "align|aligned|cases|equation|eqnarray|gather|gathered|multline|split"
_OPENING = re.compile(rf"\$\$|\\\[|\\begin\{{(?:{_ENVIRONMENTS})\*?\}}")
_CLOSING = {"\\(": "\\)", "\\[": "\\]", "$$": "$$", "$": "$"}
_HAN = re.compile("[\u2e80-\u9fff\uff00-\uffef]")
_TEXT = re.compile(r"\\(?:text|mathrm|mbox)\s*\{[^{}]*\}")


def enable(markdown: MarkdownIt) -> None:
    """Make `markdown` recognise formulas."""
    interrupts: RuleOptionsType = {"alt": ["paragraph", "reference", "blockquote", "list", "table"]}
    markdown.block.ruler.before("fence", "formula_block", _block, interrupts)
    markdown.inline.ruler.before("escape", "formula", _inline)


def _block(state: StateBlock, begin: int, end: int, silent: bool) -> bool:
    if state.is_code_block(begin):
        return False
    first = _line(state, begin)
    opening = _OPENING.match(first)
    if opening is None:
        return False
    environment = opening[0].startswith("\\begin")
    closing = _CLOSING.get(opening[0]) or opening[0].replace("begin", "end")
    rest = first if environment else first[opening.end() :]
    before, closed, after = rest.partition(closing)
    if closed and after.strip(" \t.,;。，；"):
        return False  # text follows, so it is inline
    if silent:
        return True
    lines, line = [before], begin + 1
    while not closed and line < end and not state.isEmpty(line):
        if state.sCount[line] < state.blkIndent:
            break
        before, closed, after = _line(state, line).partition(closing)
        lines.append(before)
        line += 1
    state.line = line
    token = state.push("formula_block", "", 0)
    token.content = "\n".join(lines) + (closing if environment and closed else "")
    token.info = after.strip() if closed else ""
    token.meta = {"closed": bool(closed)}
    token.markup = opening[0]
    token.map = [begin, line]
    return True


def _line(state: StateBlock, line: int) -> str:
    return state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]]


def _inline(state: StateInline, silent: bool) -> bool:
    source, begin = state.src, state.pos
    opening = next((mark for mark in _CLOSING if source.startswith(mark, begin)), "")
    if not opening:
        return False
    closing = _CLOSING[opening]
    inside = begin + len(opening)
    limit = min(state.posMax, inside + MAX_FORMULA_CHARS)
    end = source.find(closing, inside, limit)
    if end < 0:
        return False
    content = source[inside:end]
    if not content.strip() or (opening == "$" and not _is_formula(source, begin, end, content)):
        return False
    if not silent:
        token = state.push("formula", "", 0)
        token.content, token.markup = content, opening
    state.pos = end + len(closing)
    return True


def _is_formula(source: str, begin: int, end: int, content: str) -> bool:
    """Return whether two dollar signs enclose a formula, not a price or a shell variable."""
    around = source[begin - 1 : begin] + source[end + 1 : end + 2]
    return not (
        content[0].isspace()
        or content[-1].isspace()
        or content.endswith("\\")
        or any(char.isascii() and (char.isalnum() or char == "$") for char in around)
        or _HAN.search(_TEXT.sub("", content))
    )


def as_written(block: Token) -> str:
    """Return the source of a `formula_block` that has no closing delimiter."""
    return block.content if block.markup.startswith("\\begin") else block.markup + block.content


def may_become_formula(rest: str, before: str) -> bool:
    """Return whether `rest`, which does not yet begin with a formula, may do so with more text."""
    opening = next((mark for mark in _CLOSING if rest.startswith(mark)), "")
    if not opening:
        return rest == "\\"
    content = rest[len(opening) :]
    if _CLOSING[opening] in content or len(content) > MAX_FORMULA_CHARS:
        return False
    if opening != "$":
        return True
    return not (
        content[:1].isspace()
        or (before[-1:].isascii() and (before[-1:].isalnum() or before[-1:] == "$"))
        or _HAN.search(_TEXT.sub("", content))
    )
