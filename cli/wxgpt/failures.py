"""The ways a command can fail, each with the exit status that scripts rely on.

`EXIT_STATUSES` lists them. A failure says what happened, why, and how to fix it.
"""

from __future__ import annotations

from wxgptd.errors import WxgptError

EXIT_STATUSES = {
    0: "ok",
    1: "failure",
    2: "usage error",
    3: "daemon unreachable",
    4: "configuration error",
    5: "log damaged",
    6: "unexpected reply",
    130: "interrupted (^C)",
}


class UsageFailure(WxgptError):
    """invalid usage"""

    exit_status = 2


class Unreachable(WxgptError):
    """the daemon cannot be reached"""

    exit_status = 3


class Forbidden(Unreachable):
    """permission denied: the daemon's admin socket"""


class ExpectationUnmet(WxgptError):
    """the reply does not match"""

    exit_status = 6
