"""The error after which a log can no longer be written."""

from __future__ import annotations

from wxgptd.errors import WxgptError
from wxgptd.ports.appending import ReplicaUnavailable, Superseded


class StoreUnavailable(WxgptError):
    """the event log can no longer be written"""

    exit_status = 75


def unavailable(error: Exception) -> StoreUnavailable:
    """Return the error to report after `error`, which stopped the writer."""
    if isinstance(error, Superseded):
        return StoreUnavailable(
            f"{error}, and this one stops",
            hint="nothing is wrong: systemd starts it again, and it follows the other node",
        )
    if isinstance(error, ReplicaUnavailable):
        return StoreUnavailable(f"the event log cannot be written: {error}", hint=error.hint)
    reason = getattr(error, "strerror", None) or repr(error)
    return StoreUnavailable(
        f"the event log cannot be written: {reason}",
        hint="check the disk and its free space, then restart the daemon, which recovers the log",
    )
