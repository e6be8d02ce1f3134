"""Invisible characters that turn the direction of the text around them. Pure.

An override or an embedding that is not ended goes on to the end of its line: it turns our own words
about, and can show an address back to front. Right-to-left text needs none of them to be readable
(Unicode Standard Annex 9), so they are left out wherever a model's or a user's words are shown.
"""

from __future__ import annotations

import re

CONTROLS = "[\u202a-\u202e\u2066-\u2069]"
"""Embeddings, overrides and isolates, and what ends them; as a regular expression."""

_CONTROLS = re.compile(CONTROLS)


def without_controls(text: str) -> str:
    """Return `text` in the direction that its letters have."""
    return _CONTROLS.sub("", text)
