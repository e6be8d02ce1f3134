"""The error after which a log can no longer be written."""

from __future__ import annotations

from wxgptd.errors import WxgptError
from wxgptd.ports.appending import ReplicaUnavailable, Superseded
from wxgptd.wording import say


class StoreUnavailable(WxgptError):
    """the event log can no longer be written"""

    exit_status = 75


def unavailable(error: Exception) -> StoreUnavailable:
    """Return the error to report after `error`, which stopped the writer."""
    if isinstance(error, Superseded):
        return StoreUnavailable(
            say("{error}, and this one stops", error=error),
            hint=say("nothing is wrong: systemd starts it again, and it follows the other node"),
        )
    if isinstance(error, ReplicaUnavailable):
        return StoreUnavailable(
            say("the event log cannot be written: {error}", error=error), hint=error.hint
        )
    reason = getattr(error, "strerror", None) or repr(error)
    return StoreUnavailable(
        say("the event log cannot be written: {reason}", reason=reason),
        hint=say(
            "check the disk and its free space, then restart the daemon, which recovers the log"
        ),
    )
