"""Wait for changes in a directory: by inotify where available, otherwise by polling.

With inotify, waiting costs nothing: the kernel wakes the process when the daemon writes.
"""

from __future__ import annotations

import ctypes
import os
import select
import time
from pathlib import Path

POLL_S = 0.5
"""How often to poll without inotify."""

_CLOEXEC, _NONBLOCK = os.O_CLOEXEC, os.O_NONBLOCK
_MODIFY, _MOVED_TO, _CREATE, _DELETE = 0x2, 0x80, 0x100, 0x200


class Watch:
    """Watches one directory until `close` is called."""

    def __init__(self, directory: Path) -> None:
        self._descriptor = _watch(directory)

    def wait(self, timeout_s: float) -> bool:
        """Wait until something has changed since the last call, or the timeout expires.

        Return whether something may have changed; without inotify this is always true.
        """
        if self._descriptor < 0:
            time.sleep(min(POLL_S, timeout_s))
            return True
        ready, _, _ = select.select([self._descriptor], [], [], max(timeout_s, 0.0))
        if ready:
            os.read(self._descriptor, 65_536)  # the log's reader determines what changed
        return bool(ready)

    def close(self) -> None:
        """Stop watching."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _watch(directory: Path) -> int:
    """Return a descriptor that becomes readable on changes, or -1 if inotify is not available."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        descriptor: int = libc.inotify_init1(_CLOEXEC | _NONBLOCK)
        if descriptor < 0:
            return -1
        wanted = _MODIFY | _MOVED_TO | _CREATE | _DELETE
        if libc.inotify_add_watch(descriptor, os.fsencode(directory), wanted) < 0:
            os.close(descriptor)
            return -1
    except (OSError, AttributeError):
        return -1  # not Linux, or no such system call
    return descriptor
