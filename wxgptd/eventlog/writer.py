"""Append to a log, in one thread of its own, with group commit.

What is flushed together goes out as one frame, one write and one fdatasync.
Nothing is acknowledged before the sync behind it has returned. A failed write or sync is never
tried again: the kernel may have dropped the very pages it failed on, so the file can no longer
be trusted to hold what was written. The writer stops, and the next start recovers.

A full disk is the one exception, since nothing is lost by it but time: what was written of the
frame is cut off again, and a reserve is given up so that what has to be written still can be.
Where even that is used up, the commit waits for room.
"""

from __future__ import annotations

import errno
import os
import secrets
import threading
import time
from bisect import bisect_left
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import NamedTuple, TypeVar

from wxgptd.eventlog import codec, framing, segments
from wxgptd.eventlog.disk import DISK, Disk, Reserve, says_full
from wxgptd.eventlog.framing import MAX_GROUP_BYTES
from wxgptd.eventlog.keyring import Keyring
from wxgptd.eventlog.recovery import Ready
from wxgptd.ports.record import SYNC_BOUNDS_S

T = TypeVar("T")

SEGMENT_BYTES = 64 * 1024 * 1024
LOOK_FOR_ROOM_S = 1.0


class _Append(NamedTuple):
    packed: bytes
    events: int
    token: object
    keys: bytes
    erased: str


class _File:
    """A file that is appended to: whole pieces, or nothing of them."""

    def __init__(self, descriptor: int, size: int) -> None:
        self.descriptor = descriptor
        self.size = size

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


_CLOSED = _File(-1, 0)


class Commits(NamedTuple):
    """What has been committed since the writer started; a reading, taken at any time."""

    groups: int
    events: int
    sync_s: float


class SegmentBounds(NamedTuple):
    """A segment is sealed at so many bytes, or at so many seconds of age (0: at any age)."""

    bytes: int = SEGMENT_BYTES
    age_s: float = 0.0


class Listener(NamedTuple):
    """What the writer calls, in its thread. None may block.

    `on_durable` is called with the tokens of all appends that one commit made durable, in their
    order; `on_failure` once, with the error, when nothing will be any more; `on_full` whenever the
    disk becomes full, and when there is room again.
    """

    on_durable: Callable[[list[object]], None]
    on_failure: Callable[[Exception], None]
    on_full: Callable[[bool], None]


