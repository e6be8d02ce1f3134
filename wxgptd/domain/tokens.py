"""How many tokens a text has, roughly: for where the server does not say."""

from __future__ import annotations

from math import ceil


def estimate(text: str) -> int:
    """Return about how many tokens `text` is.

    Vocabularies of today have about one token for four characters of English, and two for three
    of Chinese.
    """
    narrow = len(text.encode("ascii", "ignore"))
    return ceil(narrow / 4 + (len(text) - narrow) / 1.5)
