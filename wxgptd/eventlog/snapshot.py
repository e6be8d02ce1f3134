r"""Snapshots: all users' states after one event, so that startup need not read earlier events.

A snapshot is a file beside the segments, named by the last event that it covers. It is structured
like a segment: a header with ``WXGPTSNP`` and the number of the next event, frames, and a footer.
Frames are numbered by their elements. In order:

========  =====================================================================================
notes     one element: the version of the states, and the notes of the projections, encrypted
          with the master key
users     the users, sorted by the numbers of their references: each a byte string, the packed
          array of `SnapshotUser`. A frame is closed at 16 KiB
columns   one element each, the name and a part of a column: an array of little-endian integers
          or floats with a row for each user (or, `exceptions` and `frames`, for fewer)
locator   one element, a byte string: u64 offset of the first frame of columns
========  =====================================================================================

Startup reads the columns, some 28 bytes per user; a user's state is read and decrypted when it is
needed. A snapshot is written under a temporary name, synced and renamed, and then the directory is
synced. Two are kept, in case one is damaged: the segments that it covers may be gone. Invalid ones
are ignored.

**Format 2** has no columns: each element of its frames of users is an array of `UserOfFormat2`.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import sys
import weakref
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgpack

from wxgptd.errors import WxgptError
from wxgptd.eventlog import framing, packing, segments, state_codec
from wxgptd.eventlog.columns import F64, U32, U64, position
from wxgptd.eventlog.keyring import Keyring
from wxgptd.eventlog.user_key import number_of
from wxgptd.untyped import Packed

MAGIC = b"WXGPTSNP"
FORMAT_VERSION = 3
"""The format version of snapshots, which is independent of that of segments."""

FORMAT_2 = 2

COLUMN_BYTES = 4 * 1024 * 1024
"""A frame has this much of a column at most."""

CHECKED_BYTES = 64 * 1024 * 1024
"""Startup checks all of a snapshot up to this size; of a larger one, the columns."""

LOCATOR = struct.Struct(">Q")
_LOCATOR_BYTES = framing.HEAD_BYTES + 1 + 2 + LOCATOR.size
MARKED = 1 << 31


class SnapshotDamaged(WxgptError):
    """a snapshot is damaged"""

    exit_status = 75


class SnapshotUser(NamedTuple):
    """What a snapshot has of a user.

    `frozen` is the state and `links` its links of earlier versions, both encrypted with the user's
    key. They are empty for a user who was erased while the snapshot was written, since the erasure
    follows in the log.
    """

    reference: str
    version: int
    links: bytes
    frozen: bytes


class Row(NamedTuple):
    """A user's row in the columns, and the user packed.

    `balance` counts open sessions, questions and pushes, as `loading` does; `last_at` is when the
    user was last heard from, and `oldest_at` when the oldest past session ended, or 0.
    """

    number: int
    version: int
    balance: int
    last_at: float
    marked: bool
    oldest_at: float
    packed: bytes


class UserOfFormat2(NamedTuple):
    """A user in a snapshot of format 2."""

    reference: str
    version: int
    balance: int
    last_at: float
    marked: bool
    oldest_at: float
    links: bytes
    frozen: bytes


def packed(user: SnapshotUser) -> bytes:
    """Return the element of a user."""
    element: bytes = msgpack.packb(user, unicode_errors="surrogatepass")
    return element


class Newest(NamedTuple):
    """The newest intact snapshot, if there is one, and what is wrong with newer ones."""

    snapshot: Snapshot | None
    skipped: Mapping[Path, str]


class Columns(NamedTuple):
    """The columns. `exceptions` has pairs of a row, and its balance with a bit for `marked`."""

    numbers: array[int]
    versions: array[int]
    last_ats: array[float]
    oldest_ats: array[float]
    exceptions: array[int]
    frames: array[int]

    @classmethod
    def empty(cls) -> Columns:
        """Return columns without rows."""
        return cls(array(U64), array(U32), array(F64), array(F64), array(U32), array(U64))

    def add(self, row: Row) -> None:
        """Add a row."""
        if row.balance or row.marked:
            mark = MARKED if row.marked else 0
            self.exceptions.extend((len(self.numbers), row.balance & ~MARKED | mark))
        self.numbers.append(row.number)
        self.versions.append(row.version)
        self.last_ats.append(row.last_at)
        self.oldest_ats.append(row.oldest_at)

    def parts(self) -> Iterator[tuple[str, bytes]]:
        """Yield the names and the bytes of all columns, in parts."""
        for name, column in self._asdict().items():
            data = memoryview(_little_endian(column).tobytes())
            for begin in range(0, len(data), COLUMN_BYTES):
                yield name, bytes(data[begin : begin + COLUMN_BYTES])

    def extend(self, name: str, part: bytes) -> None:
        """Add a part of a column."""
        column: array[int] | array[float] = self._asdict()[name]
        added = array(column.typecode, part)
        column.extend(_little_endian(added))  # type: ignore[arg-type]


def _little_endian(column: array[int] | array[float]) -> array[int] | array[float]:
    if sys.byteorder == "big":
        column = column[:]
        column.byteswap()
    return column


def newest(directory: Path, keys: Keyring, *, quickly: bool = False) -> Newest:
    """Return the newest intact snapshot.

    If `quickly`, only the columns of a large one are checked.
    """
    skipped: dict[Path, str] = {}
    for path in reversed(segments.list_snapshots(directory)):
        try:
            return Newest(read(path, keys, quickly=quickly), skipped)
        except (OSError, ValueError, TypeError) as error:
            skipped[path] = str(error)
    return Newest(None, skipped)


def check(path: Path) -> None:
    """Check every frame of the snapshot at `path`.

    Raises:
        OSError: the snapshot cannot be read.
        ValueError: it is damaged.
    """
    with path.open("rb") as file:
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    header = _header(path, data)
    walk = framing.Walk(data, header, expected=1)
    for _ in walk:
        pass
    tail = walk.tail
    if isinstance(tail, framing.Sealed):
        return
    raise ValueError(f"it is damaged at byte {tail.end}")


def read(path: Path, keys: Keyring, *, quickly: bool = False) -> Snapshot:
    """Return the snapshot at `path`; if `quickly`, only the columns of a large one are checked.

    Raises:
        ValueError: the snapshot is damaged or has another version.
        OSError: the file cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        header = _header(path, memoryview(os.pread(descriptor, framing.HEADER_BYTES, 0)))
        size = os.fstat(descriptor).st_size
        if not quickly or size <= CHECKED_BYTES or header.version == FORMAT_2:
            check(path)
        if header.version == FORMAT_2:
            return _read_2(path, header, keys)
        file = _File(os.dup(descriptor), header)
        columns = _read_columns(file, size)
        (element,) = file.elements(framing.HEADER_BYTES)
        return Snapshot(path, header, _notes(element, keys), columns, file)
    finally:
        os.close(descriptor)


