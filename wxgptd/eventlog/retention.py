"""Drop a log's oldest segments if snapshots cover them and they are too old or it is too large."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from wxgptd.eventlog import framing, segments
from wxgptd.eventlog.disk import DISK, Disk
from wxgptd.ports.record import RetentionResult


def drop(directory: Path, before: float, most_bytes: int, disk: Disk = DISK) -> RetentionResult:
    """Delete segments whose events all precede `before`, and the oldest ones beyond `most_bytes`.

    0 means no limit. Only sealed segments that every snapshot covers are deleted, oldest first, so
    that the log stays contiguous; the newest segment is always kept.
    """
    paths = segments.list_segments(directory)
    covered = min(map(segments.last_seq_of, segments.list_snapshots(directory)), default=0)
    sizes = {path: path.stat().st_size for path in paths}
    total, count, size = sum(sizes.values()), 0, 0
    for path, following in pairwise(paths):
        old = _created(following) < before
        large = 0 < most_bytes < total - size
        if segments.first_seq_of(following) > covered + 1 or not (old or large):
            break
        path.unlink()
        count, size = count + 1, size + sizes[path]
    if count:
        segments.sync_directory(directory, disk.sync_directory)
    return RetentionResult(count, size, total - size)


def _created(path: Path) -> float:
    with path.open("rb") as file:
        header = framing.unpack_header(file.read(framing.HEADER_BYTES))
    return header.created if header is not None else float("inf")
