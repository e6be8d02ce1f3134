"""Report the daemon's state to systemd (sd_notify(3)); without systemd, do nothing.

The watchdog (`WatchdogSec=` of the unit) is fed only while the daemon is healthy: otherwise systemd
kills and restarts the daemon.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Mapping

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

TELL_EVERY_S = 5.0

LEAST_PERIOD_S = 0.1

STARTING_TAKES_S = 60
"""While the log is loading, each notification extends the start timeout by this much."""


def in_terminal() -> bool:
    """Return whether the process was started in a terminal, and must exit when it closes."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return any(os.isatty(descriptor) for descriptor in (0, 1, 2))
    return True


class Supervision:
    """Notifies the service manager that `environ` names, if there is one.

    `unhealthy_reason` is empty while the daemon is healthy; `summary` describes in one line what it
    is doing.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        clock: IReactorTime,
        *,
        unhealthy_reason: Callable[[], str],
        summary: Callable[[], str],
    ) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._period_s = TELL_EVERY_S
        self._watched = False
        if environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
            watchdog = environ.get("WATCHDOG_USEC", "")
            if re.fullmatch(r"[1-9][0-9]{0,14}", watchdog):
                self._watched = True
                self._period_s = max(min(TELL_EVERY_S, int(watchdog) / 1e6 / 3), LEAST_PERIOD_S)
        self._why_ill = unhealthy_reason
        self._summary = summary
        self._ready = False
        self._loop = LoopingCall(self._tell)
        self._loop.clock = clock

    def starting(self) -> None:
        """Report that the log is loading, for as long as that takes."""
        if self._address:
            self._loop.start(self._period_s)

    def ready(self) -> None:
        """Report that the daemon accepts messages from now on."""
        self._ready = True
        self._notify("READY=1")
        if self._loop.running:
            self._tell()

    def stopping(self) -> None:
        """Report that the daemon is stopping."""
        if self._loop.running:
            self._loop.stop()
        self._notify("STOPPING=1", "STATUS=stopping")

    def _tell(self) -> None:
        if not self._ready:
            extended = f"EXTEND_TIMEOUT_USEC={STARTING_TAKES_S * 1_000_000}"
            self._notify(extended, "STATUS=loading the log")
        elif why := self._why_ill():
            self._notify(f"STATUS=health check failed: {why}")
        else:
            self._notify(*(("WATCHDOG=1",) if self._watched else ()), f"STATUS={self._summary()}")

    def _notify(self, *states: str) -> None:
        if not self._address:
            return
        # An abstract socket's name begins with a NUL, which an environment variable cannot contain.
        address = self._address
        address = "\0" + address[1:] if address.startswith("@") else address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as peer:
                peer.setblocking(False)
                peer.connect(address)
                peer.sendall("\n".join(states).encode())
        except (OSError, ValueError):
            return  # no listener, or no descriptor left: not a reason to fail
