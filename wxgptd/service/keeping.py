"""What keeps the log short: snapshots now and then, and old segments dropped behind them.

A snapshot is taken of what is, in the reactor's thread, which copies two tables; it is written in
another one.
"""

from __future__ import annotations

from dataclasses import dataclass

from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from wxgptd.domain.record import Retained
from wxgptd.errors import WxgptError
from wxgptd.ports import EventStore, InThread
from wxgptd.service.journal import Journal
from wxgptd.service.timeline import Timeline

log = Logger()

TRY_AGAIN_S = 60.0
"""After a snapshot that could not be written."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How much is kept: a snapshot each so many events; events for so long, and so many bytes.

    0 is for ever, and without bound. Links are dead after `links_s`.
    """

    snapshot_every: int
    keep_s: float
    max_bytes: int
    links_s: float


class Keeping:
    """Takes snapshots, and drops of the log what is not to be kept."""

    def __init__(
        self,
        *,
        journal: Journal,
        store: EventStore,
        retention: Retention,
        in_thread: InThread,
        timeline: Timeline,
    ) -> None:
        self._journal = journal
        self._store = store
        self._retention = retention
        self._in_thread = in_thread
        self._timeline = timeline
        self._lock = DeferredLock()
        self._snapshot_seq = 0
        self._not_before = 0.0
        self._stale = False

    @property
    def snapshot_seq(self) -> int:
        """The last event that is in a snapshot."""
        return self._snapshot_seq

    def begin(self, snapshot_seq: int, *, stale: bool) -> None:
        """Take up work where the log was left; a `stale` snapshot is to be replaced at once."""
        self._snapshot_seq, self._stale = snapshot_seq, stale
        self.look()

    def look(self) -> None:
        """Take a snapshot if it is time for one, and drop what is too old then."""
        events = self._store.figures().last_seq - self._snapshot_seq
        # On a full disk it would only take the room that the log is looking for.
        wanted = events >= self._retention.snapshot_every and not self._store.full()
        due = self._stale or wanted
        if due and not self._lock.locked and self._timeline.now() >= self._not_before:
            Deferred.fromCoroutine(self._keep()).addErrback(lambda _: None)

    def vacuum(self) -> Deferred[Retained]:
        """Take a snapshot and drop what is not to be kept; fires with what that was.

        Errs:
            OSError: the file system does not allow it.
        """
        return Deferred.fromCoroutine(self._keep())

    def note_erased(self) -> None:
        """Have all snapshots replaced soon, by one that has nothing of who was erased."""
        if self._snapshot_seq or self._lock.locked:
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

    async def _keep(self) -> Retained:
        await self._lock.acquire()
        try:
            return await self._take()
        except OSError as error:
            self._not_before = self._timeline.now() + TRY_AGAIN_S
            why = error.strerror or error
            log.error("no snapshot of the log could be written: {why}", why=why)
            raise
        except WxgptError:
            raise  # the log cannot be written any more, and the daemon is about to stop
        except Exception:
            self._not_before = self._timeline.now() + TRY_AGAIN_S
            log.failure("no snapshot of the log could be written")
            raise
        finally:
            self._lock.release()

    async def _take(self) -> Retained:
        keep_s, now = self._retention.keep_s, self._timeline.now()
        before = now - keep_s if keep_s else 0.0
        capture = self._journal.capture(before, now - self._retention.links_s)
        stale, self._stale = self._stale, False
        write = self._store.snapshot(capture, only=stale)
        try:
            await self._journal.committed()  # a snapshot may not be ahead of the log
            await self._in_thread(write)
        except BaseException:
            self._stale |= stale
            raise
        self._snapshot_seq = capture.last_seq
        return await self._in_thread(lambda: self._store.retain(before, self._retention.max_bytes))
