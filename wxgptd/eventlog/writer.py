"""Append to a log, in a thread of its own, with group commit.

Appends that are flushed together become one frame, one write and one fdatasync.
Nothing is acknowledged before the sync that follows it has returned. With a replica, a group is
appended there first: whatever is in this log, the other machines have as well.

A failed write or sync is never retried: the kernel may have dropped the very pages it failed to
write, so the file's contents can no longer be trusted. The writer stops, and the next start
recovers.

A full disk is the one exception, since it costs nothing but time: the partly written frame is
truncated, and the disk reserve is released for essential writes. When the reserve is used up as
well, the commit waits for space.
"""

from __future__ import annotations

import errno
import os
import secrets
import time
from collections.abc import Callable
from math import inf
from pathlib import Path
from queue import Empty
from typing import NamedTuple, TypeVar

from wxgptd.eventlog import codec, framing, segments
from wxgptd.eventlog.commit_groups import CommitGroup, Leading, TakenGroup
from wxgptd.eventlog.disk import Reserve, is_disk_full
from wxgptd.eventlog.durations import Durations
from wxgptd.eventlog.framing import MAX_GROUP_BYTES
from wxgptd.eventlog.keyring import Keyring
from wxgptd.eventlog.positions import Place
from wxgptd.eventlog.recovery import Ready
from wxgptd.eventlog.room import AppendOnlyFile
from wxgptd.eventlog.system import System
from wxgptd.eventlog.user_key import UserKey
from wxgptd.eventlog.workers import Queue
from wxgptd.ports import appending
from wxgptd.ports.record import StoreFigures

T = TypeVar("T")

SEGMENT_BYTES = 64 * 1024 * 1024
LOOK_FOR_SPACE_S = 1.0


class Commits(NamedTuple):
    """The commits since the writer started; may be read at any time."""

    groups: int
    events: int


class SegmentBounds(NamedTuple):
    """A segment is sealed at this size, or at this age in seconds (0 for no age limit)."""

    bytes: int = SEGMENT_BYTES
    age_s: float = 0.0


class Listener(NamedTuple):
    """The writer's callbacks, called in its thread. They must not block.

    `on_durable` is called for each commit, with the place of its frame and the token given to
    `flush`, or None if the flush needs another commit. It is called without a place for each
    segment that `begin_segment` began. `on_failure` is called once, with the error after
    which nothing more becomes durable; `on_full` whenever the disk becomes full, and when there is
    space again.
    """

    on_durable: Callable[[Place | None, object], None]
    on_failure: Callable[[Exception], None]
    on_full: Callable[[bool], None]


