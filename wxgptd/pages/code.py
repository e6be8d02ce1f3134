"""Syntax highlighting: code as HTML. Pure.

Pygments lexers can take quadratic time on hostile input, so they are given a block in pieces of
bounded size, and only if the language's lexer takes less than half a second on the worst piece.
Pieces end at line breaks and do not depend on the text after them, so all but the last piece of
a growing block come from the cache.
"""

from __future__ import annotations

import re
from functools import lru_cache

from markupsafe import escape
from pygments import highlight
from pygments.formatters.html import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

MAX_PIECE_CHARS = 3_000
MAX_PIECES = 4
"""The rest of a longer block is shown without highlighting."""

_UNHIGHLIGHTED = re.compile(r"[^\n]{201}|\s{60}")
"""Many lexers take quadratic time on long lines and on long runs of white space."""

_LANGUAGES = {
    "Bash", "Bash Session", "C", "C#", "C++", "CSS", "Dart", "Diff", "Docker", "Go", "HTML",
    "HTTP", "INI", "JSON", "JSX", "Java", "JavaScript", "Kotlin", "Lua", "Makefile",
    "Nginx configuration file", "PHP", "Perl", "PowerShell", "Python", "Python console session",
    "Ruby", "Rust", "S", "SQL", "Scala", "Swift", "TOML", "TSX", "TeX", "TypeScript", "XML",
    "YAML",
}  # fmt: skip

_formatter = HtmlFormatter(nowrap=True)


def highlighted(code: str, language: str) -> str:
    """Return `code` as HTML, or "" if its language cannot be highlighted."""
    alias = _safe_alias(language)
    if not alias:
        return ""
    pieces = _pieces(code)
    marked = [_highlighted_piece(piece, alias) for piece in pieces[:MAX_PIECES]]
    return "".join((*marked, *(escape(piece) for piece in pieces[MAX_PIECES:])))


@lru_cache(maxsize=256)
def _safe_alias(language: str) -> str:
    """Return `language` if it is safe to highlight, else ""."""
    if not language or len(language) > 40:
        return ""
    try:
        lexer = get_lexer_by_name(language)
    except ClassNotFound:
        return ""
    return language if lexer.name in _LANGUAGES else ""


def _pieces(code: str) -> list[str]:
    """Split `code` at line breaks, preferably blank lines; later text does not move the splits."""
    pieces: list[str] = []
    begin = 0
    while len(code) - begin > MAX_PIECE_CHARS:
        end = code.rfind("\n\n", begin + MAX_PIECE_CHARS // 2, begin + MAX_PIECE_CHARS)
        if end < 0:
            end = code.rfind("\n", begin, begin + MAX_PIECE_CHARS)
        end = end + 1 if end >= 0 else begin + MAX_PIECE_CHARS
        pieces.append(code[begin:end])
        begin = end
    return [*pieces, code[begin:]]


def forget_all() -> None:
    """Clear the cache of highlighted code."""
    _highlighted_piece.cache_clear()


@lru_cache(maxsize=512)
def _highlighted_piece(code: str, language: str) -> str:
    if _UNHIGHLIGHTED.search(code):
        return str(escape(code))
    # The pieces are joined again, so the lexer must not add or strip newlines at their ends.
    lexer = get_lexer_by_name(language, stripnl=False, ensurenl=False)
    marked: str = highlight(code, lexer, _formatter)
    return marked if code.endswith("\n") else marked.removesuffix("\n")  # the formatter adds one
