"""A memory budget for large data: callers wait until enough is free, first come, first served."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred

PICTURE_BYTES = 64 * 1024 * 1024
"""For the pictures of all questions being answered; further questions wait."""


class Room:
    """A budget of `most` bytes; `full` is called when a caller has to wait."""

    def __init__(self, most: int, full: Callable[[], None]) -> None:
        self._most = most
        self._full = full
        self._queue: deque[tuple[int, Deferred[Place]]] = deque()
        self.taken = 0

    def enter(self, size: int) -> Deferred[Place]:
        """Fire with a place for min(`size`, `most`) bytes. Cancelling leaves the queue."""
        size = min(size, self._most)

        def leave(cancelled: Deferred[Place]) -> None:
            self._queue = deque(entry for entry in self._queue if entry[1] is not cancelled)
            cancelled.errback(CancelledError())
            self._admit()

        entering: Deferred[Place] = Deferred(leave)
        if self._queue or self.taken + size > self._most:
            self._full()
        self._queue.append((size, entering))
        self._admit()
        return entering

    def refund(self, size: int) -> None:
        """Return `size` bytes to the room."""
        self.taken -= size
        self._admit()

    def _admit(self) -> None:
        while self._queue and self.taken + self._queue[0][0] <= self._most:
            size, entering = self._queue.popleft()
            self.taken += size
            entering.callback(Place(self, size))


class Place:
    """Bytes reserved in a room, until they are released."""

    def __init__(self, room: Room, size: int) -> None:
        self._room = room
        self._size = size

    def shrink(self, size: int) -> None:
        """Release all but `size` bytes."""
        size = min(size, self._size)
        released, self._size = self._size - size, size
        self._room.refund(released)

    def leave(self) -> None:
        """Release all bytes."""
        self.shrink(0)
