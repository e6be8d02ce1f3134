"""Make a log fit to be written after a crash: trim a torn tail, and keep what was trimmed.

A repair that was interrupted at its very end is finished, too.

Only what was never acknowledged is ever trimmed. Damage is not repaired here but refused.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from wxgptd.eventlog import framing, reader, segments


@dataclass(frozen=True, slots=True)
class Trimmed:
    """A torn tail was cut off `segment` at `offset`, and kept in `kept`."""

    segment: Path
    offset: int
    size: int
    kept: Path


@dataclass(frozen=True, slots=True)
class Ready:
    """Where writing goes on: behind `offset` of `segment`, or in a new segment if it is None."""

    segment: Path | None
    header: framing.Header | None
    offset: int
    next_seq: int
    trimmed: Trimmed | None


def repaired(directory: Path) -> Path:
    """Return where a repair has a whole log before it takes the place of `directory`."""
    return directory.with_name(f"{directory.name}.repaired")


def finish_repair(directory: Path) -> None:
    """Put a repaired log in its place, if the repair was interrupted when there was none."""
    if not directory.exists() and repaired(directory).exists():
        repaired(directory).rename(directory)
        segments.sync_directory(directory.parent)


def make_ready(directory: Path) -> Ready:
    """Trim what a crash left, and say where to go on.

    Raises:
        LogDamaged: the last segment is damaged, not merely torn.
    """
    paths = segments.list_segments(directory)
    if not paths:
        return Ready(None, None, 0, 1, None)
    path = paths[-1]
    with reader.mapped(path) as data:
        size = len(data)
        header = reader.read_header(path, data, last=True)
        if header is None:
            first = segments.first_seq_of(path)
            trimmed = _keep(path, 0, size)
            path.unlink()
            segments.sync_directory(directory)
            return Ready(None, None, 0, first, trimmed)
        tail = framing.tail_of(data, header)
    next_seq = reader.require_tail(path, tail, last=True)
    if isinstance(tail, framing.Sealed):
        return Ready(None, None, 0, next_seq, None)
    cut = _trim(path, tail.end, size) if isinstance(tail, framing.Torn) else None
    return Ready(path, header, tail.end, next_seq, cut)


def _trim(path: Path, offset: int, size: int) -> Trimmed:
    trimmed = _keep(path, offset, size)
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.ftruncate(descriptor, offset)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return trimmed


def _keep(path: Path, offset: int, size: int) -> Trimmed:
    """Copy the bytes from `offset` on into a new file beside the segment, durably."""
    number = 0
    while True:
        kept = path.with_name(f"{path.name}.{offset}.{number}.broken")
        try:
            descriptor = os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            break
        except FileExistsError:
            number += 1
    try:
        with os.fdopen(descriptor, "wb") as copy, path.open("rb") as source:
            source.seek(offset)
            copy.write(source.read())
            copy.flush()
            os.fsync(copy.fileno())
    except OSError:
        kept.unlink()  # a full disk: half a copy is none
        raise
    segments.sync_directory(path.parent)
    return Trimmed(path, offset, size - offset, kept)
