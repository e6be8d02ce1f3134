"""The result of a check."""

from __future__ import annotations

import dataclasses

from wxgpt.diagnosis.remedies import Remedy, remedy
from wxgptd.untyped import Json, JsonView

MAX_SKEW_S = 60.0
"""Clock skew above this is reported as a failure."""

NOTHING_TO_DO = Remedy("")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`check` names the check; `ok` is None if it was skipped, or if the finding is only a notice.

    `remedy` is the fix, if one is needed. `more` holds further JSON keys for scripts.
    """

    check: str
    ok: bool | None
    detail: str
    remedy: Remedy = NOTHING_TO_DO
    more: JsonView = dataclasses.field(default_factory=dict)

    def as_json(self) -> Json:
        """Return the finding as JSON for scripts; `id` is its remedy's id, or empty."""
        return {
            **self.more,
            "check": self.check,
            "ok": self.ok,
            "id": self.remedy.id,
            "detail": self.detail,
            "fix": self.remedy.text,
        }


def passed(check: str, detail: str, **more: object) -> Finding:
    """Return the finding of a check that passed."""
    return Finding(check=check, ok=True, detail=detail, more=more)


def failed(check: str, detail: str, fix: Remedy | str, **more: object) -> Finding:
    """Return the finding of a check that failed; `fix` is its remedy, or the remedy's id."""
    return Finding(check=check, ok=False, detail=detail, remedy=_remedy(fix), more=more)


def notice(check: str, detail: str, fix: Remedy | str, **more: object) -> Finding:
    """Return a notice: not necessarily a problem, but possibly the cause of one."""
    return Finding(check=check, ok=None, detail=detail, remedy=_remedy(fix), more=more)


def skipped(check: str, detail: str) -> Finding:
    """Return the finding of a skipped check; `detail` is the reason."""
    return Finding(check=check, ok=None, detail=detail)


def _remedy(fix: Remedy | str) -> Remedy:
    return remedy(fix) if isinstance(fix, str) else fix
