"""Users whose keys were deleted before the event that says so has arrived.

A log that follows another one erases first and catches up later. Until the event is in the log, the
users' references are in a file beside the keyring, one per line: a start does not take their
missing keys for damage, and records the erasures itself if the log is no longer followed.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from wxgptd.eventlog import segments

_NAME = "erased"


def path_beside(keyring: Path) -> Path:
    """Return the path of the file."""
    return keyring.with_name(_NAME)


def read(keyring: Path) -> tuple[str, ...]:
    """Return the references."""
    try:
        return tuple(path_beside(keyring).read_text("utf-8").split("\n")[:-1])
    except FileNotFoundError:
        return ()


def write(keyring: Path, references: Iterable[str]) -> None:
    """Replace the references. Durable on return.

    Raises:
        OSError: the file system does not allow it.
    """
    path, lines = path_beside(keyring), "".join(f"{reference}\n" for reference in references)
    if not lines:
        path.unlink(missing_ok=True)
        return
    fresh = path.with_name(f"{path.name}.new")
    segments.write_durably(fresh, lines.encode("utf-8", "surrogatepass"))
    fresh.rename(path)
    segments.sync_directory(path.parent)
