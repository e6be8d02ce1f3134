"""The event log as the service sees it: load, append and wait, take snapshots, close.

The one place where the writer's thread meets the reactor's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from twisted.internet.defer import Deferred

from wxgptd.domain.model.events import Event, UserErased
from wxgptd.domain.model.state import UserState
from wxgptd.domain.model.values import User
from wxgptd.errors import WxgptError
from wxgptd.eventlog import (
    codec,
    loading,
    recovery,
    retention,
    segments,
    snapshot,
    verifying,
)
from wxgptd.eventlog.disk import DISK, Disk, says_full
from wxgptd.eventlog.keyring import Keyring, UserKey
from wxgptd.eventlog.writer import Listener, SegmentBounds, Writer
from wxgptd.ports.record import Capture, Loaded, RetentionResult, StoreFigures
from wxgptd.ports.store import InSession

MAX_WAITING = 20_000
"""Appends that may wait for a disk that has stalled, before new questions are refused."""


class StoreUnavailable(WxgptError):
    """the event log cannot be written any more"""

    exit_status = 75


class Turns(NamedTuple):
    """The reactor's turns.

    `in_reactor` runs a function in the reactor's thread, whichever thread calls it; `soon` runs one
    there when what the reactor is doing just now is done.
    """

    in_reactor: Callable[[Callable[[], None]], None]
    soon: Callable[[Callable[[], None]], object]


class Alarms(NamedTuple):
    """What is called in the reactor's thread when the log can no longer be written, once, and when
    the disk becomes full, or has room again.
    """

    on_failure: Callable[[StoreUnavailable], None]
    on_full: Callable[[bool], None]


class LogStore:
    """A log directory, locked for this process. `master` is the master key.

    Group commit: whatever is appended while one commit is under way is the next one, and so is
    all that one turn of the reactor appends.
    """

    def __init__(
        self,
        state_dir: Path,
        master: bytes,
        turns: Turns,
        alarms: Alarms,
        bounds: SegmentBounds = SegmentBounds(),
        disk: Disk = DISK,
    ) -> None:
        self._disk = disk
        segments.make_private_directory(state_dir)
        self._lock = segments.StateLock(state_dir)
        self._directory = segments.log_directory(state_dir)
        segments.make_private_directory(segments.keys_directory(state_dir))
        self._keys = Keyring(segments.keyring_path(state_dir), master)
        self._turns = turns
        self._alarms = alarms
        self._bounds = bounds
        self._flushing = False
        self._waiting: dict[Deferred[int], int] = {}
        self._failed: StoreUnavailable | None = None
        self._writer: Writer | None = None
        self._erased: Sequence[str] = ()
        self._unreadable: Sequence[Path] = ()
        self.trimmed: recovery.Trimmed | None = None

    def load(self, since: Mapping[type[Event], float]) -> Loaded:
        """Read the log, as `wxgptd.eventlog.loading` does. One without keys is encrypted first.

        Raises:
            LogDamaged: something does not check.
            UnreadableEvent: a newer wxgptd wrote an event.
            Inconsistent: an event rests on another version of its user than there is.
        """
        recovery.finish_replacing(self._directory)
        segments.make_private_directory(self._directory)
        if recovery.is_plain(self._directory):
            recovery.encrypt(self._directory, self._keys, self._bounds.bytes)
        found = loading.load(self._directory, self._keys, since)
        self._keys.keep(found.references)
        self._erased, self._unreadable = found.erased, list(found.unreadable)
        return found.loaded

    def start(self) -> None:
        """Trim a torn tail, and begin to write behind what `load` has read.

        Raises:
            LogDamaged: the newest segment is damaged.
            StoreUnavailable: the disk does not allow it.
        """
        try:
            ready = recovery.make_ready(self._directory)
            self._settle_keys()
        except OSError as error:
            raise _unavailable(error) from error
        self.trimmed = ready.trimmed
        self._writer = Writer(
            self._directory,
            ready,
            self._keys,
            Listener(
                on_durable=self._durable,
                on_failure=lambda error: self._turns.in_reactor(lambda: self._fail(error)),
                on_full=lambda full: self._turns.in_reactor(lambda: self._alarms.on_full(full)),
            ),
            self._bounds,
            self._disk,
        )

    def _settle_keys(self) -> None:
        """Have on disk what is in the keyring; delete what a stop has left of who was erased."""
        try:
            self._keys.write(without=self._erased)
        except OSError as error:
            if not says_full(error) or not self._keys.path.exists():
                raise
            descriptor = os.open(self._keys.path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                self._keys.overwrite(descriptor, self._erased)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def damage_before(self, seq: int) -> Sequence[str]:
        """Return what is wrong with the events up to `seq`, which a start need not read.

        In any thread. Nothing is decrypted or decoded.
        """
        return verifying.damage_before(self._directory, seq)

    def append(self, user: User, events: Sequence[InSession], expected: int) -> Deferred[int]:
        """Append `events`, each with its session, which rest on version `expected` of `user`.

        Fires with the number of the last one once they are durable. They are atomic: after a
        crash all of them are there, or none. Behind `UserErased` the user's key is deleted, and
        it fires when that is durable too.

        Errs:
            StoreUnavailable: the log cannot be written; nothing was acknowledged.

        Raises:
            StoreUnavailable: the log is not open (yet, or any more).
            Unencodable: an event has a value that cannot be written.
        """
        if self._writer is None:
            raise StoreUnavailable("the event log is not open")
        result: Deferred[int] = Deferred()
        if self._failed is not None:
            result.errback(self._failed)
            return result
        known = self._keys.of(user)
        key = known or self._keys.make(user)
        try:
            entries = [codec.encode(key, n, *event) for n, event in enumerate(events, expected)]
        except codec.Unencodable:
            if known is None:
                self._keys.drop(key)
            raise
        erased = ""
        if isinstance(events[-1][1], UserErased):
            self._keys.forget(key)  # whoever comes back is somebody else
            erased = key.reference
        record = key.record if known is None else b""
        self._waiting[result] = self._writer.append(entries, result, record, erased)
        if not self._flushing:
            self._flushing = True
            self._turns.soon(self._flush)
        return result

    def _flush(self) -> None:
        if self._writer is not None:
            self._writer.flush()

    def figures(self) -> StoreFigures:
        """Return what has been committed since the start."""
        if self._writer is None:
            return StoreFigures()
        commits = self._writer.commits
        return StoreFigures(
            last_seq=self._writer.next_seq - 1,
            commits=commits.groups,
            events=commits.events,
            sync_s=commits.sync_s,
            syncs=self._writer.syncs,
            pending=len(self._waiting),
        )

    def full(self) -> bool:
        """Tell whether the disk is full, or stalled: only what has to be should be appended."""
        if len(self._waiting) > MAX_WAITING:
            return True
        return self._writer is not None and self._writer.full

    def snapshot(self, capture: Capture, *, only: bool) -> Callable[[], None]:
        """Return what writes a snapshot, to be called in any thread, once that is durable.

        Older ones are deleted: all of them if it is to be the `only` one.

        Raises (when called):
            OSError: there is none.
        """
        hydrated: list[tuple[UserKey, UserState]] = []
        for user, state in capture.hydrated.items():
            key = self._keys.of(user)
            if key is not None:
                hydrated.append((key, state))

        def write() -> None:
            users = loading.frozen(hydrated, capture, self._keys)
            snapshot.write(
                self._directory, capture.last_seq, capture.notes, users, self._keys, self._disk
            )
            snapshot.require(self._directory, capture.last_seq, self._keys)
            for path in self._unreadable:  # nothing is kept for them, and they cover nothing
                path.unlink(missing_ok=True)
            snapshot.drop_all_but(self._directory, 1 if only else snapshot.KEPT, self._disk)

        return write

    def retain(self, before: float, most_bytes: int) -> RetentionResult:
        """Delete old segments; see `wxgptd.eventlog.retention`. In any thread.

        Raises:
            OSError: the file system does not allow it.
        """
        return retention.drop(self._directory, before, most_bytes, self._disk)

    def close(self) -> None:
        """Commit what waits, seal the log, unlock the directory. Blocks for as long.

        Raises:
            StoreUnavailable: not everything was committed and sealed.
        """
        error = self._writer.close() if self._writer is not None else None
        self._writer = None
        self._lock.release()
        if error is not None:
            raise self._failed or _unavailable(error)

    def _durable(self, tokens: list[object]) -> None:
        self._turns.in_reactor(lambda: self._acknowledge(tokens))

    def _acknowledge(self, tokens: list[object]) -> None:
        for token in tokens:
            assert isinstance(token, Deferred)
            seq = self._waiting.pop(token, None)
            if seq is not None:
                token.callback(seq)
        self._flushing = bool(self._waiting)
        if self._waiting:
            self._flush()

    def _fail(self, error: Exception) -> None:
        self._failed = _unavailable(error)
        waiting, self._waiting = self._waiting, {}
        for result in waiting:
            result.errback(self._failed)
        self._alarms.on_failure(self._failed)


def _unavailable(error: Exception) -> StoreUnavailable:
    why = getattr(error, "strerror", None) or repr(error)
    return StoreUnavailable(
        f"the event log cannot be written: {why}",
        hint="check the disk and its free space; the daemon recovers when it is started again",
    )
