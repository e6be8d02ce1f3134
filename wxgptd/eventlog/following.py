"""Read a log while it is being written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from wxgptd.eventlog import framing, reader, segments
from wxgptd.eventlog.keyring import Keyring
from wxgptd.eventlog.room import read_growing
from wxgptd.ports.record import AnyRecord


class Visible(NamedTuple):
    """A frame that can be read, its segment and the segment's header."""

    path: Path
    header: framing.Header
    frame: framing.Frame


class FrameFollower:
    """Reads a log that is being written: each `poll` yields the frames since the last one.

    The first ones may have events up to number `after`. Moves on to the next segment when the
    current one is sealed. Never reads a frame twice, or past an incomplete one. If its current
    segment is dropped, it continues with the oldest one left.
    """

    def __init__(self, directory: Path, after: int) -> None:
        self._directory = directory
        self._after = after
        self._begin = -1
        self._done: tuple[Path, int] | None = None
        self._path: Path | None = None
        self._header: framing.Header | None = None
        self._offset = framing.HEADER_BYTES
        self._due = 0

    def poll(self) -> Iterator[Visible]:
        """Yield the frames that have become visible since the last call, in order.

        Raises:
            LogDamaged: the log is damaged, not merely unfinished.
        """
        while self._enter_segment():
            path, header = self._path, self._header
            assert path is not None
            assert header is not None
            try:
                with path.open("rb") as file:
                    data = read_growing(file.fileno(), self._offset)
            except FileNotFoundError:
                self._path, self._due, self._begin = None, 0, self._after
                continue
            base = self._offset
            walk = framing.Walk(data, header, start=0, expected=self._due)
            for frame in walk:
                self._offset, self._due = base + frame.end, frame.first_seq + frame.count
                self._after = max(self._after, self._due - 1)
                yield Visible(path, header, frame)
            tail = walk.tail
            if isinstance(tail, framing.Damaged):
                raise reader.damaged(path, base + tail.end, tail.why)
            if not isinstance(tail, framing.Sealed):
                return
            self._done = path, header.key
            self._path, self._due = None, tail.next_seq

    def _enter_segment(self) -> bool:
        """Move to the segment to read next; return whether there is one."""
        if self._path is not None:
            return True
        paths = segments.list_segments(self._directory)
        if self._begin < 0:
            self._begin = reader.begin_for(paths, self._after)
        next_seq = self._due or self._begin + 1
        for path in reversed(paths):
            if segments.first_seq_of(path) <= next_seq:
                break
        else:
            if not paths:
                return False
            path = paths[0]
        if segments.first_seq_of(path) < self._due:
            return False  # the last one is sealed, and the next does not exist yet
        try:
            with path.open("rb") as file:
                header = framing.unpack_header(file.read(framing.HEADER_BYTES))
        except FileNotFoundError:
            return self._enter_segment()
        # The successor of an empty segment has the same name, and perhaps the same inode.
        if header is None or self._done == (path, header.key):
            return False
        reader.require_format(path, header)
        self._path, self._header = path, header
        self._offset, self._due = framing.HEADER_BYTES, header.first_seq
        return True


class Follower:
    """Reads the events of a log that is being written, like `FrameFollower`."""

    def __init__(self, directory: Path, keys: Keyring | None, after: int) -> None:
        self._keys = keys
        self._decoder = reader.Decoder(keys)
        self._after = after
        self._frames = FrameFollower(directory, after)

    def poll(self) -> Iterator[AnyRecord]:
        """Yield the events that have become visible since the last call, in order.

        Raises:
            LogDamaged: the log is damaged, not merely unfinished.
        """
        read: Path | None = None
        for path, header, frame in self._frames.poll():
            if self._keys is not None and path != read:
                self._keys.refresh()  # keys are written before the events they encrypt
            read = path
            for record in self._decoder.records(path, header, frame, self._after):
                self._after = record.seq
                yield record
