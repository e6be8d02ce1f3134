"""Find the part of a growing text that is final, whatever follows. Pure.

`held` returns how much of the text will certainly keep its blocks; `decided`, the part of the last
paragraph before any delimiter that may still be closed.
"""

from __future__ import annotations

import re

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from wxgptd.markdown import reading
from wxgptd.markdown.formulas import may_become_formula
from wxgptd.markdown.notes import address_at

_CONTAINERS = re.compile(r"[\s>]*(?:(?:[-*+]|[0-9]{1,9}[.)])[ \t]+[\s>]*)*")
"""The block quote and list markers at the start of a line."""
_MAY_BECOME = re.compile(r"(?:[#>|`~$\\&].*|\[[ xX^].*|[-*+_=\d.)\s]*)", re.DOTALL)
"""Starts of lines that may still become something other than plain text."""
_DELIMITERS = re.compile(r"[\s|:>-]*")
"""The characters of a table's delimiter row."""
_TAIL = "`*_~$()[]{}!<>&\\:|^\"'"
"""Characters that may form markup together with what follows."""
_BRACKETS = re.compile(r"!?\[(?:[^\[\]\\]|\\.)*+\](?=[^(\[])", re.DOTALL)
_TAG = re.compile(r"<(?:[A-Za-z][^\s<>]*|/[^\s<>]*|br? ?/?)?\Z", re.IGNORECASE)
_ENTITY = re.compile(r"&#?\w{0,31}\Z")
_TICKS = re.compile(r"`+")


def reader() -> MarkdownIt:
    """Return the parser for texts that may still grow.

    It ignores link definitions, because they come after the text that they change.
    """
    markdown = reading.reader()
    markdown.disable("reference")
    markdown.inline.ruler.before("address", "undecided_address", _address)
    markdown.inline.ruler.before("escape", "undecided_formula", _formula)
    markdown.inline.ruler.before("backticks", "undecided_code", _code)
    markdown.inline.ruler.push("undecided", _other)
    markdown.inline.ruler2.before("fragments_join", "undecided_emphasis", _emphasis)
    return markdown


def held(text: str, markdown: MarkdownIt) -> int:
    """Return how many characters of a growing `text` keep their blocks, whatever follows."""
    begin = text.rfind("\n") + 1
    rest = text[begin:]
    containers = _CONTAINERS.match(rest)
    words = rest[containers.end() :] if containers is not None else rest
    previous = text.rfind("\n", 0, max(begin - 1, 0)) + 1
    head = text[previous:begin]
    if "|" in head and _DELIMITERS.fullmatch(rest) and _leaf(text[:begin], markdown) == "paragraph":
        return previous
    leaf = _leaf(text, markdown) if rest.strip() else ""
    if leaf == "paragraph" and not _MAY_BECOME.fullmatch(words) and "|" not in rest:
        certain = words.rstrip().rstrip(_TAIL).rstrip()
        end = len(text) - len(words) + len(certain)
        return begin if _MAY_BECOME.fullmatch(certain) else end
    if leaf == "fence" and words and words[0] not in "`~":
        return len(text)
    end = begin
    if _leaf(text[:end], markdown) == "formula":
        end = _beginning(text[:end], markdown)
    return end


def decided(words: str, markdown: MarkdownIt) -> list[Token]:
    """Return the tokens of `words`, an unfinished paragraph, that are final whatever follows."""
    tokens: list[Token] = []
    words = words.rstrip().rstrip(_TAIL)
    for part in reading.parts(words):
        is_open = len(part) < reading.MAX_PART_CHARS
        markdown.inline.parse(part, markdown, {"growing": is_open}, tokens)
    end = next((at for at, token in enumerate(tokens) if token.type == "undecided"), len(tokens))
    opened: list[int] = []
    for at, token in enumerate(tokens[:end]):
        if token.nesting == 1:
            opened.append(at)
        elif token.nesting == -1:
            opened.pop()
    return tokens[: min([end, *opened])]


def _leaf(text: str, markdown: MarkdownIt) -> str:
    """Return the kind of block that the last line of `text` belongs to, or an empty string."""
    tokens = _blocks(text, markdown)
    lines = text.count("\n") + (not text.endswith("\n"))
    covering = [token for token in tokens if token.map and token.map[1] >= lines]
    if not covering:
        return ""
    last = covering[-1]
    if any(token.type == "table_open" for token in covering):
        return "table"
    assert last.map is not None
    match last.type:
        case "fence":
            content = last.content.count("\n") + (last.content[-1:] not in ("", "\n"))
            return "" if last.map[1] - last.map[0] > content + 1 else "fence"
        case "formula_block":
            return "" if last.meta["closed"] else "formula"
        case "inline":
            above = tokens[tokens.index(last) - 1]
            return "paragraph" if above.type == "paragraph_open" else "line"
        case _:
            return "other"


def _beginning(text: str, markdown: MarkdownIt) -> int:
    """Return where the last block of `text` begins."""
    last = next(token for token in reversed(_blocks(text, markdown)) if token.map)
    assert last.map is not None
    lines = text.split("\n")
    return sum(len(line) + 1 for line in lines[: last.map[0]])


def _blocks(text: str, markdown: MarkdownIt) -> list[Token]:
    tokens: list[Token] = []
    markdown.block.parse(text, markdown, {}, tokens)
    return tokens


def _undecided(state: StateInline) -> bool:
    state.push("undecided", "", 0).content = state.src[state.pos : state.posMax]
    state.pos = state.posMax
    return True


def _address(state: StateInline, silent: bool) -> bool:
    """Match a URL that may continue, so that its last characters are not taken for markup."""
    if silent or not state.env.get("growing"):
        return False
    written = address_at(state)
    if written is None or written.end() < state.posMax:
        return False
    scheme = state.pos - written.start()
    state.pending = state.pending[:-scheme]
    state.pos -= scheme
    return _undecided(state)


def _formula(state: StateInline, silent: bool) -> bool:
    """Match text that may become a formula or an escape."""
    if silent or not state.env.get("growing") or state.src[state.pos] not in "\\$":
        return False
    rest = state.src[state.pos : state.posMax]
    return may_become_formula(rest, state.src[: state.pos]) and _undecided(state)


def _code(state: StateInline, silent: bool) -> bool:
    """Match code that may still be closed."""
    if silent or not state.env.get("growing") or state.src[state.pos] != "`":
        return False
    ticks = _TICKS.match(state.src, state.pos, state.posMax)
    assert ticks is not None
    for other in _TICKS.finditer(state.src, ticks.end(), state.posMax):
        if other[0] == ticks[0]:
            return False
    return _undecided(state)


def _other(state: StateInline, silent: bool) -> bool:
    """Match text that may become a link, a tag or an entity."""
    if silent or not state.env.get("growing"):
        return False
    source, at = state.src, state.pos
    match source[at]:
        case "[":
            undecided = _BRACKETS.match(source, at, state.posMax) is None
        case "!":
            undecided = source.startswith("[", at + 1)
            undecided = undecided and _BRACKETS.match(source, at, state.posMax) is None
        case "<":
            undecided = _TAG.match(source, at, state.posMax) is not None
        case "&":
            undecided = _ENTITY.match(source, at, state.posMax) is not None
        case _:
            undecided = False
    return undecided and _undecided(state)


def _emphasis(state: StateInline) -> None:
    """Turn emphasis delimiters that may still be closed into undecided tokens."""
    if state.env.get("growing"):
        for mark in state.delimiters:
            if mark.open and mark.end < 0:
                state.tokens[mark.token].type = "undecided"