class Writer:
    """The only writer of a log directory.

    `full` is whether the disk is full, so that new work should be rejected. It may be read from any
    thread.
    """

    def __init__(
        self,
        directory: Path,
        ready: Ready,
        keys: Keyring,
        listener: Listener,
        bounds: SegmentBounds = SegmentBounds(),
        system: System = System(),
    ) -> None:
        self._disk = system.disk
        self._directory = directory
        self._listener = listener
        self._bounds = bounds
        self._created = ready.header.created if ready.header is not None else 0.0
        self._next_seq = ready.next_seq
        self._unflushed: list[CommitGroup] = []
        self._queue: Queue[CommitGroup | None] = system.workers.queue()
        self._commits = Commits(0, 0)
        self._syncs, self._quorums = Durations(), Durations()
        self.full = False
        # The attributes below belong to the writer's thread.
        self._written_seq = ready.next_seq
        self._first_seq = ready.next_seq
        self._error: Exception | None = None
        self._segment = self._keys_file = AppendOnlyFile(-1, 0, system.disk)
        self._key = 0
        self._keys = keys
        self._ready = ready
        self._leading: Leading | None = None
        self._appending_since = inf
        self._closing = system.workers.event()
        self._reserve = Reserve(directory, system.disk)
        self._join = system.workers.start(self._run, "wxgptd-log")

    def figures(self, pending: int) -> StoreFigures:
        """Return the counts since the start; `pending` appends are not durable yet."""
        return StoreFigures(
            last_seq=self._next_seq - 1,
            commits=self._commits.groups,
            events=self._commits.events,
            sync_s=self._syncs.sum_s,
            syncs=self._syncs.buckets,
            pending=pending,
            quorum_s=self._quorums.sum_s,
            quorums=self._quorums.buckets,
        )

    @property
    def next_seq(self) -> int:
        """The number of the next event."""
        return self._next_seq

    @property
    def place(self) -> int:
        """The place of the last message that was appended to the replica."""
        return self._leading.place if self._leading is not None else 0

    @property
    def stalled_s(self) -> float:
        """How long an append to the replica has been under way, in seconds; 0 if none is."""
        return max(0.0, time.monotonic() - self._appending_since)

    def lead(self, leading: Leading | None) -> None:
        """Append groups to a replica first from now on, or no longer if None.

        Call this from the appending thread while everything appended so far is durable.
        """
        self._leading = leading

    def append(
        self,
        entries: list[codec.Entry],
        new_key: UserKey | None = None,
        erased: str = "",
    ) -> int:
        """Queue `entries` as one atomic append; return the number of the last one.

        `new_key` is a key that must be durable before the entries, and `erased` is the reference of
        the user whose key is deleted after them. Call this from one thread only: the
        order of the calls is the order of the log.

        Raises:
            Unencodable: an entry has a value that cannot be written; nothing was queued.
        """
        packed = codec.pack(entries)
        self._next_seq += len(entries)
        if not self._unflushed or self._unflushed[-1].bytes >= self._max_bytes:
            self._unflushed.append(CommitGroup())
        group = self._unflushed[-1]
        group.append(packed, len(entries))
        if new_key is not None:
            group.new_keys.append(new_key)
        if erased:
            group.erased.append(erased)
        return self._next_seq - 1

    @property
    def _max_bytes(self) -> int:
        return self._leading.appending.max_bytes if self._leading is not None else MAX_GROUP_BYTES

    def take(self, group: TakenGroup) -> None:
        """Queue a commit group of another log, which must follow the last one here."""
        assert group.first_seq == self._next_seq, "it would leave a gap"
        self._next_seq += group.events
        taken = CommitGroup()
        taken.payload, taken.events = group.payload, group.events
        taken.new_keys, taken.erased = list(group.new_keys), list(group.erased)
        self._unflushed.append(taken)

    def flush(self, token: object = None) -> None:
        """Commit everything appended so far, as one group unless it is very large.

        `token` identifies the flush to the listener.

        Call this from the appending thread. To form groups, call it once for many appends, and not
        again until the commit is durable: handing over to another thread costs more than all other
        work for an event.
        """
        if not self._unflushed:
            return
        self._unflushed[-1].token = token
        for group in self._unflushed:
            self._queue.put(group)
        self._unflushed = []

    def begin_segment(self, token: object = None) -> None:
        """Seal the segment, unless it is empty, and begin another one after what was flushed.

        `token` identifies the request to the listener. Call this from the appending thread.
        """
        request = CommitGroup()
        request.token = token
        self._queue.put(request)

    def renew(self) -> None:
        """Append a claim to the replica, after what was flushed."""
        request = CommitGroup()
        request.renews = True
        self._queue.put(request)

    def close(self) -> Exception | None:
        """Commit what was appended, seal the segment and end the thread. Blocks until done.

        Returns the error that occurred, now or earlier, if any.
        """
        self.flush()
        self._closing.set()
        self._queue.put(None)
        self._join()
        return self._error

    def _run(self) -> None:
        try:
            self._open(self._ready)
            self._set_full(full=not self._reserve.keep())
            while (group := self._next_group()) is not None:
                self._commit(group)
            # The next start continues an empty segment: its successor would have the same name.
            if self._written_seq > self._first_seq:
                self._seal()
        except Exception as error:  # noqa: BLE001 (after any error, nothing more is durable)
            self._error = error
            self._listener.on_failure(error)
        finally:
            self._segment.close()
            self._keys_file.close()

    def _next_group(self) -> CommitGroup | None:
        """Return the next group to commit; while the disk is full, keep checking for space."""
        while self.full:
            self._set_full(full=not self._reserve.keep())
            try:
                return self._queue.get(timeout=LOOK_FOR_SPACE_S)
            except Empty:
                continue
        return self._queue.get()

    def _set_full(self, *, full: bool) -> None:
        if full != self.full:
            self.full = full
            self._listener.on_full(full)

    def _free_space(self) -> None:
        """Release the segment's room and the disk reserve, or wait a moment if that is done.

        Raises:
            OSError: the writer is closing and no space is left.
        """
        self._set_full(full=True)
        self._segment.trim()
        if not self._reserve.give_up() and self._closing.wait(LOOK_FOR_SPACE_S):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _with_space(self, action: Callable[[], T]) -> T:
        """Retry `action` while the disk is full; a failed `action` must leave nothing behind."""
        while True:
            try:
                return action()
            except OSError as error:
                if not is_disk_full(error):
                    raise
                self._free_space()

    def _commit(self, group: CommitGroup) -> None:
        if not group.events:
            self._do_without_events(group)
            return
        events = group.events
        payload = group.payload or codec.join(events, group.packed)
        leading = self._leading if not group.payload else None
        if leading is not None:
            self._leading = self._replicate(leading, group, payload)
        if self._segment.size >= self._bounds.bytes or self._is_old():
            self._seal()
            self._create(self._written_seq)
        if group.new_keys:
            self._write_keys(group.new_keys)
        place = Place(self._written_seq, self._first_seq, self._segment.size)
        frame = framing.pack_frame(self._key, self._written_seq, events, payload)
        if not self.full:
            self._segment.make_room(len(frame), self._bounds.bytes)
        self._append(self._segment, frame)
        began = time.monotonic()
        self._segment.sync()
        took = time.monotonic() - began
        self._written_seq += events
        self._erase(group.erased)
        if leading is not None and group.erased:
            self._appending_since = time.monotonic()
            leading.appending.erase(group.erased)
            self._appending_since = inf
        commits = self._commits
        self._commits = Commits(commits.groups + 1, commits.events + events)
        self._syncs.add(took)
        self._listener.on_durable(place, group.token)

    def _replicate(self, leading: Leading, group: CommitGroup, payload: bytes) -> Leading:
        """Append a group to the replica. It is durable there on return.

        Raises:
            Superseded: another machine leads.
        """
        keys = {key.reference: self._keys.record(key) for key in group.new_keys}
        replicated = appending.Group(self._written_seq, group.events, payload, tuple(group.erased))
        self._appending_since = time.monotonic()
        place = leading.appending.append(replicated, keys, leading.place)
        self._quorums.add(time.monotonic() - self._appending_since)
        self._appending_since = inf
        return leading._replace(place=place)

    def _do_without_events(self, group: CommitGroup) -> None:
        """Renew the claim, erase, or begin another segment."""
        if group.renews:
            if self._leading is not None:
                self._appending_since = time.monotonic()
                self._leading = self._leading.renewed(self._written_seq)
                self._appending_since = inf
            return
        if group.erased:
            self._erase(group.erased)
        elif self._written_seq > self._first_seq:
            self._seal()
            self._create(self._written_seq)
        self._listener.on_durable(None, group.token)

    def _erase(self, references: list[str]) -> None:
        if references:
            self._keys.overwrite(self._keys_file.descriptor, references)
            self._keys_file.sync()

    def _write_keys(self, keys: list[UserKey]) -> None:
        """Append keys to the keyring. Durable on return."""
        records, begin = [self._keys.record(key) for key in keys], self._keys_file.size
        self._append(self._keys_file, b"".join(records))
        self._keys_file.sync()
        self._keys.placed(keys, begin, records)

    def _is_old(self) -> bool:
        """Return whether the segment is old enough to be sealed, so that it can be dropped."""
        return (
            0 < self._bounds.age_s < segments.creation_time() - self._created
            and self._written_seq > self._first_seq
        )

    def _append(self, file: AppendOnlyFile, data: bytes) -> None:
        """Append all of `data`, waiting for space if the disk is full."""
        self._with_space(lambda: file.append(data))

    def _open(self, ready: Ready) -> None:
        keys = os.open(self._keys.path, os.O_WRONLY | os.O_CLOEXEC)
        self._keys_file = AppendOnlyFile(keys, os.fstat(keys).st_size, self._disk)
        if ready.segment is None or ready.header is None:
            self._create(ready.next_seq)
            return
        descriptor = os.open(ready.segment, os.O_WRONLY | os.O_CLOEXEC)
        self._segment = AppendOnlyFile(descriptor, ready.offset, self._disk)
        self._key, self._first_seq = ready.header.key, ready.header.first_seq

    def _create(self, first_seq: int) -> None:
        path = self._directory / segments.segment_name(first_seq)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = self._with_space(lambda: os.open(path, flags, 0o600))
        self._segment = AppendOnlyFile(descriptor, 0, self._disk)
        self._key = secrets.randbits(32)
        self._first_seq, self._created = first_seq, segments.creation_time()
        header = framing.Header(first_seq, self._created, self._key)
        self._append(self._segment, framing.pack_header(header))
        self._segment.sync()
        segments.sync_directory(self._directory, self._disk.sync_directory)

    def _seal(self) -> None:
        self._append(self._segment, framing.pack_footer(self._key, self._written_seq))
        self._segment.trim()
        self._segment.sync()
        self._segment.close()
