"""Room for what is large: who needs some waits until there is enough, first come, first served."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred

PICTURE_BYTES = 64 * 1024 * 1024
"""Room for the pictures of all questions that are being answered; the others wait in line."""


class Room:
    """`most` bytes; `full` is told when somebody has to wait."""

    def __init__(self, most: int, full: Callable[[], None]) -> None:
        self._most = most
        self._full = full
        self._line: deque[tuple[int, Deferred[Place]]] = deque()
        self.taken = 0

    def enter(self, size: int) -> Deferred[Place]:
        """Fire with a place for `size` bytes, or for all there are. Cancelling leaves the line."""
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
        """Make room for others."""
        self.taken -= size
        self._let_in()

    def _let_in(self) -> None:
        while self._line and self.taken + self._line[0][0] <= self._most:
            size, entering = self._line.popleft()
            self.taken += size
            entering.callback(Place(self, size))


class Place:
    """So many bytes of a room, until they are left."""

    def __init__(self, room: Room, size: int) -> None:
        self._room = room
        self._size = size

    def shrink(self, size: int) -> None:
        """Give back what is not needed after all."""
        size = min(size, self._size)
        given, self._size = self._size - size, size
        self._room.refund(given)

    def leave(self) -> None:
        """Give everything back."""
        self.shrink(0)
