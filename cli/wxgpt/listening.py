"""Who listens at a port of this machine, from Linux's tables of sockets and processes."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def holder_of(port: int) -> str | None:
    """Return who listens at a TCP port of this machine, such as `nginx (812)`, or None.

    It is `?` if the program belongs to another user.
    """
    inodes = {inode for table in ("tcp", "tcp6") for inode in _listening(table, port)}
    if not inodes:
        return None
    for process in Path("/proc").glob("[0-9]*"):
        if inodes & _sockets_of(process):
            with contextlib.suppress(OSError):
                return f"{(process / 'comm').read_text().strip()} ({process.name})"
    return "?"


def _sockets_of(process: Path) -> set[str]:
    """Return the inodes of the sockets of a process that this user may look at."""
    inodes = set()
    with contextlib.suppress(OSError), os.scandir(process / "fd") as entries:
        for entry in entries:
            with contextlib.suppress(OSError):  # closed since
                inodes.add(
                    str(Path(entry.path).readlink()).removeprefix("socket:[").removesuffix("]")
                )
    return inodes


def _listening(table: str, port: int) -> list[str]:
    """Return the inodes of the sockets that listen at `port`, from Linux's table of sockets."""
    path = Path("/proc/net") / table
    try:
        rows = [line.split() for line in path.read_text().splitlines()[1:]]
    except OSError:
        return []
    listening = "0A"
    return [row[9] for row in rows if row[3] == listening and row[1].endswith(f":{port:04X}")]
