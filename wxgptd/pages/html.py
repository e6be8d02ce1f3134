"""What a model wrote, as HTML that is safe in anybody's browser. Pure.

Two walls: markdown-it with HTML switched off, and nh3 with an allow-list of our own (its default
one lets remote images through). The text is parsed as a whole each time, and rendered block by
block from a cache, so that a growing answer costs a parse and the block that grows.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import escape
from pygments import highlight
from pygments.formatters.html import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

MAX_RENDERED_BYTES = 32 * 1024
"""Hostile Markdown can take seconds a hundred kilobytes; the rest is shown as plain text."""

MAX_HIGHLIGHTED_CHARS = 3_000
_UNHIGHLIGHTED = re.compile(r"[^\n]{201}|\s{60}")
"""Many lexers of pygments take quadratic time on long lines and on blank ones."""

_LANGUAGES = {
    "Bash", "Bash Session", "C", "C#", "C++", "CSS", "Dart", "Diff", "Docker", "Go", "HTML",
    "HTTP", "INI", "JSON", "JSX", "Java", "JavaScript", "Kotlin", "Lua", "Makefile",
    "Nginx configuration file", "PHP", "Perl", "PowerShell", "Python", "Python console session",
    "Ruby", "Rust", "S", "SQL", "Scala", "Swift", "TOML", "TSX", "TeX", "TypeScript", "XML",
    "YAML",
}  # fmt: skip
"""Those whose lexers stay below half a second on the worst that the limits above let through."""

_TAGS = {
    "a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li",
    "ol", "p", "pre", "s", "span", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip
_ATTRIBUTES: dict[str, set[str]] = {
    "*": set(),  # nh3 would allow title and lang everywhere
    "a": {"href"},
    "ol": {"start"},
    "span": {"class"},
    "code": {"class"},
    "td": {"class"},
    "th": {"class"},
}
_REL = "noopener noreferrer nofollow"


def _highlighted(code: str, language: str, _attributes: str) -> str:
    if not language or len(code) > MAX_HIGHLIGHTED_CHARS or _UNHIGHLIGHTED.search(code):
        return ""  # markdown-it escapes it then
    try:
        lexer = get_lexer_by_name(language, stripnl=False)
    except ClassNotFound:
        return ""
    if lexer.name not in _LANGUAGES:
        return ""
    marked: str = highlight(code, lexer, HtmlFormatter(nowrap=True))
    return marked


_markdown = MarkdownIt(
    "commonmark", {"html": False, "linkify": False, "highlight": _highlighted, "maxNesting": 20}
).enable(["table", "strikethrough"])
# Pictures would be fetched from anywhere: their text is shown as a link instead.
_markdown.disable("image")


def blocks(text: str) -> tuple[str, ...]:
    """Return `text`, Markdown as a model writes it, as the HTML of its top-level blocks."""
    head, rest = _split(text)
    definitions: dict[str, Any] = {}
    tokens = _markdown.parse(head, definitions)
    references = tuple(
        (name, one["href"], one["title"]) for name, one in definitions.get("references", {}).items()
    )
    shown = [_block(source, references) for source in _sources(head, tokens)]
    if rest:
        shown.append(f'<p class="plain">{escape(rest)}</p>')
    return tuple(shown)


def _split(text: str) -> tuple[str, str]:
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= MAX_RENDERED_BYTES:
        return text, ""
    head = encoded[:MAX_RENDERED_BYTES].decode("utf-8", "ignore")
    cut = head.rfind("\n\n")
    if cut > len(head) // 2:
        head = head[:cut]
    return head, text[len(head) :].lstrip("\n")


def _sources(text: str, tokens: list[Token]) -> list[str]:
    """Return the source of each top-level block; definitions of links are in none."""
    lines = text.split("\n")
    spans = [token.map for token in tokens if token.level == 0 and token.map and _opens(token)]
    return ["\n".join(lines[begin:end]) for begin, end in spans]


def _opens(token: Token) -> bool:
    return token.nesting >= 0


def _attribute(_tag: str, name: str, value: str) -> str | None:
    """Return the value to keep: no link may lead somewhere relative to the page."""
    return None if name == "href" and not value.startswith(("http://", "https://")) else value


@lru_cache(maxsize=2_048)
def _block(source: str, references: tuple[tuple[str, str, str], ...]) -> str:
    known = {name: {"href": href, "title": title} for name, href, title in references}
    rendered = _markdown.render(source, {"references": known})
    return nh3.clean(
        rendered,
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        url_schemes={"http", "https"},
        attribute_filter=_attribute,
        link_rel=_REL,
    ).strip()
