"""The event log as the service sees it: load, append and wait, take snapshots, close.

This is the only module where the writer's thread meets the reactor's.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from twisted.internet.defer import Deferred, fail

from wxgptd.domain.model.events import Event, UserErased
from wxgptd.domain.model.values import User
from wxgptd.eventlog import (
    between_nodes,
    codec,
    loading,
    packing,
    recovery,
    retention,
    segments,
    snapshot,
    snapshot_writing,
    snapshotting,
    starting,
    taking,
    verifying,
)
from wxgptd.eventlog.callbacks import StoreListener, Turns
from wxgptd.eventlog.commit_groups import Leading
from wxgptd.eventlog.deleting import Deleted
from wxgptd.eventlog.flushes import Flushes
from wxgptd.eventlog.keyring import Keyring
from wxgptd.eventlog.positions import Place
from wxgptd.eventlog.shipping.progress import read_progress
from wxgptd.eventlog.snapshot import Snapshot
from wxgptd.eventlog.system import System
from wxgptd.eventlog.unavailable import StoreUnavailable, unavailable
from wxgptd.eventlog.users import Users
from wxgptd.eventlog.writer import Listener, SegmentBounds, Writer
from wxgptd.ports.appending import Appending, Group
from wxgptd.ports.record import Capture, Loaded, RetentionResult, StoreFigures
from wxgptd.ports.store import InSession
from wxgptd.wording import say

MAX_WAITING = 20_000
"""How many appends may wait for a stalled disk before new questions are rejected."""


MAX_STALLED_S = 15.0
"""Once a commit has waited so long for a quorum, no question can be answered in time."""


class LogStore:
    """A log directory, locked for this process. `master` is the master key."""

    def __init__(
        self,
        state_dir: Path,
        master: bytes,
        turns: Turns,
        alarms: StoreListener,
        bounds: SegmentBounds = SegmentBounds(),
        system: System = System(),
    ) -> None:
        self.replica: Appending | None = None
        """Where to append first while this store leads."""
        self._state_dir = state_dir
        self._master = master
        self._disk = system.disk
        self._system = system
        segments.make_private_directory(state_dir)
        self._lock = segments.StateLock(state_dir)
        self._directory = segments.log_directory(state_dir)
        segments.make_private_directory(segments.keys_directory(state_dir))
        self._keys = Keyring(segments.keyring_path(state_dir), master)
        self._turns = turns
        self._alarms = alarms
        self._bounds = bounds
        self._flushes = Flushes()
        self._failed: StoreUnavailable | None = None
        self._writer: Writer | None = None
        self._users: Users | None = None
        self._taking: taking.Taking | None = None
        self._erased: Sequence[str] = ()
        self._unreadable: Sequence[Path] = ()
        self.trimmed: recovery.Trimmed | None = None

    def load(self, since: Mapping[type[Event], float]) -> Loaded:
        """Read the log (see `wxgptd.eventlog.loading`); encrypt a plaintext log first.

        Raises:
            LogDamaged: the log is damaged.
            UnreadableEvent: a newer wxgptd wrote an event.
            Inconsistent: an event is out of sequence for its user.
        """
        recovery.finish_replacing(self._directory)
        segments.make_private_directory(self._directory)
        if recovery.is_plain(self._directory):
            recovery.encrypt(self._directory, self._keys, self._bounds.bytes)
        log = loading.load(self._directory, self._keys, since, quickly=True)
        self._users = log.users
        self._users.sets_aside = True
        self._keys.keep(log.users.numbers())
        self._erased, self._unreadable = log.erased, list(log.unreadable)
        log.reading.follow()
        self._taking = taking.Taking(log.reading, self._keys)
        return log.loaded

    def start(self, *, follows: bool = False) -> None:
        """Trim a torn tail, and start writing after the events that `load` read.

        If it `follows` another log, events are only taken from there until it leads.

        Raises:
            LogDamaged: the newest segment is damaged.
            StoreUnavailable: the log cannot be written.
        """
        try:
            ready = recovery.make_ready(self._directory)
            starting.write_keys(self._keys, self._erased)
        except OSError as error:
            raise unavailable(error) from error
        assert self._users is not None, "load comes first"
        self._users.close_segments()  # the newest is another file now
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
            self._system,
        )
        if not follows:
            starting.record_early_erasures(self._writer, self._users, self._keys.path)

    # With a cluster (see `wxgptd.ports.store.FollowingStore`).

    def unknown(self, group: Group) -> Sequence[str]:
        """Return the references in `group` that have no key here."""
        return taking.unknown(group, self._keys)

    def decode(self, group: Group, keys: Mapping[str, bytes]) -> Sequence[tuple[User, Event]]:
        """Return the events in `group`, given the records of the keys that were `unknown`."""
        assert self._taking is not None, "load comes first"
        return self._taking.decode(group, keys)

    def take(self, group: Group) -> None:
        """Append `group`, which was decoded last, as another machine committed it."""
        assert self._taking is not None, "load comes first"
        assert self._writer is not None, "start comes first"
        self._writer.take(self._taking.take(group))
        self._flushes.append()
        self._writer.flush(self._flushes.begin())

    def seal(self, user: User, plain: bytes) -> bytes | None:
        """Return `plain` for that user, encrypted with the user's key, or None without a key."""
        return between_nodes.seal(self._keys, user, plain)

    def unseal(self, sealed: bytes) -> tuple[User, bytes] | None:
        """Return the user and the plain bytes of what `seal` returned, or None if that fails."""
        return between_nodes.unseal(self._keys, sealed)

    def has(self, group: Group) -> bool:
        """Return whether the last events here are those in `group`, as far as that is known."""
        return taking.is_same(group, self._directory)

    def place(self) -> int:
        """Return the place of the last message in the replica, as far as this store wrote it."""
        return self._writer.place if self._writer is not None else 0

    def renew(self) -> None:
        """Append to the replica that this node still leads, so that its log never runs empty."""
        if self._writer is not None:
            self._writer.renew()

    def lead(self, place: int | None) -> None:
        """Append to the replica from now on, after the message at `place`; or no longer if None."""
        assert self._writer is not None, "start comes first"
        if place is None or self.replica is None:
            self._writer.lead(None)
            return
        self._writer.lead(Leading(self.replica, place))
        if self._users is not None:
            starting.record_early_erasures(self._writer, self._users, self._keys.path)

    def damage_before(self, seq: int) -> Sequence[str]:
        """Return what is wrong with the events up to `seq`, which startup does not read.

        May be called in any thread. Nothing is decrypted or decoded. A large snapshot, of which
        startup has read only the columns, is checked, too; if it is damaged, it is set aside.
        """
        newest = self._users.snapshot.path if self._users and self._users.snapshot else None
        return verifying.damage_before(self._directory, seq, newest)

    def append(self, user: User, events: Sequence[InSession], expected: int) -> int:
        """Append `events`, each with its session, based on version `expected` of `user`.

        Returns the number of the last one. The append is atomic: a crash leaves either all or none
        of them. After `UserErased` the user's key is deleted. See `committed` for when all of that
        is durable.

        Raises:
            StoreUnavailable: the log is not open.
            Unencodable: an event has a value that cannot be written.
        """
        if self._writer is None:
            raise StoreUnavailable(say("the event log is not open"))
        if self._failed is not None:
            return self._writer.next_seq - 1  # `committed` fails
        existing = self._keys.of(user)
        key = existing or self._keys.make(user)
        new_key = key if existing is None else None
        is_erasure = isinstance(events[-1][1], UserErased)
        try:
            entries = [codec.encode(key, n, *event) for n, event in enumerate(events, expected)]
            erased = key.reference if is_erasure else ""
            seq = self._writer.append(entries, new_key, erased)
        except packing.Unencodable:
            if existing is None:
                self._keys.drop(key)
            raise
        if is_erasure:
            self._keys.forget(key)  # a user who returns is a new one
        assert self._users is not None, "load comes first"
        kinds = [event for _, event in events]
        self._users.append(key, seq + 1 - len(events), expected, kinds)
        self._flushes.append()
        if not self._flushes.scheduled:
            self._flushes.scheduled = True
            self._turns.soon(self._flush)
        return seq

    def committed(self) -> Deferred[None]:
        """Fire when everything appended so far is durable.

        Each caller has its own Deferred: cancelling it affects no other caller.

        Errs:
            StoreUnavailable: the log cannot be written, and not everything is durable.
        """
        return fail(self._failed) if self._failed is not None else self._flushes.committed()

    def begin_segment(self) -> Deferred[None]:
        """Seal the segment and begin another one; fires when that is durable.

        Errs:
            StoreUnavailable: the log cannot be written.
        """
        if self._failed is not None or self._writer is None:
            return fail(self._failed or StoreUnavailable(say("the event log is not open")))
        self._flush()
        self._flushes.scheduled = True
        self._writer.begin_segment(self._flushes.begin_empty())
        return self._flushes.committed()

    def _flush(self) -> None:
        flush = self._flushes.begin() if self._writer is not None else None
        if self._writer is not None and flush is not None:
            self._writer.flush(flush)

    def tag(self, user: User) -> int:
        """Return a number of 64 bits that leads back to `user`, and reveals nothing else."""
        return self._keys.tag(user)

    def tagged(self, tag: int) -> User | None:
        """Return the user with that tag, or None if there is none."""
        key = self._keys.tagged(tag)
        return key.user if key is not None else None

    @property
    def located_since(self) -> float:
        """Since when links lead to their user by tag; infinite if none does so far.

        A day later than they began to: events' times may be ahead of the wall clock's.
        """
        return self._keys.created + 86_400.0

    def figures(self) -> StoreFigures:
        """Return the counts since startup."""
        writer = self._writer
        return writer.figures(self._flushes.pending) if writer is not None else StoreFigures()

    def shipped(self) -> tuple[int, float] | None:
        """Return the last event that was sent to another machine, and when."""
        return read_progress(self._state_dir)

    def full(self) -> bool:
        """Return whether the disk is full or stalled, so only essential events are appended.

        Without a quorum of the replica's servers, nothing can be appended either.
        """
        writer = self._writer
        if self._flushes.pending > MAX_WAITING:
            return True
        return writer is not None and (writer.full or self.stalled_s() > MAX_STALLED_S)

    def stalled_s(self) -> float:
        """Return how long the replica has not acknowledged a commit, in seconds; 0 if it does."""
        return self._writer.stalled_s if self._writer is not None else 0.0

    def snapshot(self, capture: Capture) -> Callable[[], Sequence[str]]:
        """Return a function that takes a snapshot of everything up to now.

        It returns which damaged segments may still have what was said in deleted sessions.

        Call it in any thread, once `capture.last_seq` is durable. It also deletes old snapshots.

        Raises (when called):
            OSError: the snapshot could not be written.
            WxgptError: a user's events are inconsistent or damaged.
        """
        assert self._users is not None, "load comes first"
        self._users.begin_generation(capture.last_seq)
        located = ((self._keys.of(user), session, at) for user, session, at in capture.deleted)
        deleted = [Deleted(key.reference, session, at) for key, session, at in located if key]
        job = snapshotting.Job(
            state_dir=self._state_dir,
            links_until=self.located_since,
            **{**capture._asdict(), "deleted": deleted},
        )

        def take() -> Sequence[str]:
            path, damaged = self._system.take_snapshot(job, self._master, self._disk)
            try:
                taken = snapshot.read(path, self._keys, quickly=True)
            except ValueError as error:
                raise OSError(errno.EIO, f"{path.name}: {error}") from error
            self._turns.in_reactor(lambda: self._adopt(taken))
            for unreadable in self._unreadable:  # retention would keep segments for them
                if unreadable != path:
                    unreadable.unlink(missing_ok=True)
            self._unreadable = ()
            # Earlier ones still have what was said in the deleted sessions.
            kept = 1 if job.deleted else snapshot_writing.KEPT
            snapshot_writing.drop_all_but(self._directory, kept, self._disk)
            return damaged

        return take

    def drop_earlier_snapshots(self) -> None:
        """Delete all snapshots but the newest. May be called in any thread."""
        snapshot_writing.drop_all_but(self._directory, 1, self._disk)

    def _adopt(self, taken: Snapshot) -> None:
        if self._users is not None:
            self._users.adopt(taken)
            self._users.close_segments()  # some may have been replaced

    def retain(self, before: float, most_bytes: int) -> RetentionResult:
        """Delete old segments; see `wxgptd.eventlog.retention`. May be called in any thread.

        Raises:
            OSError: a segment could not be deleted.
        """
        return retention.drop(self._directory, before, most_bytes, self._disk)

    def close(self) -> None:
        """Commit what is pending, seal the log, unlock the directory. Blocks until done.

        Raises:
            StoreUnavailable: not everything was committed and sealed.
        """
        self._flush()
        error = self._writer.close() if self._writer is not None else None
        self._writer = None
        if self._users is not None:
            self._users.close()
        self._keys.close()
        self._lock.release()
        if error is not None:
            raise self._failed or unavailable(error)

    def _durable(self, place: Place | None, flush: object) -> None:
        self._turns.in_reactor(lambda: self._acknowledge(place, flush))

    def _acknowledge(self, place: Place | None, flush: object) -> None:
        if self._users is not None and place is not None:
            self._users.note_frame(place)
        if self._flushes.acknowledge(flush):
            self._flush()
            self._flushes.settle()

    def _fail(self, error: Exception) -> None:
        self._failed = unavailable(error)
        self._flushes.fail(self._failed)
        self._alarms.on_failure(self._failed)
