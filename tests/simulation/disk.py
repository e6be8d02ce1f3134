"""A disk that loses unsynced data, tears writes, stalls, fails and fills up.

The files are real, on tmpfs if available. `DiskState` knows what each file contained when it was
last synced, by whichever call; everything since may be lost in a power cut.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from tests.simulation.hub import Hub
from wxgptd.eventlog.disk import RESERVE_NAME, Disk

MAX_LATENCY_S = 0.008

Image = dict[Path, tuple[bytes, bytes | None, bool]]
"""Files by path: contents, the durable part of them if there is one, whether the name is durable."""


class Killed(BaseException):
    """The process was killed in a system call; `image` is what the next start finds."""

    def __init__(self, image: Image) -> None:
        super().__init__()
        self.image = image


@dataclass
class Fuse:
    """When to kill the process: as the `calls`-th system call from now begins."""

    calls: int
    power_cut: bool


@dataclass
class Faults:
    """The faults currently injected."""

    full: int = 0
    """How many causes there are for a full disk at the moment; 0 if there is room."""
    stalled_s: float = 0.0
    """How long each sync takes beyond the usual."""
    short_writes: int = 0
    fail_next_write: bool = False
    fail_next_sync: bool = False


class SimulatedDisk(Disk):
    """The disk as one incarnation of the daemon uses it; `state` outlives it.

    Raises (each call):
        OSError: an injected fault.
    """

    def __init__(self, state: DiskState, hub: Hub) -> None:
        self._state = state
        self._hub = hub

    @property
    def _faults(self) -> Faults:
        return self._state.faults

    def _begin(self, extra_s: float = 0.0) -> None:
        self._state.operations += 1
        self._state.begin_call()
        self._hub.pause(self._state.random.uniform(0.0, MAX_LATENCY_S) + extra_s)

    def write(self, descriptor: int, data: memoryview, offset: int) -> int:
        self._begin()
        if self._faults.full:
            part = self._state.random.randrange(len(data)) if len(data) < 512 else 0
            if part and self._state.random.random() < 0.3:
                return os.pwrite(
                    descriptor, data[:part], offset
                )  # a full disk takes some bytes first
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self._faults.fail_next_write:
            self._faults.fail_next_write = False
            os.pwrite(descriptor, data[: len(data) // 2], offset)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if self._faults.short_writes and len(data) > 8:
            data = data[: self._state.random.randrange(1, len(data))]
        return os.pwrite(descriptor, data, offset)

    def sync(self, descriptor: int) -> None:
        self._begin(self._faults.stalled_s)
        if self._faults.fail_next_sync:
            self._faults.fail_next_sync = False
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._state.synced(descriptor)

    def sync_directory(self, descriptor: int) -> None:
        self._begin()
        self._state.synced(descriptor)

    def reserve(self, path: Path, size: int, room: int) -> None:
        if self._faults.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        path.write_bytes(b"")
        os.truncate(path, size)


class DiskState:
    """A directory, how much of it is durable, and its injected faults."""

    def __init__(self, root: Path, random: Random) -> None:
        self.root = root
        self.random = random
        self.faults = Faults()
        self.operations = 0
        """How many system calls of the writer have begun."""
        self.fuse: Fuse | None = None
        self._durable: dict[int, bytes] = {}
        """What each file contained when it was last synced, by inode."""
        self._names: set[Path] = set()
        """The files whose directory entries are durable."""

    def begin_call(self) -> None:
        """Note that a system call begins.

        Raises:
            Killed: the fuse has burnt down.
        """
        if (fuse := self.fuse) is None:
            return
        fuse.calls -= 1
        if fuse.calls <= 0:
            self.fuse = None
            raise Killed(self.image(power_cut=fuse.power_cut))

    def counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return a system call that the fuse counts."""

        def counting(*args: Any, **kwargs: Any) -> Any:
            self.begin_call()
            return call(*args, **kwargs)

        return counting

    def synced(self, descriptor: int) -> None:
        """Mark a file's contents, or a directory's entries, as durable."""
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if not path.is_relative_to(self.root):
            return
        if path.is_dir():
            present = {entry for entry in path.iterdir() if entry.is_file()}
            self._names = {name for name in self._names if name.parent != path} | present
        elif path.name != RESERVE_NAME:
            self._durable[os.fstat(descriptor).st_ino] = path.read_bytes()

    def image(self, *, power_cut: bool) -> Image:
        """Return the files as the next start finds them, by path relative to the root.

        A power cut makes everything that is left durable.
        """
        files = {}
        for path in sorted(self.root.rglob("*")):
            if not path.is_file():
                continue
            data, durable = path.read_bytes(), self._durable.get(path.stat().st_ino)
            named = path in self._names
            if power_cut and path.name != RESERVE_NAME:
                if not named and self.random.random() < 0.5:
                    continue
                data = durable = self._cut(data, durable or b"")
                named = True
            files[path.relative_to(self.root)] = data, durable, named
        return files

    def _cut(self, data: bytes, durable: bytes) -> bytes:
        """Return what a power cut leaves of `data`, of which only `durable` had been synced."""
        if len(data) < len(durable):  # truncated
            return self.random.choice([data, durable])
        resized = durable + bytes(len(data) - len(durable))
        begin = _first_difference(data, resized)
        end = len(data) - _first_difference(data[::-1], resized[::-1])
        kept = self.random.randrange(begin, max(begin, end) + 1)
        match self.random.randrange(4):
            case 0:
                return durable
            case 1:
                return data[:kept] + durable[kept:]
            case 2:  # the file has its new size, but not all of its new contents
                return data[:kept] + resized[kept:]
            case _:
                return resized[:kept] + data[kept:]

    def restore(self, image: Image) -> None:
        """Replace the directory's contents with `image`."""
        shutil.rmtree(self.root)
        self.root.mkdir(mode=0o700)
        self._durable, self._names = {}, set()
        for relative, (data, durable, named) in image.items():
            path = self.root / relative
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.parent.chmod(0o700)
            if relative.name == RESERVE_NAME:
                path.touch()
                os.truncate(path, len(data))
            else:
                path.write_bytes(data)
            path.chmod(stat.S_IRUSR | stat.S_IWUSR)
            if durable is not None:
                self._durable[path.stat().st_ino] = durable
            if named:
                self._names.add(path)


def _first_difference(one: bytes, other: bytes) -> int:
    """Return how many bytes two equally long strings have in common at their beginning."""
    pairs = enumerate(zip(one, other, strict=True))
    return next((position for position, (a, b) in pairs if a != b), len(one))
