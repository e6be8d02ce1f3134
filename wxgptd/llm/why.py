"""Why a call failed, in words for the log and in the server's own. Pure.

Servers quote the prompt in their errors. The log outlives a user's erasure, so it gets a status, a
code and words of ours; what the server said goes into the user's encrypted events alone.
"""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_QUOTED_CHARS = 300
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,60}")


class Why(NamedTuple):
    """Why a call failed: `said` is fit for the log, `quoted` is what the server said."""

    said: str
    quoted: str = ""

    def __str__(self) -> str:
        return (
            f"{self.said}: {self.quoted}" if self.said and self.quoted else self.said + self.quoted
        )


def code(text: str) -> str:
    """Return a server's code or type as it may be logged: a word that is none is not repeated."""
    return text if _CODE.fullmatch(text) else "…"


def printable(text: str) -> str:
    """Return `text` in one line of what can be shown, not longer than anybody reads."""
    shown = "".join(char if char.isprintable() else " " for char in text[: MAX_QUOTED_CHARS * 2])
    return " ".join(shown.split())[:MAX_QUOTED_CHARS]
