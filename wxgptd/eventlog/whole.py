"""Write a whole log at once: what a repair or an import ends in."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from wxgptd.domain.record import Recorded
from wxgptd.eventlog import codec, framing, segments

GROUP_EVENTS = 512


def write(directory: Path, records: Iterator[Recorded]) -> int:
    """Write `records`, numbered from 1 without a gap, as one sealed segment; return how many.

    Durable when it returns. There is no log in `directory` yet, or it is written over.
    """
    path = directory / segments.segment_name(1)
    key = secrets.randbits(32)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    count = 0
    with os.fdopen(descriptor, "wb") as file:
        file.write(framing.pack_header(framing.Header(1, directory.stat().st_mtime, key)))
        group: list[codec.Entry] = []
        for record in records:
            group.append(codec.encode(record.user, record.previous, record.event))
            count += 1
            if len(group) == GROUP_EVENTS:
                file.write(_frame(key, count, group))
                group = []
        if group:
            file.write(_frame(key, count, group))
        file.write(framing.pack_footer(key, count + 1))
        file.flush()
        os.fsync(file.fileno())
    segments.sync_directory(directory)
    return count


def _frame(key: int, last_seq: int, group: list[codec.Entry]) -> bytes:
    payload = codec.join(len(group), [codec.pack(group)])
    return framing.pack_frame(key, last_seq - len(group) + 1, len(group), payload)
