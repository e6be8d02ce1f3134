"""Whoever does work in another thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred

T = TypeVar("T")


class InThread(Protocol):
    """Does work in another thread."""

    def __call__(self, work: Callable[[], T], /) -> Deferred[T]:
        """Fire with what `work` returns."""
        ...
