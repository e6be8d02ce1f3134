"""Keeps the log short: takes snapshots, and deletes old segments after each.

Each snapshot also removes what was said in sessions that users have deleted.

A snapshot is made from the log itself, in another process, so it delays no one; the reactor only
collects the notes of the projections.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from wxgptd.errors import WxgptError
from wxgptd.ports.record import RetentionResult
from wxgptd.ports.store import EventStore
from wxgptd.ports.threads import InThread
from wxgptd.service.state.deletions import Deletions
from wxgptd.service.state.event_clock import EventClock
from wxgptd.service.state.journal import Journal

log = Logger()

DAY_S = 86_400.0

PAUSE_S = 10.0
"""Minimum time between two snapshots, successful or not, unless one is requested."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How often snapshots are taken (in events), and the maximum age and size of the log.

    For `keep_s` and `max_bytes`, 0 means no limit. Links expire after `links_s`.
    """

    snapshot_every: int
    keep_s: float
    max_bytes: int
    links_s: float


def keeping_period_s(keep_s: float) -> float:
    """Return how often to delete old events: every `keep_s` / 30, at most once a day."""
    return max(DAY_S, keep_s / 30) if keep_s else 0.0


class Work(NamedTuple):
    """How to write files without blocking, and what to call if the log turns out to be damaged."""

    in_thread: InThread
    on_damage: Callable[[WxgptError], None]


class Snapshotter:
    """Takes snapshots, and deletes log data that is past retention."""

    def __init__(
        self,
        *,
        journal: Journal,
        store: EventStore,
        deletions: Deletions,
        retention: Retention,
        work: Work,
        event_clock: EventClock,
    ) -> None:
        self._on_damage = work.on_damage
        self._journal = journal
        self._store = store
        self._deletions = deletions
        self.retention = retention
        self._in_thread = work.in_thread
        self._event_clock = event_clock
        self._lock = DeferredLock()
        self._snapshot_seq = 0
        self._last_snapshot_at = 0.0
        self._not_before = 0.0

    @property
    def snapshot_seq(self) -> int:
        """The sequence number of the last event covered by a snapshot."""
        return self._snapshot_seq

    def begin(self, snapshot_seq: int) -> None:
        """Start from the log as it was loaded."""
        self._snapshot_seq = snapshot_seq
        if self._deletions.must_drop_earlier_snapshots:
            dropped = self._in_thread(self._store.drop_earlier_snapshots)
            dropped.addErrback(lambda failure: failure.trap(OSError) and None)
        self.look()

    def look(self) -> None:
        """Take a snapshot if one is due, and then delete log data that is past retention."""
        now = self._event_clock.now()
        if now >= self._not_before and not self._lock.locked and self._is_due(now):
            Deferred.fromCoroutine(self._snapshot_and_retain()).addErrback(lambda _: None)

    def _is_due(self, now: float) -> bool:
        if self._store.full():
            return False  # it would only take space that the log needs
        events = self._store.figures().last_seq - self._snapshot_seq
        period_s = keeping_period_s(self.retention.keep_s)
        return (
            events >= self.retention.snapshot_every
            or (events > 0 and 0 < period_s <= now - self._last_snapshot_at)
            or self._deletions.is_due(now)
        )

    def vacuum(self) -> Deferred[RetentionResult]:
        """Take a snapshot and apply retention; fires with what was deleted.

        Errs:
            OSError: the file system does not allow it.
        """
        return Deferred.fromCoroutine(self._snapshot_and_retain())

    async def settled(self) -> None:
        """Wait for a snapshot that is being written, and prevent further ones."""
        await self._lock.acquire()  # never released: nothing more may be written

    async def _snapshot_and_retain(self) -> RetentionResult:
        await self._lock.acquire()
        try:
            return await self._take_snapshot()
        finally:
            self._not_before = self._event_clock.now() + PAUSE_S
            self._lock.release()

    async def _take_snapshot(self) -> RetentionResult:
        keep_s, now = self.retention.keep_s, self._event_clock.now()
        before = now - keep_s if keep_s else 0.0
        deleted = self._deletions.pending
        if deleted:
            await self._store.begin_segment()
        self._deletions.begin(deleted)
        try:
            capture = self._journal.capture(before, now - self.retention.links_s)
            capture = capture._replace(deleted=self._deletions.located(deleted))
            write = self._store.snapshot(capture)
            await self._journal.committed()  # a snapshot must not be ahead of the log
            damaged, retained = await self._write(write, capture.last_seq, before)
        except BaseException:
            self._deletions.failed(now)
            raise
        if damaged:
            log.error(
                "what was said in deleted conversations may still be in damaged segments: "
                "{damaged}; repair them with `wxgpt log repair`",
                id="log-damaged",
                damaged="; ".join(damaged),
            )
            self._deletions.failed(now)
        else:
            self._deletions.done()
        return retained

    async def _write(
        self, write: Callable[[], Sequence[str]], last_seq: int, before: float
    ) -> tuple[Sequence[str], RetentionResult]:
        try:
            damaged = await self._in_thread(write)
            self._snapshot_seq = last_seq
            self._last_snapshot_at = self._event_clock.now()
            return damaged, await self._in_thread(
                lambda: self._store.retain(before, self.retention.max_bytes)
            )
        except OSError as error:
            if error.errno != errno.ECANCELED:
                why = error.strerror or error
                log.error(
                    "cannot write a snapshot of the log: {why}", id="snapshot-failed", why=why
                )
            raise
        except WxgptError as error:
            log.error("cannot write a snapshot of the log: {why}", id="snapshot-failed", why=error)
            self._on_damage(error)
            raise
        except Exception:
            log.failure("writing a snapshot of the log failed unexpectedly", id="snapshot-failed")
            raise
