"""A disk that may lose what was not synced, write a part, stall, fail, and fill up.

The files are real, in memory (tmpfs where there is one); the system calls that make events durable
go through `SimulatedDisk`, which knows what a power cut may take.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.simulation.hub import Hub
from wxgptd.eventlog.disk import Disk

LATENCY_S = 0.002


@dataclass
class Faults:
    """What the disk does wrong at the moment; changed by the simulation."""

    full: bool = False
    stalled_s: float = 0.0
    """How long each sync takes beyond the usual."""
    fail_next_write: bool = False
    fail_next_sync: bool = False
    short_writes: bool = False


@dataclass
class _Tracked:
    """What is durable of one file that is written through the simulated disk."""

    durable: int
    """All bytes before this position are durable."""
    holes: dict[int, bytes] = field(default_factory=dict)


class SimulatedDisk(Disk):
    """The disk as one incarnation of the daemon uses it; `state` outlives it."""

    def __init__(self, state: DiskState, hub: Hub) -> None:
        self._state = state
        self._hub = hub

    @property
    def _faults(self) -> Faults:
        return self._state.faults

    def _begin(self, seconds: float = LATENCY_S) -> None:
        self._state.operations += 1
        self._hub.pause(seconds)

    def write(self, descriptor: int, data: memoryview) -> int:
        self._begin()
        if self._faults.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self._faults.fail_next_write:
            self._faults.fail_next_write = False
            os.write(descriptor, data[: len(data) // 2])
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._state.track(descriptor)
        if self._faults.short_writes and len(data) > 8:
            data = data[: self._state.random.randrange(1, len(data))]
        return os.write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        self._begin(LATENCY_S + self._faults.stalled_s)
        if self._faults.fail_next_sync:
            self._faults.fail_next_sync = False
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._state.synced(descriptor)

    def sync_directory(self, descriptor: int) -> None:
        self._begin()
        self._state.directory_synced(descriptor)

    def reserve(self, path: Path, size: int, room: int) -> None:
        if self._faults.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        path.write_bytes(b"")
        os.truncate(path, size)


class DiskState:
    """A directory, what of it is durable, and what is wrong with the disk."""

    def __init__(self, root: Path, random: Random) -> None:
        self.root = root
        self.random = random
        self.faults = Faults()
        self.operations = 0
        """How many system calls have begun."""
        self._files: dict[int, _Tracked] = {}
        self._names: set[Path] = set()
        """The files whose names a power cut cannot take."""

    def track(self, descriptor: int) -> None:
        """Remember that a file has bytes that are not durable."""
        inode = os.fstat(descriptor)
        if inode.st_ino not in self._files:
            self._files[inode.st_ino] = _Tracked(inode.st_size)

    def synced(self, descriptor: int) -> None:
        """Take note that a file is durable as it is."""
        inode = os.fstat(descriptor)
        self._files[inode.st_ino] = _Tracked(inode.st_size)

    def directory_synced(self, descriptor: int) -> None:
        """Take note that the names in a directory are durable."""
        directory = Path(f"/proc/self/fd/{descriptor}").readlink()
        self._names |= {path for path in directory.iterdir() if path.is_file()}

    def image(self, *, power_cut: bool) -> dict[Path, bytes]:
        """Return the files as the next start finds them."""
        files: dict[Path, bytes] = {}
        for path in sorted(self.root.rglob("*")):
            if not path.is_file():
                continue
            data = path.read_bytes()
            tracked = self._files.get(path.stat().st_ino)
            if power_cut and tracked is not None:
                if tracked.durable == 0 and path not in self._names and self.random.random() < 0.5:
                    continue  # its name was never durable
                if len(data) > tracked.durable:
                    data = self._torn(data, tracked.durable)
            files[path.relative_to(self.root)] = data
        return files

    def _torn(self, data: bytes, durable: int) -> bytes:
        """Return the file with some of what was not durable: none, a part, or zeros for a page."""
        lost = data[durable:]
        kept = self.random.randrange(len(lost) + 1)
        match self.random.randrange(3):
            case 0:
                return data[:durable]
            case 1:
                return data[: durable + kept]
            case _:
                return data[: durable + kept] + bytes(len(lost) - kept)

    def restore(self, image: dict[Path, bytes]) -> None:
        """Make the directory what `image` says, all of it durable."""
        shutil.rmtree(self.root)
        self.root.mkdir(mode=0o700)
        for relative, data in image.items():
            path = self.root / relative
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.parent.chmod(0o700)
            if relative.name == "reserve":
                path.touch()
                os.truncate(path, len(data))
            else:
                path.write_bytes(data)
            path.chmod(stat.S_IRUSR | stat.S_IWUSR)
        self._files = {}
        self._names = set()
