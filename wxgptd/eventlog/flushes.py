"""Group commit: which appends become durable together, and who waits for them.

Everything appended while a commit is under way goes into the next one, and so does everything
appended in one turn of the reactor.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred

from wxgptd.errors import WxgptError


class Flush:
    """The appends of one flush, and those who wait until they are durable."""

    __slots__ = ("appends", "waiting")

    def __init__(self) -> None:
        self.appends = 0
        self.waiting: list[Deferred[None]] = []


class Flushes:
    """The flushes that are not durable yet. For one thread only."""

    def __init__(self) -> None:
        self.scheduled = False
        """Whether a flush is under way or about to begin."""
        self._open = Flush()
        """The appends that have not been flushed yet."""
        self._committing: list[Flush] = []
        """Oldest first."""

    @property
    def pending(self) -> int:
        """How many appends are not durable yet."""
        return self._open.appends + sum(flush.appends for flush in self._committing)

    def append(self) -> None:
        """Note an append."""
        self._open.appends += 1

    def committed(self) -> Deferred[None]:
        """Fire when everything appended so far is durable."""
        result: Deferred[None] = Deferred()
        if self._open.appends:
            self._open.waiting.append(result)
        elif self._committing:
            self._committing[-1].waiting.append(result)
        else:
            result.callback(None)
        return result

    def begin(self) -> Flush | None:
        """Begin to commit what was appended, if anything was."""
        if not self._open.appends:
            return None
        flush, self._open = self._open, Flush()
        self._committing.append(flush)
        return flush

    def begin_empty(self) -> Flush:
        """Begin a flush without appends, which is acknowledged after the ones before it."""
        self._committing.append(Flush())
        return self._committing[-1]

    def acknowledge(self, flush: object) -> bool:
        """Note that `flush` is durable; return whether it was one that is waited for."""
        if not isinstance(flush, Flush) or flush not in self._committing:
            return False  # part of a flush that needs several commits, or the log has failed
        self._committing.remove(flush)
        for result in flush.waiting:
            result.callback(None)
        return True

    def settle(self) -> None:
        """Note that all that could be begun has been."""
        self.scheduled = bool(self._committing)

    def fail(self, error: WxgptError) -> None:
        """Tell all who wait that nothing more becomes durable."""
        flushes = (*self._committing, self._open)
        self._committing, self._open = [], Flush()
        for flush in flushes:
            for result in flush.waiting:
                result.errback(error)
