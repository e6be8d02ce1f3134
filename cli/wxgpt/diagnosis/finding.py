"""What a look at something has found."""

from __future__ import annotations

import dataclasses

from wxgptd.loose import JsonView

MOST_SKEW_S = 60.0
"""Clock skew above this is reported as a failure."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`check` is what was looked at; `ok` is None where it could not be, or need not be.

    `fix` is what to do where it is not. `more` is for scripts.
    """

    check: str
    ok: bool | None
    detail: str
    fix: str = ""
    more: JsonView = dataclasses.field(default_factory=dict)


def good(check: str, detail: str, **more: object) -> Finding:
    """Return that all is well."""
    return Finding(check=check, ok=True, detail=detail, more=more)


def bad(check: str, detail: str, fix: str, **more: object) -> Finding:
    """Return that something is wrong, and what to do about it."""
    return Finding(check=check, ok=False, detail=detail, fix=fix, more=more)


def noticed(check: str, detail: str, fix: str, **more: object) -> Finding:
    """Return what need not be wrong, but explains what may be."""
    return Finding(check=check, ok=None, detail=detail, fix=fix, more=more)


def skipped(check: str, detail: str) -> Finding:
    """Return that nothing was looked at, and why."""
    return Finding(check=check, ok=None, detail=detail)
