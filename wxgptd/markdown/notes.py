"""What models write besides CommonMark: URLs, footnotes, citations, tasks, line breaks. Pure.

URLs are found before emphasis, so that `__main__` in one is left alone, and end at the first
character that is not ASCII: Chinese follows them without a space, and WeChat ends them there too.

Footnotes are parsed line by line, because an answer is shown while it grows. The existing plugins
number footnotes across the whole text and collect them at its end.
"""

from __future__ import annotations

import re

from linkify_it import LinkifyIt
from markdown_it import MarkdownIt
from markdown_it.common.utils import normalizeReference
from markdown_it.rules_block import StateBlock
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline

_SCHEME = re.compile(r"(?<![A-Za-z0-9])https?\Z", re.IGNORECASE)
_ASCII = re.compile(r"[!-;=?-_a-z~]*")
"""The characters of a URL, which exclude `<`, `>`, backticks and braces."""
_BR = re.compile(r"<br ?/?>", re.IGNORECASE)
_FOOTNOTE = re.compile(r"\[\^([^\s\[\]]{1,40})\]")
_DEFINITION = re.compile(r"\[\^([^\s\[\]]{1,40})\]:[ \t]*")
_CITATION = re.compile(r"\[([0-9]{1,3})\](?!\(|\[(?![0-9]{1,3}\]))")
_TASK = re.compile(r"\[([ xX])\][ \t]+(?=\S)")

_linkify = LinkifyIt(options={"fuzzy_link": False, "fuzzy_email": False, "fuzzy_ip": False})


def enable(markdown: MarkdownIt) -> None:
    """Make `markdown` recognise all of these."""
    markdown.inline.ruler.before("escape", "address", _address)
    markdown.inline.ruler.before("autolink", "line_break", _line_break)
    markdown.inline.ruler.before("link", "footnote_reference", _footnote_reference)
    markdown.inline.ruler.before("link", "citation", _citation)
    markdown.inline.ruler.before("link", "lonely_bracket", _lonely_bracket)
    markdown.block.ruler.before(
        "reference", "footnote", _footnote, {"alt": ["paragraph", "reference"]}
    )
    markdown.core.ruler.before("inline", "tasks", _tasks)


def address_at(state: StateInline) -> re.Match[str] | None:
    """Return the longest possible URL whose scheme ends at the position of `state`, if any."""
    if not state.src.startswith("://", state.pos) or state.linkLevel > 0:
        return None
    scheme = _SCHEME.search(state.pending[-6:])
    return _ASCII.match(state.src, state.pos - len(scheme[0])) if scheme is not None else None


def _address(state: StateInline, silent: bool) -> bool:
    written = address_at(state)
    link = _linkify.match_at_start(written[0]) if written is not None else None
    if written is None or link is None:
        return False
    scheme = state.src[written.start() : state.pos]
    url = link.url.rstrip("*_~")
    href = state.md.normalizeLink(url)
    if not state.md.validateLink(href):
        return False
    if not silent:
        state.pending = state.pending[: -len(scheme)]
        token = state.push("link_open", "a", 1)
        token.attrs = {"href": href}
        token.markup = "linkify"
        state.push("text", "", 0).content = url
        state.push("link_close", "a", -1).markup = "linkify"
    state.pos += len(url) - len(scheme)
    return True


def _line_break(state: StateInline, silent: bool) -> bool:
    """Match `<br>`, the only tag that models write: Markdown has no line breaks in table cells."""
    match = _BR.match(state.src, state.pos)
    if match is None:
        return False
    if not silent:
        state.push("hardbreak", "br", 0)
    state.pos = match.end()
    return True


def _footnote_reference(state: StateInline, silent: bool) -> bool:
    match = _FOOTNOTE.match(state.src, state.pos, state.posMax)
    if match is None or state.src.startswith("(", match.end()):
        return False
    if not silent:
        state.push("footnote_reference_open", "sup", 1)
        state.push("text", "", 0).content = match[1]
        state.push("footnote_reference_close", "sup", -1)
    state.pos = match.end()
    return True


def _citation(state: StateInline, silent: bool) -> bool:
    """Match `[1]` and keep its brackets in the text.

    In CommonMark, `[1][2]` is one link, to the target of 2, and a link loses its brackets: 第[1]条
    would become a different number.
    """
    match = _CITATION.match(state.src, state.pos, state.posMax)
    if match is None:
        return False
    if not silent:
        reference = state.env.get("references", {}).get(normalizeReference(match[1]))
        if reference is not None:
            state.push("link_open", "a", 1).attrs = {"href": reference["href"]}
        state.push("text", "", 0).content = match[0]
        if reference is not None:
            state.push("link_close", "a", -1)
    state.pos = match.end()
    return True


def _lonely_bracket(state: StateInline, silent: bool) -> bool:
    """Match an unclosed bracket as plain text, because searching for its end is slow."""
    char = state.src[state.pos]
    is_picture = char == "!" and state.src.startswith("[", state.pos + 1)
    if not (char == "[" or is_picture) or state.env.get("growing"):
        return False
    if state.src.find("]", state.pos, state.posMax) >= 0:
        return False
    if not silent:
        state.pending += char
    state.pos += 1
    return True


def _footnote(state: StateBlock, begin: int, _end: int, silent: bool) -> bool:
    """Match a line that defines a footnote."""
    if state.is_code_block(begin):
        return False
    first = state.bMarks[begin] + state.tShift[begin]
    match = _DEFINITION.match(state.src, first, state.eMarks[begin])
    if match is None:
        return False
    if silent:
        return True
    state.line = begin + 1
    token = state.push("footnote_open", "p", 1)
    token.map, token.attrs = [begin, begin + 1], {"class": "footnote"}
    token = state.push("inline", "", 0)
    words = state.src[match.end() : state.eMarks[begin]].strip()
    token.content = f"[^{match[1]}] {words}"
    token.map, token.children = [begin, begin + 1], []
    state.push("footnote_close", "p", -1)
    return True


def _tasks(state: StateCore) -> None:
    """Replace `[ ]` or `[x]` at the start of list items with a checkbox."""
    for item, paragraph, inline in zip(
        state.tokens, state.tokens[1:], state.tokens[2:], strict=False
    ):
        if item.type == "list_item_open" and paragraph.type == "paragraph_open":
            match = _TASK.match(inline.content)
            if match is not None:
                box = "☐" if match[1] == " " else "☑"
                item.meta = {"task": box}
                if not item.info:  # the checkbox replaces the bullet
                    item.attrs["class"] = "task"
                inline.content = f"{box} {inline.content[match.end() :]}"
