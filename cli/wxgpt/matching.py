"""Find users and sessions by the beginning of their identifiers, wherever that is unique."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from wxgptd.errors import WxgptError
from wxgptd.wording import say

MOST_LISTED = 10


class NotUnique(WxgptError):
    """several identifiers begin like that"""


def matches(given: str, names: Iterable[str]) -> bool:
    """Return whether one of a thing's names is `given`, or begins with it."""
    return bool(given) and any(name.startswith(given) for name in names)


def only(given: str, known: Iterable[str]) -> str | None:
    """Return the identifier that is `given` or the only one that begins with it, or None.

    Raises:
        NotUnique: several begin with it; the hint lists them.
    """
    found = sorted({name for name in known if given and name.startswith(given)})
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
        hint=say(
            "type more of it:\n  {names}{more}", names="\n  ".join(found[:MOST_LISTED]), more=more
        ),
    )


def meant(given: str, aliases: Mapping[str, Sequence[str]]) -> str | None:
    """Return the thing one of whose `aliases` is `given`, or begins with it; None if there is none.

    Raises:
        NotUnique: there are several.
    """
    exact = [whole for whole, own in aliases.items() if given in own]
    found = exact or [whole for whole, own in aliases.items() if matches(given, own)]
    if len(found) > 1:
        raise not_unique(given, sorted(found))
    return found[0] if found else None
