"""Running work in other threads."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred

T = TypeVar("T")


class InThread(Protocol):
    """Runs work in another thread."""

    def __call__(self, work: Callable[[], T], /) -> Deferred[T]:
        """Run `work`; fires with its result."""
        ...


@dataclass(frozen=True, slots=True)
class Threads:
    """Threads by purpose, so that no kind of work waits for another.

    `pages` renders pages, `storage` writes snapshots and reads the log, and `health` only checks
    that threads still run. `cpu_s` returns the CPU time of the calling thread, in seconds.
    """

    pages: InThread
    storage: InThread
    health: InThread
    cpu_s: Callable[[], float] = time.thread_time
