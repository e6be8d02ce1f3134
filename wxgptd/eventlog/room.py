"""Room for the next commits: zeros between the end of an open segment and the end of its file.

A sync that only overwrites blocks of a file does not commit the file system's journal: on ext4 and
XFS a commit takes about a quarter less time than one that makes the file longer. Allocated blocks
(`posix_fallocate`) would not do, because their first write changes metadata too.

Readers take zeros up to the end of the file for its end (`framing.frames`).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from wxgptd.eventlog.disk import Disk, is_disk_full

ROOM_BYTES = 64 * 1024
"""How much room is made at a time: enough for a hundred commits.

More would gain nothing, and a full disk is not noticed before the room is used up.
"""

_CHUNK_BYTES = 64 * 1024
"""How much is searched at a time for the end of what was written."""

Read = Callable[[int, memoryview, int], None]
"""Reads bytes of an open file, from an offset on, into a buffer."""


def _read(descriptor: int, into: memoryview, offset: int) -> None:
    while into and (count := os.preadv(descriptor, [into], offset)):
        into, offset = into[count:], offset + count


class AppendOnlyFile:
    """An open file to which each write is appended completely or not at all.

    `size` is the number of bytes in it, without the room. The file must have been opened without
    O_APPEND, with which Linux ignores the offset of a write.
    """

    def __init__(self, descriptor: int, size: int, disk: Disk) -> None:
        self.descriptor = descriptor
        self.size = size
        self._disk = disk
        self._end = size

    def append(self, data: bytes) -> None:
        """Append `data`. It is durable after the next sync.

        Raises:
            OSError: nothing was appended if the disk is full; after another error, what is in the
                file is unknown.
        """
        try:
            self._write(data, self.size)
        except OSError as error:
            # A full disk may still accept part of a frame before it fails.
            if is_disk_full(error):
                self.trim()
            raise
        self.size += len(data)
        self._end = max(self._end, self.size)

    def make_room(self, needed: int, limit: int) -> None:
        """Fill the file with zeros, so that appending `needed` bytes does not make it longer.

        The zeros end at `limit`. A full disk, or a limit on the size of files, is no error: the
        file has no room then.

        Raises:
            OSError: the disk failed.
        """
        end = min(self.size + needed + ROOM_BYTES, limit)
        if self.size + needed <= self._end or end <= self._end:
            return
        try:
            self._write(bytes(end - self._end), self._end)
        except OSError as error:
            if not is_disk_full(error) and error.errno != errno.EFBIG:
                raise
            self.trim()
        else:
            self._end = end

    def trim(self) -> None:
        """Give the room back, unless the file is closed."""
        if self.descriptor >= 0:
            os.ftruncate(self.descriptor, self.size)
            self._end = self.size

    def sync(self) -> None:
        """Make what was appended durable."""
        self._disk.sync(self.descriptor)

    def close(self) -> None:
        """Close the file unless it is closed."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def _write(self, data: bytes, offset: int) -> None:
        view = memoryview(data)
        while view:
            written = self._disk.write(self.descriptor, view, offset)
            view, offset = view[written:], offset + written


def read_growing(descriptor: int, offset: int = 0, read: Read = _read) -> memoryview:
    """Return the bytes of a file from `offset` on, while another process may be appending to it.

    What overwrites zeros may be read out of order: the zeros before a frame was written, and then
    the frame after it, which would look like damage. So the last byte that is not zero is found
    first. The writer has written each frame completely before it begins the next, so what is read
    then is complete up to the frame with that byte; what follows it is left out.
    """
    size = os.fstat(descriptor).st_size
    end = size
    while end > offset:
        chunk = memoryview(bytearray(min(_CHUNK_BYTES, end - offset)))
        read(descriptor, chunk, end - len(chunk))
        used = used_bytes(chunk)
        end -= len(chunk) - used
        if used:
            break
    data = memoryview(bytearray(max(0, size - offset)))
    read(descriptor, data[: max(0, end - offset)], offset)
    return data


def used_bytes(data: memoryview) -> int:
    """Return where the zeros at the end of `data` begin."""
    end = len(data)
    while end:
        chunk = data[max(0, end - _CHUNK_BYTES) : end].tobytes()
        if used := len(chunk.rstrip(b"\0")):
            return end - len(chunk) + used
        end -= len(chunk)
    return 0


def first_used(data: memoryview, position: int) -> int:
    """Return where the zeros that begin at `position` end."""
    rest = data[position:].tobytes()
    return position + len(rest) - len(rest.lstrip(b"\0"))
