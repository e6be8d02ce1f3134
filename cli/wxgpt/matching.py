"""Find users and sessions by the beginning of their identifiers, wherever that is unique."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from wxgptd.errors import WxgptError
from wxgptd.wording import say

MOST_LISTED = 10


class NotUnique(WxgptError):
    """several identifiers begin like that"""


def matches(given: str, names: Iterable[str]) -> bool:
    """Return whether one of a thing's names is `given`, or begins with it."""
    return any(name.startswith(given) for name in names)


def only(given: str, known: Iterable[str]) -> str | None:
    """Return the identifier that is `given` or the only one that begins with it, or None.

    Raises:
        NotUnique: several begin with it; the hint lists them.
    """
    found = sorted({name for name in known if name.startswith(given)})
    if given in found:
        return given
    if len(found) > 1:
        raise not_unique(given, found)
    return found[0] if found else None


def not_unique(given: str, found: Sequence[str]) -> NotUnique:
    """Return the error for a beginning that several identifiers have."""
    more = say(" and {n} more", n=len(found) - MOST_LISTED) if len(found) > MOST_LISTED else ""
    return NotUnique(
        say("{n} identifiers begin with {given}", n=len(found), given=given),
        hint=say("{names}{more}", names=", ".join(found[:MOST_LISTED]), more=more),
    )
