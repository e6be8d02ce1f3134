"""Threads for the log, passed as an argument: the simulation runs everything in a single one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Protocol, TypeVar

T = TypeVar("T")


class Queue(Protocol[T]):
    """Like `queue.SimpleQueue`."""

    def put(self, item: T) -> None:
        """Add an item."""
        ...

    def get(self, *, timeout: float | None = None) -> T:
        """Wait for an item, and remove it.

        Raises:
            queue.Empty: none came within `timeout` seconds.
        """
        ...


class Event(Protocol):
    """Like `threading.Event`."""

    def set(self) -> None:
        """Set the event."""
        ...

    def wait(self, timeout: float) -> bool:
        """Wait for the event, at most `timeout` seconds; return whether it is set."""
        ...


class Workers:
    """Starts threads, and creates the objects they wait on."""

    def start(self, run: Callable[[], None], name: str) -> Callable[[], None]:
        """Start a thread; return a function that waits for it to end."""
        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        return thread.join

    def queue(self) -> Queue[T]:
        """Return an empty queue."""
        return SimpleQueue()

    def event(self) -> Event:
        """Return an event that is not set."""
        return threading.Event()


WORKERS = Workers()
