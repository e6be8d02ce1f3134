"""What keeps the log short: snapshots now and then, and old segments dropped behind them.

A snapshot is taken of what is, in the reactor's thread, which copies two tables; it is written in
another one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from wxgptd.errors import WxgptError
from wxgptd.ports.record import RetentionResult
from wxgptd.ports.store import EventStore
from wxgptd.ports.threads import InThread
from wxgptd.service.state.event_clock import EventClock
from wxgptd.service.state.journal import Journal

log = Logger()

DAY_S = 86_400.0

PAUSE_S = 10.0
"""Between two snapshots, whether one could be written or not, unless somebody asks for one."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How much is kept: a snapshot each so many events, events for so long, and so many bytes.

    0 is for ever, and without bound. Links are dead after `links_s`.
    """

    snapshot_every: int
    keep_s: float
    max_bytes: int
    links_s: float


def keeping_period_s(keep_s: float) -> float:
    """Return how often to look for what is too old: a thirtieth of its time, a day at least."""
    return max(DAY_S, keep_s / 30) if keep_s else 0.0


class Snapshotter:
    """Takes snapshots, and drops of the log what is not to be kept."""

    def __init__(
        self,
        *,
        journal: Journal,
        store: EventStore,
        retention: Retention,
        in_thread: InThread,
        on_damage: Callable[[WxgptError], None],
        event_clock: EventClock,
    ) -> None:
        self._on_damage = on_damage
        self._journal = journal
        self._store = store
        self.retention = retention
        self._in_thread = in_thread
        self._event_clock = event_clock
        self._lock = DeferredLock()
        self._snapshot_seq = 0
        self._exists = False
        self._kept_at = 0.0
        self._not_before = 0.0
        self._stale = False

    @property
    def snapshot_seq(self) -> int:
        """The last event that is in a snapshot."""
        return self._snapshot_seq

    def begin(self, snapshot_seq: int, *, exists: bool, stale: bool) -> None:
        """Take up work where the log was left.

        Whether a snapshot `exists` does not depend on whether it could be read; a `stale` one is
        to be replaced at once.
        """
        self._snapshot_seq, self._exists, self._stale = snapshot_seq, exists, stale
        self.look()

    def look(self) -> None:
        """Take a snapshot if it is time for one, and drop what is too old then."""
        now = self._event_clock.now()
        if now >= self._not_before and not self._lock.locked and (self._stale or self._is_due(now)):
            Deferred.fromCoroutine(self._keep()).addErrback(lambda _: None)

    def _is_due(self, now: float) -> bool:
        if self._store.full():
            return False  # it would only take the room that the log is looking for
        events = self._store.figures().last_seq - self._snapshot_seq
        period_s = keeping_period_s(self.retention.keep_s)
        return events >= self.retention.snapshot_every or (
            events > 0 and 0 < period_s <= now - self._kept_at
        )

    def vacuum(self) -> Deferred[RetentionResult]:
        """Take a snapshot and drop what is not to be kept; fires with what that was.

        Errs:
            OSError: the file system does not allow it.
        """
        return Deferred.fromCoroutine(self._keep())

    def note_erased(self) -> None:
        """Have all snapshots replaced soon, by one that has nothing of who was erased."""
        if self._exists or self._lock.locked:
            self._stale = True
            self.look()

    def forgotten(self) -> Deferred[None]:
        """Fire when no snapshot has anything of who was erased.

        Errs:
            OSError: the file system does not allow it; it is tried again.
        """
        return Deferred.fromCoroutine(self._forget())

    async def _forget(self) -> None:
        await self._lock.acquire()
        self._lock.release()
        if self._stale:
            await self._keep()

    async def settled(self) -> None:
        """Wait for what is being written."""
        await self._lock.acquire()  # and never let go of it: nothing more is to be written

    async def _keep(self) -> RetentionResult:
        await self._lock.acquire()
        try:
            return await self._take()
        finally:
            self._not_before = self._event_clock.now() + PAUSE_S
            self._lock.release()

    async def _take(self) -> RetentionResult:
        keep_s, now = self.retention.keep_s, self._event_clock.now()
        before = now - keep_s if keep_s else 0.0
        capture = self._journal.capture(before, now - self.retention.links_s)
        stale, self._stale = self._stale, False
        write = self._store.snapshot(capture, only=stale)
        try:
            await self._journal.committed()  # a snapshot may not be ahead of the log
            return await self._write(write, capture.last_seq, before)
        except BaseException:
            self._stale |= stale
            raise

    async def _write(
        self, write: Callable[[], None], last_seq: int, before: float
    ) -> RetentionResult:
        try:
            await self._in_thread(write)
            self._exists, self._snapshot_seq = True, last_seq
            self._kept_at = self._event_clock.now()
            return await self._in_thread(
                lambda: self._store.retain(before, self.retention.max_bytes)
            )
        except OSError as error:
            why = error.strerror or error
            log.error("no snapshot of the log could be written: {why}", why=why)
            raise
        except WxgptError as error:
            log.error("no snapshot of the log could be written: {why}", why=error)
            self._on_damage(error)
            raise
        except Exception:
            log.failure("no snapshot of the log could be written")
            raise
