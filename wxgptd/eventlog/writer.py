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
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import NamedTuple

from wxgptd.eventlog import codec, framing, segments
from wxgptd.eventlog.recovery import Ready

SEGMENT_BYTES = 64 * 1024 * 1024
MAX_GROUP_BYTES = 4 * 1024 * 1024
"""A commit group is closed at this size; readers refuse a frame of more than sixteen times that."""


RESERVE_NAME = "reserve"
RESERVE_BYTES = 4 * 1024 * 1024
"""Room for the answers that are held and for a stop, when the disk is full otherwise."""

ROOM_NEEDED_BYTES = 2 * RESERVE_BYTES
"""A full disk is full until there is as much: the reserve itself, and something to write on."""

LOOK_FOR_ROOM_S = 1.0

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Disk:
    """The system calls that events rest on: an argument, so that they can be seen to fail."""

    def write(self, descriptor: int, data: memoryview) -> int:
        """Write some of `data`; return how much."""
        return os.write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        """Make what was written durable."""
        os.fdatasync(descriptor)

    def reserve(self, path: Path, size: int) -> None:
        """Keep `size` bytes of the disk in a file at `path`.

        Raises:
            OSError: there is not as much.
        """
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)

    def free(self, directory: Path) -> int:
        """Return how many bytes may still be written."""
        found = os.statvfs(directory)
        return found.f_bavail * found.f_frsize


DISK = Disk()


class _Append(NamedTuple):
    packed: bytes
    events: int
    token: object


class Commits(NamedTuple):
    """What has been committed since the writer started; a reading, taken at any time."""

    groups: int
    events: int
    sync_s: float


class Writer:
    """The only writer of a log directory.

    `on_durable` is called in the writer's thread with the tokens of all appends that one commit
    made durable, in their order; `on_failure` once, with the error, when nothing will be any
    more; `on_full` whenever the disk becomes full, and when there is room again. None may block.
    `full` tells the same to whichever thread asks: what can be refused should be.
    """

    def __init__(
        self,
        directory: Path,
        ready: Ready,
        *,
        on_durable: Callable[[list[object]], None],
        on_failure: Callable[[Exception], None],
        on_full: Callable[[bool], None],
        segment_bytes: int = SEGMENT_BYTES,
        disk: Disk = DISK,
    ) -> None:
        self._disk = disk
        self._directory = directory
        self._on_durable = on_durable
        self._on_failure = on_failure
        self._on_full = on_full
        self._segment_bytes = segment_bytes
        self._next_seq = ready.next_seq
        self._pending: list[_Append] = []
        self._queue: SimpleQueue[list[_Append] | None] = SimpleQueue()
        self._commits = Commits(0, 0, 0.0)
        self.full = False
        # From here on the thread's own.
        self._written_seq = ready.next_seq
        self._first_seq = ready.next_seq
        self._error: Exception | None = None
        self._descriptor = -1
        self._size = 0
        self._key = 0
        self._ready = ready
        self._closing = threading.Event()
        self._reserve = directory / RESERVE_NAME
        self._thread = threading.Thread(target=self._run, name="wxgptd-log", daemon=True)
        self._thread.start()

    @property
    def commits(self) -> Commits:
        """What has been committed so far."""
        return self._commits

    @property
    def next_seq(self) -> int:
        """The number that the next event gets."""
        return self._next_seq

    def append(self, entries: list[codec.Entry], token: object) -> int:
        """Take `entries` as one atomic append; return the number of the last of them.

        To be called from one thread only: the order of the calls is the order of the log.

        Raises:
            Unencodable: an entry has a value that cannot be written; nothing was taken.
        """
        packed = codec.pack(entries)
        self._next_seq += len(entries)
        self._pending.append(_Append(packed, len(entries), token))
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
            self._look_for_room()
            while (group := self._next_group()) is not None:
                self._commit(group)
            # One without events is gone on with: its successor would have the same name.
            if self._written_seq > self._first_seq:
                self._seal()
        except Exception as error:  # noqa: BLE001 (whatever it was, nothing more is durable)
            self._error = error
            self._on_failure(error)
        finally:
            if self._descriptor >= 0:
                os.close(self._descriptor)

    def _next_group(self) -> list[_Append] | None:
        """Return what is to be committed next; look for room meanwhile, if there was none."""
        while self.full:
            self._look_for_room()
            try:
                return self._queue.get(timeout=LOOK_FOR_ROOM_S)
            except Empty:
                continue
        return self._queue.get()

    def _look_for_room(self) -> None:
        """Keep a reserve, if there is room for it; the disk is full as long as there is none."""
        if not self._reserve.exists():
            if self.full and self._disk.free(self._directory) < ROOM_NEEDED_BYTES:
                return
            try:
                self._disk.reserve(self._reserve, RESERVE_BYTES)
            except OSError as error:
                # Any other error is of a file system that knows no reserves.
                self._note(full=error.errno in _FULL)
                return
        self._note(full=False)

    def _note(self, *, full: bool) -> None:
        if full != self.full:
            self.full = full
            self._on_full(full)

    def _make_room(self) -> None:
        """Give up what is kept for that; without it, let some time pass.

        Raises:
            OSError: the writer is to stop, and there is no room.
        """
        self._note(full=True)
        if self._reserve.exists():
            self._reserve.unlink()
        elif self._closing.wait(LOOK_FOR_ROOM_S):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _commit(self, group: list[_Append]) -> None:
        if self._size >= self._segment_bytes:
            self._seal()
            self._create(self._written_seq)
        events = sum(append.events for append in group)
        payload = codec.join(events, [append.packed for append in group])
        frame = framing.pack_frame(self._key, self._written_seq, events, payload)
        self._write(frame)
        began = time.monotonic()
        self._disk.sync(self._descriptor)
        took = time.monotonic() - began
        self._written_seq += events
        done = self._commits
        self._commits = Commits(done.groups + 1, done.events + events, done.sync_s + took)
        self._on_durable([append.token for append in group])

    def _write(self, data: bytes) -> None:
        """Write all of `data`, or nothing of it."""
        while True:
            view = memoryview(data)
            try:
                while view:
                    view = view[self._disk.write(self._descriptor, view) :]
            except OSError as error:
                if error.errno not in _FULL:
                    raise
                # A full disk takes some bytes first. They are no frame, and nobody's.
                os.ftruncate(self._descriptor, self._size)
                self._make_room()
            else:
                self._size += len(data)
                return

    def _open(self, ready: Ready) -> None:
        if ready.segment is None or ready.header is None:
            self._create(ready.next_seq)
            return
        self._descriptor = os.open(ready.segment, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._size, self._key = ready.offset, ready.header.key
        self._first_seq = ready.header.first_seq

    def _create(self, first_seq: int) -> None:
        path = self._directory / segments.segment_name(first_seq)
        self._descriptor = os.open(
            path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        self._key = secrets.randbits(32)
        self._size = 0
        self._first_seq = first_seq
        self._write(framing.pack_header(framing.Header(first_seq, _now(), self._key)))
        os.fsync(self._descriptor)
        segments.sync_directory(self._directory)

    def _seal(self) -> None:
        self._write(framing.pack_footer(self._key, self._written_seq))
        os.fsync(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = -1


def _now() -> float:
    return time.time()  # noqa: TID251 (a segment's creation time, for whoever looks at it)