class Writer:
    """The only writer of a log directory.

    `full` tells whichever thread asks whether the disk is: what can be refused should be.
    """

    def __init__(
        self,
        directory: Path,
        ready: Ready,
        keys: Keyring,
        listener: Listener,
        bounds: SegmentBounds = SegmentBounds(),
        disk: Disk = DISK,
    ) -> None:
        self._disk = disk
        self._directory = directory
        self._listener = listener
        self._bounds = bounds
        self._created = ready.header.created if ready.header is not None else 0.0
        self._next_seq = ready.next_seq
        self._pending: list[_Append] = []
        self._queue: SimpleQueue[list[_Append] | None] = SimpleQueue()
        self._commits = Commits(0, 0, 0.0)
        self._syncs = [0] * (len(SYNC_BOUNDS_S) + 1)
        self.full = False
        # From here on the thread's own.
        self._written_seq = ready.next_seq
        self._first_seq = ready.next_seq
        self._error: Exception | None = None
        self._segment = self._keys_file = _CLOSED
        self._key = 0
        self._keys = keys
        self._ready = ready
        self._closing = threading.Event()
        self._reserve = Reserve(directory, disk)
        self._thread = threading.Thread(target=self._run, name="wxgptd-log", daemon=True)
        self._thread.start()

    @property
    def commits(self) -> Commits:
        """What has been committed so far."""
        return self._commits

    @property
    def syncs(self) -> tuple[int, ...]:
        """How many commits were how fast; see `wxgptd.ports.record.StoreFigures`."""
        return tuple(self._syncs)

    @property
    def next_seq(self) -> int:
        """The number that the next event gets."""
        return self._next_seq

    def append(
        self, entries: list[codec.Entry], token: object, keys: bytes = b"", erased: str = ""
    ) -> int:
        """Take `entries` as one atomic append; return the number of the last of them.

        `keys` are records of the keyring that are to be durable before, and `erased` is whose key
        is to be deleted behind it. To be called from one thread only: the order of the calls is
        the order of the log.

        Raises:
            Unencodable: an entry has a value that cannot be written; nothing was taken.
        """
        packed = codec.pack(entries)
        self._next_seq += len(entries)
        self._pending.append(_Append(packed, len(entries), token, keys, erased))
        return self._next_seq - 1

    def flush(self) -> None:
        """Have all that was appended committed, as one group unless it is very large.

        From the appending thread. To call it once for many appends, and not again before the
        commit is durable, is what makes groups: a hand-over between threads costs more than all
        else about an event.
        """
        group, size = [], 0
        for append in self._pending:
            group.append(append)
            size += len(append.packed)
            if size >= MAX_GROUP_BYTES:
                self._queue.put(group)
                group, size = [], 0
        if group:
            self._queue.put(group)
        self._pending = []

    def close(self) -> Exception | None:
        """Commit what was appended, seal the segment and end the thread. Waits for all that.

        Return what went wrong, now or earlier.
        """
        self.flush()
        self._closing.set()
        self._queue.put(None)
        self._thread.join()
        return self._error

    def _run(self) -> None:
        try:
            self._open(self._ready)
            self._note(full=not self._reserve.keep())
            while (group := self._next_group()) is not None:
                self._commit(group)
            # One without events is gone on with: its successor would have the same name.
            if self._written_seq > self._first_seq:
                self._seal()
        except Exception as error:  # noqa: BLE001 (whatever it was, nothing more is durable)
            self._error = error
            self._listener.on_failure(error)
        finally:
            self._segment.close()
            self._keys_file.close()

    def _next_group(self) -> list[_Append] | None:
        """Return what is to be committed next; look for room meanwhile, if there was none."""
        while self.full:
            self._note(full=not self._reserve.keep())
            try:
                return self._queue.get(timeout=LOOK_FOR_ROOM_S)
            except Empty:
                continue
        return self._queue.get()

    def _note(self, *, full: bool) -> None:
        if full != self.full:
            self.full = full
            self._listener.on_full(full)

    def _make_room(self) -> None:
        """Give up what is kept for that; without it, let some time pass.

        Raises:
            OSError: the writer is to stop, and there is no room.
        """
        self._note(full=True)
        if not self._reserve.give_up() and self._closing.wait(LOOK_FOR_ROOM_S):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _with_room(self, action: Callable[[], T]) -> T:
        """Do something that a full disk may refuse and that leaves nothing behind then."""
        while True:
            try:
                return action()
            except OSError as error:
                if not says_full(error):
                    raise
                self._make_room()

    def _commit(self, group: list[_Append]) -> None:
        if self._segment.size >= self._bounds.bytes or self._is_old():
            self._seal()
            self._create(self._written_seq)
        if keys := b"".join(append.keys for append in group):
            self._write(self._keys_file, keys)
            self._disk.sync(self._keys_file.descriptor)
        events = sum(append.events for append in group)
        payload = codec.join(events, [append.packed for append in group])
        self._write(
            self._segment, framing.pack_frame(self._key, self._written_seq, events, payload)
        )
        began = time.monotonic()
        self._disk.sync(self._segment.descriptor)
        took = time.monotonic() - began
        self._written_seq += events
        if erased := [append.erased for append in group if append.erased]:
            self._keys.overwrite(self._keys_file.descriptor, erased)
            self._disk.sync(self._keys_file.descriptor)
        done = self._commits
        self._commits = Commits(done.groups + 1, done.events + events, done.sync_s + took)
        self._syncs[bisect_left(SYNC_BOUNDS_S, took)] += 1
        self._listener.on_durable([append.token for append in group])

    def _is_old(self) -> bool:
        """Tell whether the segment is to be sealed so that it can be dropped in its time."""
        return (
            0 < self._bounds.age_s < segments.creation_time() - self._created
            and self._written_seq > self._first_seq
        )

    def _write(self, file: _File, data: bytes) -> None:
        """Write all of `data`, or nothing of it."""

        def write() -> None:
            view = memoryview(data)
            try:
                while view:
                    view = view[self._disk.write(file.descriptor, view) :]
            except OSError as error:
                # A full disk takes some bytes first. They are no frame, and nobody's.
                if says_full(error):
                    os.ftruncate(file.descriptor, file.size)
                    os.lseek(file.descriptor, file.size, os.SEEK_SET)
                raise

        self._with_room(write)
        file.size += len(data)

    def _open(self, ready: Ready) -> None:
        # Not O_APPEND: on Linux `pwrite` would append, too, and nothing could be written over.
        keys = os.open(self._keys.path, os.O_WRONLY | os.O_CLOEXEC)
        self._keys_file = _File(keys, os.lseek(keys, 0, os.SEEK_END))
        if ready.segment is None or ready.header is None:
            self._create(ready.next_seq)
            return
        descriptor = os.open(ready.segment, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._segment = _File(descriptor, ready.offset)
        self._key, self._first_seq = ready.header.key, ready.header.first_seq

    def _create(self, first_seq: int) -> None:
        path = self._directory / segments.segment_name(first_seq)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._segment = _File(self._with_room(lambda: os.open(path, flags, 0o600)), 0)
        self._key = secrets.randbits(32)
        self._first_seq, self._created = first_seq, segments.creation_time()
        self._write(
            self._segment,
            framing.pack_header(framing.Header(first_seq, self._created, self._key)),
        )
        self._disk.sync(self._segment.descriptor)
        segments.sync_directory(self._directory, self._disk.sync_directory)

    def _seal(self) -> None:
        self._write(self._segment, framing.pack_footer(self._key, self._written_seq))
        self._disk.sync(self._segment.descriptor)
        self._segment.close()
