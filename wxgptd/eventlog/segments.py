"""The files of a log: their names, their order, the directory and its lock."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from pathlib import Path
from types import TracebackType

from wxgptd.errors import WxgptError

_NAME = re.compile(r"(\d{20})\.wxlog")


class StateDirectoryLocked(WxgptError):
    """another wxgptd is using this state directory"""


class StateDirectoryUnusable(WxgptError):
    """the state directory cannot be used"""


def log_directory(state_dir: Path) -> Path:
    """Return where the segments are."""
    return state_dir / "log"


def segment_name(first_seq: int) -> str:
    """Return the name of the segment whose first event is number `first_seq`."""
    return f"{first_seq:020d}.wxlog"


def first_seq_of(path: Path) -> int:
    """Return the number of the first event of the segment at `path`, by its name."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise ValueError(f"{path.name} is not the name of a segment")
    return int(match.group(1))


def list_segments(directory: Path) -> list[Path]:
    """Return the segments in `directory`, oldest first; none if there is no such directory."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    return [directory / name for name in sorted(names) if _NAME.fullmatch(name)]


def sync_directory(directory: Path) -> None:
    """Make the names in `directory` durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_private_directory(path: Path) -> None:
    """Make `path` with mode 0700, its parents where they are missing.

    Raises:
        StateDirectoryUnusable: it cannot be made, or is not ours to write in.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StateDirectoryUnusable(
            f"cannot make the directory {path}: {error.strerror}",
            hint="set [server] state_dir to a directory that the daemon's user may write in",
        ) from error
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise StateDirectoryUnusable(
            f"the directory {path} is not writable for this user",
            hint="run as the user that owns it, or set [server] state_dir to another one",
        )


class StateLock:
    """The right to write in a state directory: one process at a time, until it ends."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "lock"
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._descriptor, 32).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise StateDirectoryLocked(
                f"another wxgptd (process {holder or 'unknown'}) is using {state_dir}",
                hint="stop that one first, or give this one a [server] state_dir of its own",
            ) from None
        os.ftruncate(self._descriptor, 0)
        with contextlib.suppress(OSError):  # for people only; a full disk has no room for it
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let another process have it."""
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
