"""Emphasis that works next to Chinese, and leaves names, products and paths alone. Pure.

CommonMark sees no emphasis in `**注意：**后面`, because the closing delimiters follow punctuation
and precede a letter. Here Han characters and their punctuation count as neither, following the
proposal "CommonMark CJK-friendly".

CommonMark sees emphasis in `2*3*4`, `(a+b)*(c+d)*e`, `/usr/*/bin/*` and `__init__.py`, and a number
that is struck out in `价格~~100~~80元`. Models do not mean that, and a number that loses its
delimiters becomes a different number. So an asterisk is not emphasis between two letters or digits
that are not Han, next to a digit, between brackets, or with a slash or a dot on its inner side; but
two asterisks after a letter may open emphasis, as in `iPhone**Pro**版`. Tildes between two letters
or digits are plain text.
"""

from __future__ import annotations

import re

from markdown_it import MarkdownIt
from markdown_it.common.utils import isMdAsciiPunct, isPunctChar, isWhiteSpace
from markdown_it.rules_inline import StateInline
from markdown_it.rules_inline.state_inline import Delimiter

_CJK = re.compile("[\u1100-\u11ff\u2e80-\ua4cf\uac00-\ud7af\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef"
                  "\U00020000-\U0003ffff]")  # fmt: skip
_DUNDER = re.compile(r"__[A-Za-z0-9]\w{0,60}?__(?![\w_])", re.ASCII)
_TILDES = re.compile(r"~+")
_BRACKETS = frozenset("()[]{}（）")
_NEVER_BEGINS = frozenset("/.,;:?+)|=*")
"""An asterisk before one of these belongs to a path, a pattern, a product or a pointer."""


def enable(markdown: MarkdownIt) -> None:
    """Make `markdown` recognise emphasis next to Han characters, but not in names."""
    markdown.inline.ruler.at("emphasis", _tokenize)
    markdown.inline.ruler.before("strikethrough", "tildes", _tildes)


def _tokenize(state: StateInline, silent: bool) -> bool:
    marker = state.src[state.pos]
    if silent or marker not in "_*":
        return False
    if marker == "_" and (dunder := _DUNDER.match(state.src, state.pos, state.posMax)):
        state.pending += dunder[0]
        state.pos = dunder.end()
        return True
    scanned = state.scanDelims(state.pos, marker == "*")
    opens, closes = scanned.can_open, scanned.can_close
    if marker == "*":
        before = state.src[state.pos - 1] if state.pos else " "
        end = state.pos + scanned.length
        after = state.src[end] if end < state.posMax else " "
        opens = opens or _may_attach(before, after)
        closes = closes or _may_attach(after, before)
        if _is_word(before) and _is_word(after):
            opens = scanned.length == 2 and before.isalpha() and after.isalpha()
            closes = False
        elif before in _BRACKETS and after in _BRACKETS:
            opens = closes = False
        elif scanned.length == 1:
            beside_digit = before.isdigit() or after.isdigit()
            opens = opens and after not in _NEVER_BEGINS and not beside_digit
            closes = closes and before != "/" and not beside_digit
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


def _tildes(state: StateInline, silent: bool) -> bool:
    """Keep tildes between two letters or digits as plain text."""
    tildes = _TILDES.match(state.src, state.pos, state.posMax)
    if tildes is None:
        return False
    before = state.src[state.pos - 1] if state.pos else " "
    after = state.src[tildes.end()] if tildes.end() < state.posMax else " "
    if not (_is_word(before) and _is_word(after)):
        return False
    if not silent:
        state.pending += tildes[0]
    state.pos = tildes.end()
    return True


def _is_word(char: str) -> bool:
    return char.isalnum() and not _CJK.match(char)


def _may_attach(outside: str, inside: str) -> bool:
    """Return whether delimiters between `outside` and `inside` may belong to `inside`."""
    if isWhiteSpace(ord(inside)):
        return False
    if _CJK.match(inside) or not _is_punctuation(inside):
        return True
    return isWhiteSpace(ord(outside)) or _is_punctuation(outside) or bool(_CJK.match(outside))


def _is_punctuation(char: str) -> bool:
    return isMdAsciiPunct(ord(char)) or isPunctChar(char)
