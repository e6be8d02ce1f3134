"""The system calls that make events durable, and a reserve of disk space."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

RESERVE_NAME = "reserve"
RESERVE_BYTES = 4 * 1024 * 1024
"""Room for held answers, for erasures and for shutting down when the disk is otherwise full."""

ROOM_NEEDED_BYTES = 2 * RESERVE_BYTES
"""A disk counts as full until this much is free: the reserve, and some room to write."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def is_disk_full(error: Exception) -> bool:
    """Return whether `error` means that the disk is full."""
    return isinstance(error, OSError) and error.errno in _FULL


def write_all(descriptor: int, data: bytes | memoryview, offset: int) -> None:
    """Write all of `data` at `offset`."""
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written


class Disk:
    """System calls, passed as an argument so that tests can make them fail."""

    def write(self, descriptor: int, data: memoryview, offset: int) -> int:
        """Write some of `data` at `offset`; return the number of bytes written."""
        return os.pwrite(descriptor, data, offset)

    def sync(self, descriptor: int) -> None:
        """Make the data written so far durable."""
        os.fdatasync(descriptor)

    def sync_directory(self, descriptor: int) -> None:
        """Make the entries of a directory durable."""
        os.fsync(descriptor)

    def reserve(self, path: Path, size: int, room: int) -> None:
        """Reserve `size` bytes of the disk in a file at `path`, if `room` bytes are free.

        It allocates them to find out, since nothing else reveals a quota.

        Raises:
            OSError: fewer than `room` bytes are free.
        """
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, room)
            os.ftruncate(descriptor, size)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)


DISK = Disk()


class Reserve:
    """Reserved disk space, held by a file in the log's directory."""

    def __init__(self, directory: Path, disk: Disk) -> None:
        self._path = directory / RESERVE_NAME
        self._disk = disk

    def keep(self) -> bool:
        """Reserve the space unless it is reserved already; return False if the disk is full."""
        with contextlib.suppress(FileNotFoundError):
            if self._path.stat().st_size == RESERVE_BYTES:
                return True
        try:
            self._disk.reserve(self._path, RESERVE_BYTES, ROOM_NEEDED_BYTES)
        except OSError as error:
            return not is_disk_full(error)  # otherwise the file system cannot reserve space
        return True

    def give_up(self) -> bool:
        """Release the reserved space; return whether there was any."""
        try:
            self._path.unlink()
        except FileNotFoundError:
            return False
        return True
