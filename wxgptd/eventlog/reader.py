"""Read a log, from its beginning or after an event. `following` reads one that is being written.

Readers take no lock: a frame becomes visible when its checksum is valid. They take the users'
keys or None; without keys they see everything except the users' identities and what was said.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from pathlib import Path

from wxgptd.errors import WxgptError
from wxgptd.eventlog import codec, formats, framing, packing, segments
from wxgptd.eventlog.keyring import Keyring
from wxgptd.eventlog.room import read_growing
from wxgptd.ports.record import AnyRecord
from wxgptd.untyped import Packed
from wxgptd.wording import say


class LogDamaged(WxgptError):
    """the event log is damaged"""

    exit_status = 5

    def __init__(self, message: str, *, hint: str = "", offset: int = 0, why: str = "") -> None:
        super().__init__(message, hint=hint)
        self.offset = offset
        self.why = why or message


class SegmentDropped(WxgptError):
    """a segment was dropped while the log was being read"""


def damaged(path: Path, offset: int, why: str) -> LogDamaged:
    """Return the error for damage at `offset` of the segment at `path`."""
    return LogDamaged(
        say(
            "the event log is damaged: {name} at byte {offset}: {why}",
            name=path.name,
            offset=offset,
            why=why,
        ),
        hint=say(
            "nothing was changed; `wxgpt log verify` lists all damage, `wxgpt log "
            "repair` saves every intact commit (--dry-run shows which); a backup may "
            "have more"
        ),
        offset=offset,
        why=why,
    )


def scan(directory: Path, keys: Keyring | None, after: int = 0) -> Iterator[AnyRecord]:
    """Yield the events after number `after`, in order. A torn tail ends the log.

    Raises:
        LogDamaged: the log is damaged.
    """
    paths = segments.list_segments(directory)
    begin = begin_for(paths, after)
    decoder = Decoder(keys)
    due: int | None = None
    for index, path in enumerate(paths):
        last = index == len(paths) - 1
        if not last and segments.first_seq_of(paths[index + 1]) <= begin + 1:
            continue
        if due is None and not path.exists():
            continue  # dropped in the meantime
        with mapped(path) as data:
            header = read_header(path, data, last=last)
            if header is None:
                return
            if due is not None and header.first_seq != due:
                raise damaged(path, 0, f"event {due} expected, {header.first_seq} found")
            if keys is not None:
                keys.refresh()  # keys are written before the events they encrypt
            walk = framing.Walk(data, header)
            for frame in walk:
                yield from decoder.records(path, header, frame, after)
            due = require_tail(path, walk.tail, last=last)


def begin_for(paths: Sequence[Path], after: int) -> int:
    """Return the event number to start reading after: early enough to see the sessions open.

    In segments of earlier formats, only the preceding events reveal which session an event is in.
    """
    candidates = [path for path in paths if segments.first_seq_of(path) <= after + 1]
    if not candidates:
        return after
    with mapped(candidates[-1]) as data:
        header = framing.unpack_header(data)
    if header is None or header.version == framing.FORMAT_VERSION:
        return after
    return max(0, after - formats.LOOK_BACK_EVENTS)


def entries_of(path: Path, header: framing.Header, frame: framing.Frame) -> Sequence[codec.Entry]:
    """Return the entries of one frame. The segment's format must be one in which users have keys.

    Raises:
        LogDamaged: the checksum is valid, but the payload is malformed.
    """
    return formats.upgraded(header.version, raw_entries_of(path, frame))


def raw_entries_of(path: Path, frame: framing.Frame) -> Packed:
    """Return the entries of one frame, in the segment's own format.

    Raises:
        LogDamaged: the checksum is valid, but the payload is malformed.
    """
    try:
        entries = packing.unpack(frame.payload)
        if len(entries) != frame.count:
            raise ValueError(f"event count is {frame.count}, but {len(entries)} found")
    except (ValueError, TypeError) as error:
        raise unreadable(path, frame, error) from error
    return entries


class Decoder:
    """Decodes frames, which must be passed in log order."""

    def __init__(self, keys: Keyring | None) -> None:
        self._keys = keys
        self._sessions = formats.Sessions()

    def records(
        self, path: Path, header: framing.Header, frame: framing.Frame, after: int = 0
    ) -> Iterator[AnyRecord]:
        """Yield the events of one frame that come after number `after`.

        Raises:
            LogDamaged: the checksum is valid, but the payload is malformed, or an event has
                been moved.
        """
        last = frame.first_seq + frame.count - 1
        has_sessions = header.version == framing.FORMAT_VERSION
        if last <= after - (0 if has_sessions else formats.LOOK_BACK_EVENTS):
            return
        try:
            for record in self._decoded(path, header, frame):
                if has_sessions:
                    in_session = record
                else:
                    in_session = record._replace(session=self._sessions.note(record))
                if in_session.seq > after:
                    yield in_session
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise unreadable(path, frame, error) from error

    def _decoded(
        self, path: Path, header: framing.Header, frame: framing.Frame
    ) -> Iterator[AnyRecord]:
        if header.version == framing.PLAIN_VERSION:
            for seq, entry in enumerate(raw_entries_of(path, frame), frame.first_seq):
                yield formats.decode_plain(seq, entry)
        else:
            for seq, entry in enumerate(entries_of(path, header, frame), frame.first_seq):
                yield codec.decode(seq, entry, self._keys)


def unreadable(path: Path, frame: framing.Frame, error: Exception) -> LogDamaged:
    """Return the error for a frame with a valid checksum that cannot be decoded."""
    return damaged(path, frame.end - len(frame.payload), f"unreadable: {error}")


def read_header(path: Path, data: memoryview, *, last: bool) -> framing.Header | None:
    """Return the segment's header, or None if a crash left it incomplete.

    Raises:
        LogDamaged: the header is invalid, belongs to another segment, or has a newer format.
    """
    header = framing.unpack_header(data)
    if header is None:
        # The header is synced before the first frame is written, so no frame follows a torn one.
        if last and len(data) <= framing.HEADER_BYTES:
            return None
        raise damaged(path, 0, "the segment's header is invalid")
    require_format(path, header)
    if header.first_seq != segments.first_seq_of(path):
        raise damaged(path, 0, f"the name does not match the first event, {header.first_seq}")
    return header


def require_format(path: Path, header: framing.Header) -> None:
    """Check that this version can read the segment's format.

    Raises:
        LogDamaged: a newer wxgptd wrote it.
    """
    if not framing.PLAIN_VERSION <= header.version <= framing.FORMAT_VERSION:
        raise LogDamaged(
            say(
                "{name} has format {version}, but this wxgptd only reads formats up to "
                "{format_version}",
                name=path.name,
                version=header.version,
                format_version=framing.FORMAT_VERSION,
            ),
            hint=say("a newer wxgptd wrote this log: install that version or a later one"),
        )


def require_tail(path: Path, tail: framing.Tail, *, last: bool) -> int:
    """Return the number of the first event after the segment.

    Raises:
        LogDamaged: the segment does not end as its position in the log requires.
    """
    match tail:
        case framing.Sealed():
            return tail.next_seq
        case framing.Unsealed() | framing.Torn() if last:
            return tail.next_seq
        case framing.Damaged():
            raise damaged(path, tail.end, tail.why)
        case _:
            raise damaged(path, tail.end, "the segment ends early, but another one follows")


def newest_seq(directory: Path) -> int:
    """Return the number of the newest intact event, without decoding any."""
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


def require_beginning(directory: Path) -> None:
    """Check that a snapshot covers the events before the oldest segment.

    Raises:
        LogDamaged: no snapshot does.
    """
    for path in segments.list_segments(directory)[:1]:
        if missing := missing_before(path):
            raise damaged(path, 0, missing)


def missing_before(path: Path) -> str:
    """Return which events are missing before the oldest segment, `path`, or an empty string."""
    first = segments.first_seq_of(path)
    covered = max(map(segments.last_seq_of, segments.list_snapshots(path.parent)), default=0)
    return f"events {covered + 1} to {first - 1} are missing" if covered + 1 < first else ""


class mapped:  # noqa: N801 (a context manager, like `suppress`)
    """The bytes of a file for the duration of a `with`, memory-mapped if the file is sealed.

    The start after a crash may truncate an open segment, and reading a mapping of it would raise
    SIGBUS.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> memoryview:
        try:
            return self._read()
        except FileNotFoundError:
            raise SegmentDropped(
                say("{name} was dropped while the log was being read", name=self._path.name),
                hint=say("old segments are dropped once a snapshot covers them; try again"),
            ) from None

    def _read(self) -> memoryview:
        with self._path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - framing.HEAD_BYTES))
            if not framing.is_footer(file.read()):
                return read_growing(file.fileno())
            # Read-only and private: a reader must not be able to write into the log.
            return memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ))

    def __exit__(self, *_: object) -> None:
        # The map is freed with its last view; a frame's payload may still be one.
        return
