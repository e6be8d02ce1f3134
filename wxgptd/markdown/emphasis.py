"""Emphasis as Chinese is written, and as names, products and paths are not. Pure.

CommonMark takes `**注意：**后面` for no emphasis, because punctuation stands before the closing
marks and a letter after them. Here Han characters and their punctuation count as neither, as the
proposal "CommonMark CJK-friendly" has it.

CommonMark takes `2*3*4`, `/usr/*/bin/*` and `__init__.py` for emphasis. Models do not mean it, and
a number that loses its marks is another number: so no mark between two Latin letters or digits, or
beside a slash or a dot on its inner side, and no word between double underscores.
"""

from __future__ import annotations

import re

from markdown_it import MarkdownIt
from markdown_it.common.utils import isMdAsciiPunct, isPunctChar, isWhiteSpace
from markdown_it.rules_inline import StateInline
from markdown_it.rules_inline.state_inline import Delimiter

_CJK = re.compile("[\u1100-\u11ff\u2e80-\ua4cf\uac00-\ud7af\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef"
                  "\U00020000-\U0003ffff]")  # fmt: skip
_DUNDER = re.compile(r"__[A-Za-z0-9]\w*?__(?![\w_])", re.ASCII)
_NEVER_BEGINS = frozenset("/.,;:?+)|=*")
"""What a single asterisk before it is part of: a path, a pattern, a product, a pointer."""


def enable(markdown: MarkdownIt) -> None:
    """Have `markdown` understand emphasis beside Han characters, and none in names."""
    markdown.inline.ruler.at("emphasis", _tokenize)


def _tokenize(state: StateInline, silent: bool) -> bool:
    marker = state.src[state.pos]
    if silent or marker not in "_*":
        return False
    if marker == "_" and (word := _DUNDER.match(state.src, state.pos, state.posMax)):
        state.pending += word[0]
        state.pos = word.end()
        return True
    scanned = state.scanDelims(state.pos, marker == "*")
    opens, closes = scanned.can_open, scanned.can_close
    if marker == "*":
        before = state.src[state.pos - 1] if state.pos else " "
        end = state.pos + scanned.length
        after = state.src[end] if end < state.posMax else " "
        opens = opens or _leans(before, after)
        closes = closes or _leans(after, before)
        if _is_latin(before) and _is_latin(after):
            opens = closes = False
        elif scanned.length == 1:
            opens = opens and after not in _NEVER_BEGINS
            closes = closes and before != "/"
    for _ in range(scanned.length):
        token = state.push("text", "", 0)
        token.content = marker
        state.delimiters.append(
            Delimiter(
                marker=ord(marker),
                length=scanned.length,
                token=len(state.tokens) - 1,
                end=-1,
                open=opens,
                close=closes,
            )
        )
    state.pos += scanned.length
    return True


def _is_latin(char: str) -> bool:
    return char.isascii() and char.isalnum()


def _leans(outside: str, inside: str) -> bool:
    """Tell whether marks between the two may belong to what is `inside`."""
    if isWhiteSpace(ord(inside)):
        return False
    if _CJK.match(inside) or not _is_punctuation(inside):
        return True
    return isWhiteSpace(ord(outside)) or _is_punctuation(outside) or bool(_CJK.match(outside))


def _is_punctuation(char: str) -> bool:
    return isMdAsciiPunct(ord(char)) or isPunctChar(char)
