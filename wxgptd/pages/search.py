"""Searching a history: the words of a query, and marking them in HTML. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

MAX_WORDS = 8
MAX_WORD_CHARS = 100

_UNMARKED = r"<math.*?</math>|<(?:\"[^\"]*\"|[^\">])*>|&[#\w]+;"
"""Formulas, tags and entities, in which no words are marked."""


def words_of(query: str) -> tuple[str, ...]:
    """Return the words to search for."""
    return tuple(word[:MAX_WORD_CHARS] for word in query.split()[:MAX_WORDS])


def mark(html: str, words: Sequence[str]) -> str:
    """Return `html`, which must be safe, with `words` marked in its visible text."""
    if not words:
        return html
    longest_first = sorted(words, key=len, reverse=True)
    alternatives = "|".join(re.escape(escape(word, quote=False)) for word in longest_first)
    pattern = re.compile(f"({_UNMARKED})|({alternatives})", re.IGNORECASE | re.DOTALL)
    return pattern.sub(_marked, html)


def _marked(match: re.Match[str]) -> str:
    return match[1] or f"<mark>{match[2]}</mark>"
