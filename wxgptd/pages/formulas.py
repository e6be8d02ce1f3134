r"""LaTeX as MathML. Pure.

A formula that is not closed (yet), or that cannot be converted, is shown as its source.

The source is also kept next to the MathML, for browsers without MathML and for copying.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree.ElementTree import Element, tostring

from latex2mathml.converter import Converter
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererProtocol
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from markupsafe import escape

from wxgptd.markdown.formulas import MAX_FORMULA_CHARS, as_written

MAX_NARROW_CHARS = 20

TAGS = {
    "math", "menclose", "mfrac", "mi", "mmultiscripts", "mn", "mo", "mover", "mpadded",
    "mphantom", "mroot", "mrow", "mspace", "msqrt", "mstyle", "msub", "msubsup", "msup",
    "mtable", "mtd", "mtext", "mtr", "munder", "munderover",
}  # fmt: skip
ATTRIBUTES: dict[str, set[str]] = {
    "math": {"display"},
    "mfrac": {"linethickness"},
    "mi": {"mathvariant"},
    "mo": {
        "accent", "fence", "form", "largeop", "lspace", "maxsize", "minsize", "movablelimits",
        "rspace", "separator", "stretchy",
    },
    "mpadded": {"width"},
    "mspace": {"width"},
    "mstyle": {"displaystyle", "scriptlevel"},
    "mtd": {"columnalign"},
}  # fmt: skip

_ENVIRONMENT = re.compile(
    r"\\(begin|end)\{(?:(align|aligned|alignat|eqnarray|flalign)|gather|gathered|multline)\*?\}"
)
"""Environments that the converter lacks or would number, to be replaced by one it supports."""
_FUNCTION = re.compile(r"<mi>([a-z]{2,})</mi>(?!</m(?:sub|sup|under))")
"""Function names such as log, which would otherwise be set without space around them."""
_ENTITY = re.compile(r"&#x([0-9A-F]{2,6});")
"""How the converter writes non-ASCII characters, even in text."""
_DEFINITION = re.compile(r"\\(?:(?:re)?new(?:command|environment)|def|DeclareMathOperator)")
"""Macro definitions, which are rejected: nested macros expand without bound."""


def enable(markdown: MarkdownIt) -> None:
    """Make `markdown` render formulas."""
    markdown.add_render_rule("formula_block", _render_block)
    markdown.add_render_rule("formula", _render_inline)


def _render_inline(
    _self: RendererProtocol,
    tokens: Sequence[Token],
    index: int,
    _options: OptionsDict,
    _env: EnvType,
) -> str:
    token = tokens[index]
    return _shown(token.content, "block" if token.markup in ("$$", "\\[") else "inline")


def _render_block(
    _self: RendererProtocol,
    tokens: Sequence[Token],
    index: int,
    _options: OptionsDict,
    _env: EnvType,
) -> str:
    token = tokens[index]
    if not token.meta["closed"]:
        return f'<p class="written">{escape(as_written(token))}</p>\n'
    return f"<p>{_shown(token.content, 'block')}{escape(token.info)}</p>\n"


def _shown(source: str, display: str) -> str:
    source = source.strip()
    math = "" if len(source) > MAX_FORMULA_CHARS else _as_mathml(source, display)
    if not math:
        return f'<code class="written">{escape(source)}</code>'
    # A formula that may be wider than a phone scrolls, so it must be focusable by keyboard.
    focusable = ' tabindex="0"' if display == "block" or len(source) > MAX_NARROW_CHARS else ""
    hidden_source = f'<span class="source">{escape(source)}</span>'
    return f'<span class="formula {display}"{focusable}>{math}{hidden_source}</span>'


def _substitute(match: re.Match[str]) -> str:
    return f"\\{match[1]}{{{'split' if match[2] else 'matrix'}}}"


def _as_mathml(source: str, display: str) -> str:
    if _DEFINITION.search(source):
        return ""
    try:
        source = _ENVIRONMENT.sub(_substitute, source)
        formula = Converter(display=display).convert_to_element(source)
        math = _serialised(formula)
    except Exception:  # noqa: BLE001 (it raises all sorts of exceptions on invalid input)
        return ""
    if "<mi>\\" in math:
        return ""  # an unknown command
    return _FUNCTION.sub(r'<mo form="prefix" lspace=".17em" rspace=".17em">\1</mo>', math)


def _serialised(formula: Element) -> str:
    r"""Return MathML in which no text from the formula can become a tag.

    The converter's own serialisation unescapes everything, which makes `\text{<b>}` a tag, and it
    has commands that set arbitrary classes, styles and URLs.
    """
    for element in formula.iter():
        element.text, element.tail = _decoded(element.text), _decoded(element.tail)
        allowed = ATTRIBUTES.get(element.tag, set())
        element.attrib = {name: value for name, value in element.attrib.items() if name in allowed}
    return tostring(formula, encoding="unicode")


def _decoded(text: str | None) -> str | None:
    return _ENTITY.sub(lambda match: chr(int(match[1], 16)), text) if text else text
