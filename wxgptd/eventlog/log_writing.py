"""Write a complete log at once: the last step of a repair or an import."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from wxgptd.eventlog import codec, framing, segments
from wxgptd.eventlog.disk import RESERVE_NAME
from wxgptd.eventlog.framing import MAX_GROUP_BYTES
from wxgptd.eventlog.keyring import Keyring
from wxgptd.ports.record import Hidden, Recorded

GROUP_EVENTS = 512


def encoded(records: Iterator[Recorded], keys: Keyring) -> Iterator[codec.Entry]:
    """Yield the entries of `records`; create missing keys, and write the keyring at the end."""
    for record in records:
        if record.hidden is not Hidden.READABLE:
            yield codec.encode_hidden(record)
            continue
        key = keys.of(record.user) or keys.make(record.user)
        yield codec.encode(key, record.previous, record.session, record.event)
    keys.write()


def write(
    directory: Path, entries: Iterator[codec.Entry], segment_bytes: int, first_seq: int = 1
) -> int:
    """Write `entries`, numbered from `first_seq` without gaps, as sealed segments.

    Returns the number of entries. Durable on return. `place` then moves `directory` to its final
    location. Without entries, a segment is written only if a snapshot precedes it.
    """
    output = _Segments(directory, segment_bytes, first_seq)
    group: list[bytes] = []
    size = 0
    for entry in entries:
        packed = codec.pack([entry])
        group.append(packed)
        size += len(packed)
        if len(group) == GROUP_EVENTS or size >= MAX_GROUP_BYTES:
            output.append(group)
            group, size = [], 0
    if group:
        output.append(group)
    elif output.next_seq == first_seq > 1:
        output.begin()  # a snapshot needs a segment after it, even an empty one
    output.seal()
    segments.sync_directory(directory)
    return output.next_seq - first_seq


class _Segments:
    def __init__(self, directory: Path, segment_bytes: int, next_seq: int) -> None:
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._file: IO[bytes] | None = None
        self._key = 0
        self.next_seq = next_seq

    def begin(self) -> IO[bytes]:
        self._key = secrets.randbits(32)
        self._file = segments.create(self._directory / segments.segment_name(self.next_seq))
        header = framing.Header(self.next_seq, segments.creation_time(), self._key)
        self._file.write(framing.pack_header(header))
        return self._file

    def append(self, group: list[bytes]) -> None:
        file = self._file or self.begin()
        payload = codec.join(len(group), group)
        file.write(framing.pack_frame(self._key, self.next_seq, len(group), payload))
        self.next_seq += len(group)
        if file.tell() >= self._segment_bytes:
            self.seal()

    def seal(self) -> None:
        if self._file is not None:
            self._file.write(framing.pack_footer(self._key, self.next_seq))
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None


def is_empty(log: Path) -> bool:
    """Return whether `log` contains nothing that could be lost."""
    return not log.exists() or all(path.name == RESERVE_NAME for path in log.iterdir())


def place(fresh: Path, log: Path) -> None:
    """Move `fresh` to `log`, which must be empty: the log appears completely or not at all."""
    if log.exists():
        shutil.rmtree(log)
    fresh.rename(log)
    segments.sync_directory(log.parent)
