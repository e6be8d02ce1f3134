"""Why a call failed, in words for the log and in the server's own words. Pure.

Servers quote the prompt in their errors. The log outlives the erasure of a user, so it only gets a
status, a code and our own words; the server's words only go into the user's encrypted events.
"""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_QUOTED_CHARS = 300
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,60}")


class FailureDetail(NamedTuple):
    """Why a call failed: `said` is safe to log, `quoted` is the server's own message."""

    said: str
    quoted: str = ""

    def __str__(self) -> str:
        return (
            f"{self.said}: {self.quoted}" if self.said and self.quoted else self.said + self.quoted
        )


def code(text: str) -> str:
    """Return a server's error code or type for the log, or an ellipsis if it is not one word."""
    return text if _CODE.fullmatch(text) else "…"


def printable(text: str) -> str:
    """Return `text` as one line of printable characters, truncated to a readable length."""
    shown = "".join(char if char.isprintable() else " " for char in text[: MAX_QUOTED_CHARS * 2])
    return " ".join(shown.split())[:MAX_QUOTED_CHARS]
