"""Code as HTML, its words told apart by classes. Pure.

Lexers of pygments can take quadratic time on what is made for it, so they see a block in pieces
of bounded size, and only languages whose lexers stay below half a second on the worst piece.
Pieces end at lines and depend on nothing behind them: while a block grows, all but its last
piece come from the cache.
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
"""What a block has beyond these is shown, and not highlighted."""

_UNHIGHLIGHTED = re.compile(r"[^\n]{201}|\s{60}")
"""Many lexers take quadratic time on long lines and on blank ones."""

_LANGUAGES = {
    "Bash", "Bash Session", "C", "C#", "C++", "CSS", "Dart", "Diff", "Docker", "Go", "HTML",
    "HTTP", "INI", "JSON", "JSX", "Java", "JavaScript", "Kotlin", "Lua", "Makefile",
    "Nginx configuration file", "PHP", "Perl", "PowerShell", "Python", "Python console session",
    "Ruby", "Rust", "S", "SQL", "Scala", "Swift", "TOML", "TSX", "TeX", "TypeScript", "XML",
    "YAML",
}  # fmt: skip

_formatter = HtmlFormatter(nowrap=True)


def highlighted(code: str, language: str) -> str:
    """Return `code` as HTML, or nothing where it is to be shown as it is."""
    name = _known(language)
    if not name:
        return ""
    pieces = _pieces(code)
    marked = [_piece(piece, name) for piece in pieces[:MAX_PIECES]]
    return "".join((*marked, *(escape(piece) for piece in pieces[MAX_PIECES:])))


@lru_cache(maxsize=256)
def _known(language: str) -> str:
    """Return an alias of a language that is safe to highlight, or nothing."""
    if not language or len(language) > 40:
        return ""
    try:
        lexer = get_lexer_by_name(language)
    except ClassNotFound:
        return ""
    return language if lexer.name in _LANGUAGES else ""


def _pieces(code: str) -> list[str]:
    """Part `code` at lines, better at blank ones, by what comes before each part alone."""
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
    """Drop what was highlighted."""
    _piece.cache_clear()


@lru_cache(maxsize=512)
def _piece(code: str, language: str) -> str:
    if _UNHIGHLIGHTED.search(code):
        return str(escape(code))
    # Neither newlines at the ends nor a missing last one may be "corrected": pieces are joined.
    lexer = get_lexer_by_name(language, stripnl=False, ensurenl=False)
    marked: str = highlight(code, lexer, _formatter)
    return marked if code.endswith("\n") else marked.removesuffix("\n")  # the formatter adds one