def _header(path: Path, data: memoryview) -> framing.Header:
    header = framing.unpack_header(data, MAGIC)
    if header is None or header.first_seq != segments.last_seq_of(path) + 1:
        raise ValueError("its header is invalid")
    if header.version not in (FORMAT_2, FORMAT_VERSION):
        raise ValueError(f"it has format {header.version}")
    return header


def _notes(element: Packed, keys: Keyring) -> Mapping[str, object]:
    version, sealed = element
    if version != state_codec.STATE_VERSION:
        raise ValueError(f"its states have version {version}")
    notes: Mapping[str, object] = msgpack.unpackb(
        keys.open(sealed), use_list=False, strict_map_key=False
    )
    return notes


def set_aside(path: Path) -> None:
    """Rename a damaged snapshot, so that it is not used again."""
    with contextlib.suppress(OSError):
        path.rename(path.with_name(f"{path.name}.damaged"))


class _File:
    """An open snapshot."""

    def __init__(self, descriptor: int, header: framing.Header) -> None:
        self._descriptor = descriptor
        self._key = header.key
        self._last: tuple[int, Packed] = (0, ())
        self.close = weakref.finalize(self, os.close, descriptor)

    def elements(self, offset: int) -> Packed:
        """Return the elements of the frame at `offset`.

        Raises:
            ValueError: it is damaged.
        """
        at, elements = self._last
        if at != offset:
            frame = self.frame(offset)
            elements = packing.unpack(frame.payload)
            self._last = offset, elements
        return elements

    def frame(self, offset: int) -> framing.Frame:
        data = framing.read_frame(self._descriptor, offset)
        frame = framing.unpack(memoryview(data), self._key, 0)
        if isinstance(frame, framing.Frame):
            return frame
        raise ValueError(f"it is damaged at byte {offset}")


