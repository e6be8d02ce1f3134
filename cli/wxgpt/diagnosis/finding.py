"""What a look at something has found."""

from __future__ import annotations

import dataclasses

from wxgpt.diagnosis.remedies import Remedy, remedy
from wxgptd.loose import Json, JsonView

MOST_SKEW_S = 60.0
"""Clock skew above this is reported as a failure."""

NOTHING_TO_DO = Remedy("")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`check` is what was looked at; `ok` is None where it could not be, or need not be.

    `remedy` is what to do where it is not. `more` is for scripts.
    """

    check: str
    ok: bool | None
    detail: str
    remedy: Remedy = NOTHING_TO_DO
    more: JsonView = dataclasses.field(default_factory=dict)

    def as_json(self) -> Json:
        """Return the finding for scripts; `id` is its remedy's, empty where none is needed."""
        return {
            **self.more,
            "check": self.check,
            "ok": self.ok,
            "id": self.remedy.id,
            "detail": self.detail,
            "fix": self.remedy.in_english(),
        }


def good(check: str, detail: str, **more: object) -> Finding:
    """Return that all is well."""
    return Finding(check=check, ok=True, detail=detail, more=more)


def bad(check: str, detail: str, fix: Remedy | str, **more: object) -> Finding:
    """Return that something is wrong; `fix` is what to do about it, or its id."""
    return Finding(check=check, ok=False, detail=detail, remedy=_remedy(fix), more=more)


def noticed(check: str, detail: str, fix: Remedy | str, **more: object) -> Finding:
    """Return what need not be wrong, but explains what may be."""
    return Finding(check=check, ok=None, detail=detail, remedy=_remedy(fix), more=more)


def skipped(check: str, detail: str) -> Finding:
    """Return that nothing was looked at, and why."""
    return Finding(check=check, ok=None, detail=detail)


def _remedy(fix: Remedy | str) -> Remedy:
    return remedy(fix) if isinstance(fix, str) else fix
