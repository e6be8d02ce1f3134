"""The system calls that events rest on, and the room that is kept for when there is none."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

RESERVE_NAME = "reserve"
RESERVE_BYTES = 4 * 1024 * 1024
"""Room for held answers, for erasing and for a stop, when the disk is full otherwise."""

ROOM_NEEDED_BYTES = 2 * RESERVE_BYTES
"""A full disk is full until there is as much: the reserve itself, and something to write on."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def says_full(error: Exception) -> bool:
    """Tell whether `error` is that there is no room."""
    return isinstance(error, OSError) and error.errno in _FULL


class Disk:
    """System calls: an argument of who makes them, so that they can be seen to fail."""

    def write(self, descriptor: int, data: memoryview) -> int:
        """Write some of `data`; return how much."""
        return os.write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        """Make what was written durable."""
        os.fdatasync(descriptor)

    def sync_directory(self, descriptor: int) -> None:
        """Make names durable."""
        os.fsync(descriptor)

    def reserve(self, path: Path, size: int, room: int) -> None:
        """Keep `size` bytes of the disk in a file at `path`, if there are `room`.

        It is found out by taking them: a quota shows nowhere else.

        Raises:
            OSError: there are not.
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
    """The room that is kept, as a file in the log's directory."""

    def __init__(self, directory: Path, disk: Disk) -> None:
        self._path = directory / RESERVE_NAME
        self._disk = disk

    def keep(self) -> bool:
        """Take the room if it is not taken; tell whether there is some (or nobody can tell)."""
        with contextlib.suppress(FileNotFoundError):
            if self._path.stat().st_size == RESERVE_BYTES:
                return True
        try:
            self._disk.reserve(self._path, RESERVE_BYTES, ROOM_NEEDED_BYTES)
        except OSError as error:
            return not says_full(error)  # any other is of a file system that knows no reserves
        return True

    def give_up(self) -> bool:
        """Let others have the room; tell whether there was any."""
        try:
            self._path.unlink()
        except FileNotFoundError:
            return False
        return True
