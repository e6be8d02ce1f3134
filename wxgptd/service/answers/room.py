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
        self._line: deque[tuple[int, Deferred[Place]]] = deque()
        self.taken = 0

    def enter(self, size: int) -> Deferred[Place]:
        """Fire with a place for min(`size`, `most`) bytes. Cancelling leaves the queue."""
        size = min(size, self._most)

        def leave(cancelled: Deferred[Place]) -> None:
            self._line = deque(one for one in self._line if one[1] is not cancelled)
            cancelled.errback(CancelledError())
            self._let_in()

        entering: Deferred[Place] = Deferred(leave)
        if self._line or self.taken + size > self._most:
            self._full()
        self._line.append((size, entering))
        self._let_in()
        return entering

    def refund(self, size: int) -> None:
        """Return `size` bytes to the room."""
        self.taken -= size
        self._let_in()

    def _let_in(self) -> None:
        while self._line and self.taken + self._line[0][0] <= self._most:
            size, entering = self._line.popleft()
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
        given, self._size = self._size - size, size
        self._room.refund(given)

    def leave(self) -> None:
        """Release all bytes."""
        self.shrink(0)