def _read_columns(file: _File, size: int) -> Columns:
    """Read all columns. (`size` is that of the file.)"""
    columns = Columns.empty()
    end = size - framing.HEAD_BYTES - _LOCATOR_BYTES
    if end < framing.HEADER_BYTES:
        raise ValueError(f"it is damaged at byte {size}")
    (locator,) = file.elements(end)
    (offset,) = LOCATOR.unpack(locator)
    while offset < end:
        frame = file.frame(offset)
        ((name, part),) = packing.unpack(frame.payload)
        columns.extend(name, part)
        offset += frame.end
    return columns


class Snapshot:
    """An open snapshot.

    `balances` has the users with a balance, and `marked` those whose standing was ever changed, by
    the numbers of their references; all other attributes are columns.
    """

    def __init__(
        self,
        path: Path,
        header: framing.Header,
        notes: Mapping[str, object],
        columns: Columns,
        file: _File | None,
        in_memory: Sequence[bytes] = (),
    ) -> None:
        self.path = path
        self.last_seq = header.first_seq - 1
        self.created = header.created
        self.notes = notes
        self.numbers, self.versions, self.last_ats, self.oldest_ats, exceptions, frames = columns
        self._firsts, self._offsets = frames[::2], frames[1::2]
        self._file = file
        self._in_memory = in_memory
        self.balances: dict[int, int] = {}
        self.marked: set[int] = set()
        for row, value in zip(exceptions[::2], exceptions[1::2], strict=True):
            number = self.numbers[row]
            if value & MARKED:
                self.marked.add(number)
            if balance := value & ~MARKED:
                self.balances[number] = balance

    def __len__(self) -> int:
        return len(self.numbers)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def set_aside(self) -> None:
        """Rename the file, which is damaged, so that it is not used again."""
        set_aside(self.path)

    def find(self, number: int) -> int:
        """Return the row of the user whose reference has that number, or -1."""
        return position(self.numbers, number)

    def user(self, row: int) -> SnapshotUser:
        """Return the user in a row.

        Raises:
            ValueError: the snapshot is damaged there.
        """
        return SnapshotUser(*packing.unpack(self._packed(row)))

    def row(self, row: int) -> Row:
        """Return a row as it is.

        Raises:
            ValueError: the snapshot is damaged there.
        """
        number = self.numbers[row]
        return Row(
            number=number,
            version=self.versions[row],
            balance=self.balances.get(number, 0),
            last_at=self.last_ats[row],
            marked=number in self.marked,
            oldest_at=self.oldest_ats[row],
            packed=self._packed(row),
        )

    @property
    def users(self) -> Iterator[SnapshotUser]:
        """All users, sorted by number."""
        return map(self.user, range(len(self)))

    def _packed(self, row: int) -> bytes:
        if self._file is None:
            return self._in_memory[row]
        at = bisect_right(self._firsts, row) - 1
        element: bytes = self._file.elements(self._offsets[at])[row - self._firsts[at]]
        return element


def _read_2(path: Path, header: framing.Header, keys: Keyring) -> Snapshot:
    data = memoryview(path.read_bytes())
    frames = framing.frames(data, header, expected=1)
    first, *elements = (element for frame in frames for element in packing.unpack(frame.payload))
    users = sorted((number_of(user[0]), UserOfFormat2(*user)) for user in elements)
    columns, in_memory = Columns.empty(), []
    for number, user in users:
        reference, version, balance, last_at, marked, oldest_at, links, frozen = user
        in_memory.append(packed(SnapshotUser(reference, version, links, frozen)))
        columns.add(
            Row(number, version, balance, last_at, marked=marked, oldest_at=oldest_at, packed=b"")
        )
    return Snapshot(path, header, _notes(first, keys), columns, None, in_memory)
