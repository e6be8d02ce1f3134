"""Invisible characters that change the direction of the text around them. Pure.

An override or an embedding that is not terminated extends to the end of its line: it reverses our
own words, and can show an address backwards. Right-to-left text is readable without any of them
(Unicode Standard Annex 9), so they are removed wherever text from a model or a user is shown.
"""

from __future__ import annotations

import re

CONTROLS = "[\u202a-\u202e\u2066-\u2069]"
"""Embeddings, overrides and isolates, and their terminators, as a regular expression."""

_CONTROLS = re.compile(CONTROLS)


def without_controls(text: str) -> str:
    """Return `text` without characters that control its direction."""
    return _CONTROLS.sub("", text)
