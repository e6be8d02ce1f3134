"""Operating system limits: open files, memory, no core dumps."""

from __future__ import annotations

import contextlib
import ctypes
import resource

M_MMAP_THRESHOLD = -3
LARGE_BYTES = 1024 * 1024

PR_SET_DUMPABLE = 4
"""prctl(2): whether a process may dump core and be traced by other processes of its user."""


def raise_file_limit() -> None:
    """Raise the limit on open files to the hard limit: each held request uses one or two."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):  # in a sandbox that forbids it
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def keep_memory_private() -> None:
    """Disable core dumps: memory holds the master key and messages from erased users.

    The watchdog kills a hung daemon with SIGABRT, which would dump core.
    """
    with contextlib.suppress(OSError, ValueError):  # in a sandbox that forbids it
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, AttributeError):  # not Linux
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def return_freed_memory() -> None:
    """Return large blocks of memory to the system as soon as they are freed.

    glibc raises its threshold for that to the largest block it has freed: after a few pictures it
    would keep hundreds of megabytes (mallopt(3)).
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)


def connections_possible() -> int:
    """Return how many connections leave descriptors for as many model calls and some files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(4, (soft - min(256, soft // 2)) // 2)
