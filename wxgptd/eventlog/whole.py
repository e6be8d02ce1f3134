"""Write a whole log at once: what a repair or an import ends in."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from wxgptd.domain.record import Recorded
from wxgptd.eventlog import codec, framing, segments
from wxgptd.eventlog.writer import MAX_GROUP_BYTES, RESERVE_NAME

GROUP_EVENTS = 512


def write(directory: Path, records: Iterator[Recorded]) -> int:
    """Write `records`, numbered from 1 without a gap, as one sealed segment; return how many.

    Durable when it returns. `directory` is not the log's own yet: see `place`. Without a record
    there is no segment either.
    """
    path = directory / segments.segment_name(1)
    key = secrets.randbits(32)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    count = 0
    with os.fdopen(descriptor, "wb") as file:
        file.write(framing.pack_header(framing.Header(1, directory.stat().st_mtime, key)))
        group: list[bytes] = []
        size = 0
        for record in records:
            packed = codec.pack([codec.encode(record.user, record.previous, record.event)])
            group.append(packed)
            count, size = count + 1, size + len(packed)
            if len(group) == GROUP_EVENTS or size >= MAX_GROUP_BYTES:
                file.write(_frame(key, count, group))
                group, size = [], 0
        if group:
            file.write(_frame(key, count, group))
        file.write(framing.pack_footer(key, count + 1))
        file.flush()
        os.fsync(file.fileno())
    if not count:
        path.unlink()
    segments.sync_directory(directory)
    return count


def is_empty(log: Path) -> bool:
    """Tell whether there is nothing in `log` that anybody could miss."""
    return not log.exists() or all(path.name == RESERVE_NAME for path in log.iterdir())


def place(fresh: Path, log: Path) -> None:
    """Make `fresh` the log, where `log` is empty: it is there as a whole, or not at all."""
    if log.exists():
        shutil.rmtree(log)
    fresh.rename(log)
    segments.sync_directory(log.parent)


def _frame(key: int, last_seq: int, group: list[bytes]) -> bytes:
    payload = codec.join(len(group), group)
    return framing.pack_frame(key, last_seq - len(group) + 1, len(group), payload)
