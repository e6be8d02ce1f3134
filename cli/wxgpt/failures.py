"""Why a command can fail, each kind with the exit status that scripts go by.

0 ok, 1 failure, 2 usage, 3 daemon unreachable, 4 configuration, 5 log damaged, 6 expectation
unmet, 130 interrupted. A failure says what, why and the fix.
"""

from __future__ import annotations

from wxgptd.errors import WxgptError

EXIT_STATUSES = {
    0: "ok",
    1: "failure",
    2: "usage",
    3: "daemon unreachable",
    4: "configuration",
    5: "log damaged",
    6: "expectation unmet",
    130: "interrupted (^C)",
}


class UsageFailure(WxgptError):
    """the command was not given what it needs"""

    exit_status = 2


class Unreachable(WxgptError):
    """the daemon cannot be reached"""

    exit_status = 3


class Forbidden(Unreachable):
    """the daemon may not be reached by this user"""


class ExpectationUnmet(WxgptError):
    """the reply was not the expected one"""

    exit_status = 6
