"""The state directory belongs to one user: root must not write into another user's.

Root is able to, but the daemon that systemd starts could not write the files that it creates there.
"""

from __future__ import annotations

import os
from pathlib import Path

from wxgptd.errors import WxgptError
from wxgptd.wording import say


class AnothersState(WxgptError):
    """the state directory belongs to another user"""

    exit_status = 4


def require_own(state_dir: Path) -> None:
    """Check that root does not start the daemon on another user's state.

    Raises:
        AnothersState: it would.
    """
    try:
        owner = state_dir.stat().st_uid
    except OSError:
        return  # it does not exist yet, or the log's store says what is wrong
    if os.geteuid() == 0 and owner != 0:
        raise AnothersState(
            say("{path} belongs to user {uid}, not to root", path=state_dir, uid=owner),
            hint=say("systemctl start wxgptd, or run it as that user"),
        )
