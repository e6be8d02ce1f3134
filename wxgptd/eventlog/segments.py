"""The files of a log: their names, their order, the directory and its lock."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO

from wxgptd.errors import WxgptError
from wxgptd.eventlog.disk import DISK
from wxgptd.wording import say

_NAME = re.compile(r"(\d{20})\.wxlog")
_SNAPSHOT_NAME = re.compile(r"(\d{20})\.wxsnap")


class StateDirectoryLocked(WxgptError):
    """another wxgptd is using this state directory"""


class StateDirectoryUnusable(WxgptError):
    """the state directory cannot be used"""


def log_directory(state_dir: Path) -> Path:
    """Return the directory of the segments."""
    return state_dir / "log"


def keys_directory(state_dir: Path) -> Path:
    """Return the directory of the keys."""
    return state_dir / "keys"


def keyring_path(state_dir: Path) -> Path:
    """Return the path of the keyring, which holds the users' keys."""
    return keys_directory(state_dir) / "users"


def short_lived_keys_path(state_dir: Path) -> Path:
    """Return the path of the file with the short-lived keys."""
    return keys_directory(state_dir) / "passing"


def segment_name(first_seq: int) -> str:
    """Return the name of the segment whose first event is number `first_seq`."""
    return f"{first_seq:020d}.wxlog"


def first_seq_of(path: Path) -> int:
    """Return the number of the first event of the segment at `path`, from its name."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise ValueError(f"{path.name} is not the name of a segment")
    return int(match.group(1))


def creation_time() -> float:
    """Return the timestamp for a new header; only retention uses it."""
    return time.time()  # noqa: TID251 (retention uses the wall clock)


def snapshot_name(last_seq: int) -> str:
    """Return the name of the snapshot that covers the events up to number `last_seq`."""
    return f"{last_seq:020d}.wxsnap"


def last_seq_of(snapshot: Path) -> int:
    """Return the number of the last event that `snapshot` covers, from its name."""
    match = _SNAPSHOT_NAME.fullmatch(snapshot.name)
    if match is None:
        raise ValueError(f"{snapshot.name} is not the name of a snapshot")
    return int(match.group(1))


def list_snapshots(directory: Path) -> list[Path]:
    """Return the snapshots in `directory`, oldest first."""
    return _list(directory, _SNAPSHOT_NAME)


def list_segments(directory: Path) -> list[Path]:
    """Return the segments in `directory`, oldest first; none if there is no such directory."""
    return _list(directory, _NAME)


def begins_at(directory: Path) -> int:
    """Return the number of the first event in the log, which must have a segment."""
    return first_seq_of(list_segments(directory)[0])


def _list(directory: Path, pattern: re.Pattern[str]) -> list[Path]:
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    return [directory / name for name in sorted(names) if pattern.fullmatch(name)]


def sync_directory(directory: Path, sync: Callable[[int], None] = DISK.sync_directory) -> None:
    """Make the entries of `directory` durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def create(path: Path) -> IO[bytes]:
    """Open an empty file at `path`, readable only by its owner."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    return os.fdopen(descriptor, "wb")


def write_durably(path: Path, data: bytes | memoryview) -> None:
    """Write a file durably, readable only by its owner. Its name is not durable yet."""
    with create(path) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def make_private_directory(path: Path) -> None:
    """Create the directory `path` with mode 0700, and its parents, unless they exist.

    Raises:
        StateDirectoryUnusable: the directory cannot be created or is not writable.
    """
    try:
        if path.is_symlink() and not path.exists():
            path = path.resolve()  # systemd's symlink to a directory that was moved away
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StateDirectoryUnusable(
            say(
                "cannot create the directory {path}: {strerror}", path=path, strerror=error.strerror
            ),
            hint=say("set [server] state_dir to a directory that the daemon's user can write to"),
        ) from error
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise StateDirectoryUnusable(
            say("the directory {path} is not writable by this user", path=path),
            hint=say(
                "run as the user that owns it, or set [server] state_dir to another directory"
            ),
        )


class StateLock:
    """The lock on a state directory: one process at a time may write to it."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "lock"
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._descriptor, 32).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise StateDirectoryLocked(
                say(
                    "another wxgptd (process {holder}) is using {state_dir}",
                    holder=holder or "unknown",
                    state_dir=state_dir,
                ),
                hint=say("stop that process first, or give this one its own [server] state_dir"),
            ) from None
        os.ftruncate(self._descriptor, 0)
        with contextlib.suppress(OSError):  # for people to read; a full disk has no room for it
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Release the lock."""
        os.close(self._descriptor)

    def __enter__(self) -> StateLock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()
