"""Whoever does work in another thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred

T = TypeVar("T")


class InThread(Protocol):
    """Does work in another thread."""

    def __call__(self, work: Callable[[], T], /) -> Deferred[T]:
        """Fire with what `work` returns."""
        ...


@dataclass(frozen=True, slots=True)
class Threads:
    """Threads by what they are for, so that no kind of work waits for another.

    `pages` render what readers look at, `storage` writes snapshots and reads the log, `health` has
    nothing to do but to show that threads run.
    """

    pages: InThread
    storage: InThread
    health: InThread
