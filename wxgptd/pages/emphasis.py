"""Emphasis as Chinese is written: without spaces, and with marks beside punctuation. Pure.

CommonMark takes `**注意：**后面` for no emphasis, because punctuation stands before the closing
marks and a letter behind them. Here Han characters and their punctuation count as neither, as the
proposal "CommonMark CJK-friendly" has it; texts without them mean what they always meant.
"""

from __future__ import annotations

import re

from markdown_it import MarkdownIt
from markdown_it.common.utils import isMdAsciiPunct, isPunctChar, isWhiteSpace
from markdown_it.rules_inline import StateInline
from markdown_it.rules_inline.state_inline import Delimiter

_CJK = re.compile("[\u1100-\u11ff\u2e80-\ua4cf\uac00-\ud7af\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef"
                  "\U00020000-\U0003ffff]")  # fmt: skip


def enable(markdown: MarkdownIt) -> None:
    """Have `markdown` understand emphasis beside Han characters."""
    markdown.inline.ruler.at("emphasis", _tokenize)


def _tokenize(state: StateInline, silent: bool) -> bool:
    marker = state.src[state.pos]
    if silent or marker not in "_*":
        return False
    scanned = state.scanDelims(state.pos, marker == "*")
    opens, closes = scanned.can_open, scanned.can_close
    if marker == "*":
        before = state.src[state.pos - 1] if state.pos else " "
        end = state.pos + scanned.length
        after = state.src[end] if end < state.posMax else " "
        opens = opens or _leans(before, after)
        closes = closes or _leans(after, before)
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


def _leans(outside: str, inside: str) -> bool:
    """Tell whether marks between the two may belong to what is `inside`."""
    if isWhiteSpace(ord(inside)):
        return False
    if _CJK.match(inside) or not _is_punctuation(inside):
        return True
    return isWhiteSpace(ord(outside)) or _is_punctuation(outside) or bool(_CJK.match(outside))


def _is_punctuation(char: str) -> bool:
    return isMdAsciiPunct(ord(char)) or isPunctChar(char)
