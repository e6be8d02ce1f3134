"""The room for the next commits, and reading a file in which it is being used up."""

from __future__ import annotations

import errno
import os
from tempfile import TemporaryFile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wxgptd.eventlog import room
from wxgptd.eventlog.disk import Disk
from wxgptd.eventlog.room import AppendOnlyFile, read_growing


class CountingDisk(Disk):
    """Counts the writes that made a file longer. No file may be longer than `size`."""

    def __init__(self) -> None:
        self.longer = 0
        self.size = 1 << 40

    def write(self, descriptor, data, offset):
        if offset >= self.size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        before = os.fstat(descriptor).st_size
        written = super().write(descriptor, data[: self.size - offset], offset)
        self.longer += os.fstat(descriptor).st_size > before
        return written


@pytest.fixture
def disk():
    return CountingDisk()


@pytest.fixture
def file(tmp_path, disk):
    descriptor = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    file = AppendOnlyFile(descriptor, 0, disk)
    yield file
    file.close()


def contents(file) -> bytes:
    return os.pread(file.descriptor, 1 << 24, 0)


def test_appends_overwrite_the_room_and_rarely_make_the_file_longer(file, disk):
    for _ in range(1_000):
        file.make_room(300, 1 << 30)
        file.append(b"x" * 300)
    assert disk.longer <= 1 + 300_000 // room.ROOM_BYTES
    assert contents(file).rstrip(b"\0") == b"x" * 300_000
    assert len(contents(file)) > 300_000


def test_there_is_no_room_beyond_the_limit(file):
    for _ in range(20):
        file.make_room(300, 3_000)
        file.append(b"x" * 300)
        assert len(contents(file)) <= max(3_000, file.size)
    assert contents(file) == b"x" * 6_000


def test_a_full_disk_gets_the_room_back(file, disk):
    disk.size = 5_000
    file.make_room(300, 1 << 30)
    assert contents(file) == b""
    file.append(b"x" * 4_900)
    with pytest.raises(OSError, match="No space left"):
        file.append(b"y" * 300)
    assert contents(file) == b"x" * 4_900, "part of an append is left"
    disk.size = 1 << 40
    file.append(b"y" * 300)
    assert contents(file) == b"x" * 4_900 + b"y" * 300


def test_a_limit_on_the_size_of_files_leaves_no_room_but_is_no_error(file, disk):
    def write(descriptor, data, offset):
        if offset + len(data) > 1_000:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        return Disk.write(disk, descriptor, data, offset)

    disk.write = write
    file.make_room(300, 1 << 30)
    file.append(b"x" * 300)
    assert contents(file) == b"x" * 300
    with pytest.raises(OSError, match="too large"):
        file.append(b"y" * 800)


def test_trimming_leaves_what_was_appended(file):
    file.make_room(10, 1 << 30)
    file.append(b"0123456789")
    file.trim()
    assert contents(file) == b"0123456789"
    file.append(b"ab")
    assert contents(file) == b"0123456789ab"


class GrowingFile:
    """Reads the stages of a file's life one after another, by pieces of four bytes.

    `orders` has the stage in which each piece is read, for each pass.
    """

    def __init__(self, stages: list[bytes], orders: list[list[int]]) -> None:
        self._stages = stages
        self._orders = orders

    def read(self, _descriptor: int, into: memoryview, offset: int) -> None:
        order = self._orders.pop(0)
        data = b"".join(
            self._stages[stage][4 * piece : 4 * piece + 4] for piece, stage in enumerate(order)
        )
        into[:] = data[offset : offset + len(into)]


@given(st.data())
def test_what_is_read_of_a_growing_file_has_no_gaps(data):
    """Frames are read whole up to one that is incomplete, and nothing follows that one."""
    frames = [b"a" * 10, b"b" * 6, b"c" * 9, b"d" * 7]
    stages = [b"".join(frames[:count]).ljust(40, b"\0") for count in range(len(frames) + 1)]
    first = data.draw(st.lists(st.integers(0, 4), min_size=10, max_size=10))
    # The second pass begins when the first has ended.
    later = st.integers(max(first), 4)
    second = data.draw(st.lists(later, min_size=10, max_size=10))
    with TemporaryFile() as file:
        file.truncate(40)
        growing = GrowingFile(stages, [first, second])
        seen = read_growing(file.fileno(), 0, growing.read).tobytes()
    whole = b"".join(frames)
    used = len(seen.rstrip(b"\0"))
    assert len(seen) == 40
    assert whole.startswith(seen[:used])
    before = len(stages[min(first)].rstrip(b"\0"))
    assert used >= before, "less than was there at the beginning"


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 200_000])
@pytest.mark.parametrize("zeros", [0, 1, 65_536, 131_072, 150_000])
def test_used_bytes_is_where_the_zeros_begin(size, zeros):
    data = (b"\0" * (size - 1) + b"x" if size else b"") + bytes(zeros)
    assert room.used_bytes(memoryview(data)) == size
