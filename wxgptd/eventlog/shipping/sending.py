"""Send a log's events as they are written. Changes nothing, and needs no daemon.

Keys come before the events that are encrypted with them, and a snapshot after the events that it
covers.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from wxgptd.errors import WxgptError
from wxgptd.eventlog import framing, key_file, reader, segments
from wxgptd.eventlog.columns import U64
from wxgptd.eventlog.following import FrameFollower
from wxgptd.eventlog.shipping.messages import (
    CHUNK_BYTES,
    Beat,
    Group,
    Hello,
    Keys,
    Message,
    SnapshotPart,
    digest_of,
)
from wxgptd.wording import say


class CannotShip(WxgptError):
    """the log cannot be shipped from that event on"""


class Position(NamedTuple):
    """What a receiver has: the events up to `seq`, and the snapshot of event `snapshot_seq`."""

    seq: int = 0
    snapshot_seq: int = 0

    def __str__(self) -> str:
        return f"{self.seq}.{self.snapshot_seq}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """Return the position in `text`.

        Raises:
            ValueError: there is none in it.
        """
        seq, _, snapshot_seq = text.strip().partition(".")
        return cls(int(seq), int(snapshot_seq or 0))


def position_of(state_dir: Path) -> Position:
    """Return what a state directory has, even while it is in use."""
    directory = segments.log_directory(state_dir)
    snapshots = segments.list_snapshots(directory)
    snapshot_seq = segments.last_seq_of(snapshots[-1]) if snapshots else 0
    return Position(max(reader.newest_seq(directory), snapshot_seq), snapshot_seq)


class Sender:
    """The messages about the log in `state_dir`, for a receiver that is at `after`."""

    def __init__(self, state_dir: Path, after: Position) -> None:
        """Find out what there is to send.

        Raises:
            CannotShip: there is no log, or the next event has been dropped from it.
        """
        self._state_dir = state_dir
        self._directory = segments.log_directory(state_dir)
        self._keyring = segments.keyring_path(state_dir)
        paths = segments.list_segments(self._directory)
        if not paths:
            raise CannotShip(
                say("no log in {directory}", directory=self._directory),
                hint=say("has the daemon run yet?"),
            )
        self._first_seq = segments.first_seq_of(paths[0])
        self.sent_seq = after.seq
        self._sent_snapshot = after.snapshot_seq
        self._keys_at: tuple[int, int] = (0, 0)
        """The keyring's inode, and how much of it has been sent."""
        self._frames = FrameFollower(self._directory, after.seq)

    def hello(self) -> Iterator[Message]:
        """Yield the first messages: who sends, and all keys.

        Raises:
            OSError: the keys cannot be read.
        """
        link_key = (segments.keys_directory(self._state_dir) / "links").read_bytes()
        last_seq = reader.newest_seq(self._directory)
        yield Hello(digest_of(link_key), self._first_seq, last_seq)
        yield from self._all_keys()

    def poll(self) -> Iterator[Message]:
        """Yield what is new since the last call.

        Raises:
            LogDamaged: the log is damaged.
            CannotShip: the next event has been dropped, or is in an earlier format.
        """
        for path, header, frame in self._frames.poll():
            if header.version != framing.FORMAT_VERSION:
                raise CannotShip(
                    say("{name} is in an earlier format", name=path.name),
                    hint=say("restore a backup that includes it on the other machine first"),
                )
            if frame.first_seq > self.sent_seq + 1:
                raise CannotShip(
                    say(
                        "events {sent_seq} to {first_seq} have been dropped",
                        sent_seq=self.sent_seq + 1,
                        first_seq=frame.first_seq - 1,
                    ),
                    hint=say("`wxgpt backup` here, and `wxgpt restore` on the other machine"),
                )
            last_seq = frame.first_seq + frame.count - 1
            if last_seq <= self.sent_seq:
                continue
            yield from self._new_keys()  # they were written before the frame
            yield Group(frame.first_seq, frame.count, bytes(frame.payload))
            self.sent_seq = last_seq
        yield from self._new_keys()
        yield from self._snapshot()

    def beat(self) -> Message:
        """Return a sign of life."""
        return Beat(self.sent_seq)

    # Keys.

    def _all_keys(self) -> Iterator[Message]:
        with self._keyring.open("rb") as file:
            inode, data = os.fstat(file.fileno()).st_ino, file.read()
        scan = key_file.Scan(data)
        numbers = array(U64, (number for number in scan.numbers if number))
        numbers.byteswap()
        yield from _chunks(_records(data, scan))
        yield Keys((), numbers.tobytes())
        self._keys_at = inode, len(data)

    def _new_keys(self) -> Iterator[Message]:
        """Yield the keys that were added; all of them if the file was rewritten."""
        status = self._keyring.stat()
        inode, sent = self._keys_at
        if status.st_ino != inode or status.st_size < sent:
            yield from self._all_keys()
            return
        if status.st_size == sent:
            return
        with self._keyring.open("rb") as file:
            file.seek(sent)
            data = file.read()
        records, end = [], 0
        while (size := key_file.size_of(data[end : end + 12])) and end + size <= len(data):
            record = data[end : end + size]
            if not key_file.is_intact(record):
                break
            records.append(record)
            end += size
        yield from _chunks(iter(records))
        self._keys_at = inode, sent + end

    # Snapshots.

    def _snapshot(self) -> Iterator[Message]:
        """Yield the newest snapshot, if it is a new one and covers nothing that was not sent."""
        for path in reversed(segments.list_snapshots(self._directory)):
            last_seq = segments.last_seq_of(path)
            if last_seq <= self._sent_snapshot:
                return
            if last_seq > self.sent_seq:
                continue
            try:
                with path.open("rb") as file:
                    while piece := file.read(CHUNK_BYTES):
                        yield SnapshotPart(last_seq, piece)
            except FileNotFoundError:
                continue  # replaced by a newer one
            yield SnapshotPart(last_seq, b"")
            self._sent_snapshot = last_seq
            return


def _records(data: bytes, scan: key_file.Scan) -> Iterator[bytes]:
    for offset, number in zip(scan.offsets, scan.numbers, strict=True):
        record = data[offset : offset + key_file.size_of(data[offset : offset + 12])]
        if number and key_file.is_current(record):  # the first record has no number
            yield record


def _chunks(records: Iterator[bytes]) -> Iterator[Message]:
    chunk: list[bytes] = []
    size = 0
    for record in records:
        chunk.append(record)
        size += len(record)
        if size >= CHUNK_BYTES:
            yield Keys(tuple(chunk))
            chunk, size = [], 0
    if chunk:
        yield Keys(tuple(chunk))
