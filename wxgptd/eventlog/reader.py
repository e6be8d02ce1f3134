"""Read a log: all of it, what follows a number, or what is being written just now.

Readers take no lock: a frame is visible when its checksum fits, and not before.
"""

from __future__ import annotations

import mmap
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import NamedTuple

from wxgptd.domain.record import Recorded, RecordedUnreadable
from wxgptd.errors import WxgptError
from wxgptd.eventlog import codec, framing, segments

AnyRecord = Recorded | RecordedUnreadable


class LogDamaged(WxgptError):
    """the event log is damaged"""

    exit_status = 5

    def __init__(self, message: str, *, hint: str = "", offset: int = 0, why: str = "") -> None:
        super().__init__(message, hint=hint)
        self.offset = offset
        self.why = why or message


class SegmentInfo(NamedTuple):
    """What there is in one segment. `damage` is why it cannot be read, or empty; a torn tail is
    none: that is what a crash leaves, and the next start trims it.
    """

    path: Path
    size: int
    frames: int
    events: int
    next_seq: int
    offset: int
    tail: type[framing.Tail]
    damage: str


def damaged(path: Path, offset: int, why: str) -> LogDamaged:
    """Return the error for damage at `offset` of the segment at `path`."""
    return LogDamaged(
        f"the event log is damaged: {path.name} at byte {offset}: {why}",
        hint="nothing was changed; `wxgpt log verify` lists all damage, `wxgpt log repair` saves "
        "every commit that is whole (--dry-run says which); a backup may have more",
        offset=offset,
        why=why,
    )


def scan(directory: Path, after: int = 0) -> Iterator[AnyRecord]:
    """Yield the events behind number `after`, in order. A torn tail ends the log.

    Raises:
        LogDamaged: what is read does not check.
    """
    paths = segments.list_segments(directory)
    due: int | None = None
    for index, path in enumerate(paths):
        last = index == len(paths) - 1
        if not last and segments.first_seq_of(paths[index + 1]) <= after + 1:
            continue
        with mapped(path) as data:
            header = read_header(path, data, last=last)
            if header is None:
                return
            if due is not None and header.first_seq != due:
                raise damaged(path, 0, f"event {due} expected, {header.first_seq} found")
            due = yield from _records(path, data, header, after, last=last)


def _records(
    path: Path, data: memoryview, header: framing.Header, after: int, *, last: bool
) -> Generator[AnyRecord, None, int]:
    walk = framing.Walk(data, header)
    for frame in walk:
        if frame.first_seq + frame.count <= after + 1:
            continue
        for record in decode_frame(path, frame):
            if record.seq > after:
                yield record
    return require_tail(path, walk.tail, last=last)


def decode_frame(path: Path, frame: framing.Frame) -> Iterator[AnyRecord]:
    """Yield the events of one frame.

    Raises:
        LogDamaged: the payload is not what its checksum was made over by any wxgptd.
    """
    try:
        entries = codec.unpack(frame.payload)
        if len(entries) != frame.count:
            raise ValueError(f"{frame.count} events announced, {len(entries)} found")
        for seq, entry in enumerate(entries, frame.first_seq):
            yield codec.decode(seq, entry)
    except (ValueError, TypeError, IndexError, KeyError) as error:
        raise damaged(path, frame.end - len(frame.payload), f"unreadable: {error}") from error


def read_header(path: Path, data: memoryview, *, last: bool) -> framing.Header | None:
    """Return the segment's header; None where a crash came before it was whole.

    Raises:
        LogDamaged: it is wrong, of another segment, or of a newer format.
    """
    header = framing.unpack_header(data)
    if header is None:
        # A header is synced before the first frame is written, so nothing can be behind it.
        if last and len(data) <= framing.HEADER_BYTES:
            return None
        raise damaged(path, 0, "the segment's header does not check")
    if header.version != framing.FORMAT_VERSION:
        raise LogDamaged(
            f"{path.name} is written in format {header.version}, "
            f"this wxgptd reads format {framing.FORMAT_VERSION}",
            hint="a newer wxgptd wrote this log: install that version or a later one",
        )
    if header.first_seq != segments.first_seq_of(path):
        raise damaged(path, 0, f"the name does not fit the first event, {header.first_seq}")
    return header


def require_tail(path: Path, tail: framing.Tail, *, last: bool) -> int:
    """Return the number due after the segment.

    Raises:
        LogDamaged: the segment does not end as its place in the log demands.
    """
    match tail:
        case framing.Sealed():
            return tail.next_seq
        case framing.Unsealed() | framing.Torn() if last:
            return tail.next_seq
        case framing.Damaged():
            raise damaged(path, tail.end, tail.why)
        case _:
            raise damaged(path, tail.end, "the segment ends early, and another one follows")


