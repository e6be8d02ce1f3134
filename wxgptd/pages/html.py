"""A model's text as HTML that is safe in any browser. Pure.

Two walls ensure this: markdown-it with HTML switched off, and nh3 with our own allow-list (its
default one lets remote images through). The frames around code and tables are added after the
second wall, and do not depend on the content.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import nh3
from markdown_it.renderer import RendererProtocol
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from markupsafe import escape
from pygments.token import STANDARD_TYPES

from wxgptd import untyped
from wxgptd.markdown.reading import PICTURE_SIGN, reader
from wxgptd.pages import formulas
from wxgptd.pages.code import highlighted

References = Mapping[str, untyped.JsonView]
"""The link definitions of a text, by label."""

_TAGS = formulas.TAGS | {
    "a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li",
    "ol", "p", "pre", "s", "span", "strong", "sup", "table", "tbody", "td", "th", "thead", "tr",
    "ul",
}  # fmt: skip
_ATTRIBUTES: dict[str, set[str]] = {
    **formulas.ATTRIBUTES,
    "*": set(),  # nh3 would allow title and lang everywhere
    "a": {"href"},
    "ol": {"start"},
    "li": {"class"},
    "p": {"class"},
    "span": {"class", "tabindex"},
    "code": {"class"},
    "td": {"class"},
    "th": {"class"},
}
_ALIGNMENTS = frozenset({"left", "center", "right"})
_CLASSES = {
    "p": frozenset({"written", "footnote"}),
    "li": frozenset({"task"}),
    "span": frozenset({"formula inline", "formula block", "source", *STANDARD_TYPES.values()}),
    "code": frozenset({"written"}),
    "td": _ALIGNMENTS,
    "th": _ALIGNMENTS,
}
"""The `class` values allowed for each element: others would let text imitate the page."""
_LANGUAGE = re.compile(r"language-[^\s\"<>]{1,60}")
_WIDTH = re.compile(r"[+-]?[0-9]?(\.[0-9]{1,4})?(em|px)?|[a-z]+")
_ALIGNMENT_OF_STYLE = {
    "text-align:left": "left",
    "text-align:center": "center",
    "text-align:right": "right",
}


def _highlighted(code: str, language: str, _attributes: str) -> str:
    return highlighted(code, language)  # if this is empty, markdown-it escapes the code


def _picture(
    self: RendererProtocol, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType
) -> str:
    """Return a link instead of a picture, which could be fetched from any server."""
    token = tokens[index]
    words = self.renderInlineAsText(token.children or [], options, env) or PICTURE_SIGN  # type: ignore[attr-defined]
    return f'<a href="{escape(str(token.attrs.get("src", "")))}">{escape(words)}</a>'


def _attribute(tag: str, name: str, value: str) -> str | None:
    """Return the value to keep, or None: no links relative to the page, no oversized gaps."""
    match name:
        case "class":
            return value if _is_allowed_class(tag, value) else None
        case "href" if not value.lower().startswith(("http://", "https://")):
            return None
        case "width" if not _WIDTH.fullmatch(value):
            return None
        case _:
            return value


def _is_allowed_class(tag: str, value: str) -> bool:
    if tag == "code" and _LANGUAGE.fullmatch(value):
        return True
    return value in _CLASSES[tag]


_markdown = reader()
_markdown.options["highlight"] = _highlighted
formulas.enable(_markdown)
_markdown.add_render_rule("image", _picture)

_cleaner = nh3.Cleaner(
    tags=_TAGS,
    attributes=_ATTRIBUTES,
    url_schemes={"http", "https"},
    attribute_filter=_attribute,
    link_rel="noopener noreferrer nofollow",
)

_CODE = re.compile(r'<pre>(?=<code(?: class="language-([^"]*)")?>)')


def parse_blocks(source: str, references: untyped.References) -> list[Token]:
    """Return the block tokens of `source`, without parsing inline content.

    Adds the link definitions in `source` to `references`.
    """
    tokens: list[Token] = []
    env = {"references": references}
    _markdown.block.parse(source, _markdown, env, tokens)
    return tokens


def render(source: str, references: References) -> str:
    """Return `source`, a block of Markdown, as HTML."""
    return _framed(_cleaner.clean(first_wall(source, references)).strip())


def first_wall(source: str, references: References) -> str:
    """Return `source` as HTML before cleaning, which already contains no tags but our own."""
    tokens = _markdown.parse(source, {"references": dict(references)})
    for token in tokens:
        if token.type in ("td_open", "th_open"):  # nh3 rightly removes style attributes
            alignment = _ALIGNMENT_OF_STYLE.get(str(token.attrs.pop("style", "")))
            if alignment:
                token.attrs["class"] = alignment
    rendered: str = _markdown.renderer.render(tokens, _markdown.options, {})
    return rendered


def _framed(html: str) -> str:
    """Add the frames around code and tables, whose tags are escaped if they occur in text."""
    if "<pre>" in html:
        html = _CODE.sub(_code_frame, html).replace("</pre>", "</pre></div>")
    if "<table>" in html:
        html = html.replace("<table>", '<div class="wide" tabindex="0" role="group"><table>')
        html = html.replace("</table>", "</table></div>")
    return html


def _code_frame(match: re.Match[str]) -> str:
    return f'<div class="code" data-language="{match[1] or ""}"><pre tabindex="0">'
