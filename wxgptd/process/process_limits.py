"""What the daemon asks of the system for itself: files, memory, no dumps."""

from __future__ import annotations

import contextlib
import ctypes
import resource

M_MMAP_THRESHOLD = -3
LARGE_BYTES = 1024 * 1024

PR_SET_DUMPABLE = 4
"""prctl(2): whether a process may be dumped, and traced by others of its user."""


def raise_file_limit() -> None:
    """Allow as many open files as the machine does: each held request is one, or two."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):  # in a sandbox that allows no such thing
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def keep_memory_private() -> None:
    """Leave no core dump: memory holds the master key, and words of people who were erased.

    The watchdog ends a daemon that hangs with SIGABRT, which would write one.
    """
    with contextlib.suppress(OSError, ValueError):  # in a sandbox that allows no such thing
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, AttributeError):  # not Linux
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def give_memory_back() -> None:
    """Have what is large given back to the system once it is not needed any longer.

    glibc raises its threshold for that with the largest block it has freed: after some pictures it
    would keep hundreds of megabytes (mallopt(3)).
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)


def connections_possible() -> int:
    """Return how many connections leave room for as many calls of models, and for files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(4, (soft - min(256, soft // 2)) // 2)