def newest_seq(directory: Path) -> int:
    """Return the number of the newest whole event, without decoding any."""
    for path in reversed(segments.list_segments(directory)):
        with mapped(path) as data:
            header = framing.unpack_header(data)
            if header is None:
                continue
            newest = header.first_seq - 1
            for frame in framing.frames(data, header):
                newest = frame.first_seq + frame.count - 1
            return newest
    return 0


def inspect(directory: Path) -> Iterator[SegmentInfo]:
    """Yield what there is in each segment, every event of it decoded. Damage is not raised."""
    paths, due = segments.list_segments(directory), None
    for index, path in enumerate(paths):
        info = _inspect(path, due, last=index == len(paths) - 1)
        yield info
        due = info.next_seq


def _inspect(path: Path, due: int | None, *, last: bool) -> SegmentInfo:
    count = events = 0
    first = segments.first_seq_of(path)
    with mapped(path) as data:
        tail: framing.Tail = framing.Torn(0, first)
        damage = ""
        try:
            header = read_header(path, data, last=last)
            if header is not None:
                if due not in (None, first):
                    damage = f"event {due} expected, {first} found"
                walk = framing.Walk(data, header)
                for frame in walk:
                    count, events = count + 1, events + sum(1 for _ in decode_frame(path, frame))
                tail = walk.tail
                require_tail(path, tail, last=last)
        except LogDamaged as error:
            damage = damage or error.why
            if not isinstance(tail, framing.Damaged):
                tail = framing.Damaged(error.offset, first + events, damage)
        return SegmentInfo(
            path, len(data), count, events, tail.next_seq, tail.end, type(tail), damage
        )


class mapped:  # noqa: N801 (a context manager that reads as a word)
    """The bytes of a file, mapped for the length of a `with`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> memoryview:
        with self._path.open("rb") as file:
            size = file.seek(0, 2)
            if size == 0:
                return memoryview(b"")
            # Read-only and private: a reader must not be able to write into the log.
            return memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ))

    def __exit__(self, *_: object) -> None:
        # The map is freed with its last view; a frame's payload may still be one.
        return


class Follower:
    """Reads a log that is being written: each `poll` gives what has come since the last one.

    Steps over to the next segment when the current one has its footer. Never reads a frame
    twice, and never past one that is not whole yet.
    """

    def __init__(self, directory: Path, after: int) -> None:
        self._directory = directory
        self._after = after
        self._path: Path | None = None
        self._header: framing.Header | None = None
        self._offset = framing.HEADER_BYTES
        self._due = 0

    def poll(self) -> Iterator[AnyRecord]:
        """Yield the events that have become visible since the last call, in order.

        Raises:
            LogDamaged: what is read does not check and is not merely unfinished.
        """
        while self._enter_segment():
            path, header = self._path, self._header
            assert path is not None
            assert header is not None
            with path.open("rb") as file:
                file.seek(self._offset)
                data = memoryview(file.read())
            base = self._offset
            walk = framing.Walk(data, header, start=0, expected=self._due)
            for frame in walk:
                self._offset, self._due = base + frame.end, frame.first_seq + frame.count
                if self._due <= self._after + 1:
                    continue
                for record in decode_frame(path, frame):
                    if record.seq > self._after:
                        self._after = record.seq
                        yield record
            tail = walk.tail
            if isinstance(tail, framing.Damaged):
                raise damaged(path, base + tail.end, tail.why)
            if not isinstance(tail, framing.Sealed):
                return
            self._path, self._due = None, tail.next_seq

    def _enter_segment(self) -> bool:
        """Make the segment to read next the current one; tell whether there is one."""
        if self._path is not None:
            return True
        paths = segments.list_segments(self._directory)
        wanted = self._due or self._after + 1
        for path in reversed(paths):
            if segments.first_seq_of(path) <= wanted:
                break
        else:
            if not paths:
                return False
            path = paths[0]
        if self._due and segments.first_seq_of(path) != self._due:
            return False  # sealed, and the next one is yet to come
        with path.open("rb") as file:
            header = framing.unpack_header(file.read(framing.HEADER_BYTES))
        if header is None:
            return False
        self._path, self._header = path, header
        self._offset, self._due = framing.HEADER_BYTES, header.first_seq
        return True
