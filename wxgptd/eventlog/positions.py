"""Where events are: four bytes for each event, 24 for each commit group.

With them, one user's events can be read without the rest of the log.
"""

from __future__ import annotations

import os
import weakref
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from heapq import nlargest
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from wxgptd.eventlog import codec, framing, reader, segments
from wxgptd.eventlog.columns import U32, U64, SortedMap

VERSION_BITS = 32
VERSION_MASK = (1 << VERSION_BITS) - 1

WORTH_FREEZING = 10_000
CACHED_FRAMES = 8
OPEN_SEGMENTS = 8


class Place(NamedTuple):
    """Where a frame is: the first event of its segment, and its offset there."""

    first_seq: int
    segment: int
    offset: int


class Generation:
    """The events after number `after`, chained by user: each leads to the one before it.

    `last` maps the number of each user's reference to the user's newest event and version, packed.
    After `freeze`, it has only the users with later events.
    """

    def __init__(self, after: int) -> None:
        self.after = after
        self.last: dict[int, int] = {}
        self._frozen = SortedMap()
        self.back: array[int] = array(U32)
        """For each event, how many events before it is the user's previous one here; 0 if none."""

    def add(self, number: int, seq: int, version: int) -> None:
        """Add event `seq`, which made user `number` reach `version`."""
        was = self.last.get(number) or self._newest(number)
        self.back.append(seq - (was >> VERSION_BITS) if was else 0)
        self.last[number] = seq << VERSION_BITS | version

    def _newest(self, number: int) -> int:
        return self.last.get(number) or next(self._frozen.find(number), 0)

    @property
    def is_frozen(self) -> bool:
        """Whether `last` lacks some of the users."""
        return bool(self._frozen.keys)

    def gap(self, number: int, seq: int) -> int:
        """Return how many events before `seq` the user's newest one here is; 0 if there is none."""
        newest = self.newest_seq(number)
        return seq - newest if newest else 0

    def version(self, number: int) -> int | None:
        """Return the user's version, or None if none of these events is the user's."""
        was = self._newest(number)
        return was & VERSION_MASK if was else None

    def newest_seq(self, number: int) -> int:
        """Return the user's newest event, or 0."""
        return self._newest(number) >> VERSION_BITS

    def events(self, number: int) -> list[int]:
        """Return the user's events, oldest first."""
        seqs = []
        seq = self.newest_seq(number)
        while seq:
            seqs.append(seq)
            back = self.back[seq - self.after - 1]
            seq = seq - back if back else 0
        seqs.reverse()
        return seqs

    def numbers(self) -> Iterator[int]:
        """Yield the users; some may be repeated."""
        yield from self._frozen.keys
        yield from self.last

    def newest(self, count: int) -> Iterator[int]:
        """Yield `count` users with the newest events, or all if there are fewer."""
        newest = nlargest(count, chain(self.last.items(), self._frozen), key=itemgetter(1))
        return map(itemgetter(0), newest)

    def absorb(self, later: Generation) -> None:
        """Add the events of the generation that follows this one."""
        assert later.after == self.after + len(self.back), "it follows another one"
        for number in {*later.numbers()}:
            first = later.events(number)[0]
            if was := self._newest(number):
                later.back[first - later.after - 1] = first - (was >> VERSION_BITS)
            self.last[number] = later._newest(number)
        self.back.extend(later.back)

    def freeze(self) -> None:
        """Store what is known so far in a tenth of the memory."""
        if len(self.last) >= WORTH_FREEZING:
            assert not self._frozen.keys, "it is frozen once"
            self._frozen = SortedMap(array(U64, self.last), array(U64, self.last.values()))
            self.last = {}


class Frames:
    """Finds the frames of a log, and reads single events."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._firsts: array[int] = array(U64)
        self._segments: array[int] = array(U64)
        self._offsets: array[int] = array(U64)
        self._open: dict[int, _Segment] = {}
        self._cache: dict[int, Sequence[codec.Entry]] = {}

    def add(self, place: Place) -> None:
        """Add the frame that follows the one added last."""
        self._firsts.append(place.first_seq)
        self._segments.append(place.segment)
        self._offsets.append(place.offset)

    def drop(self, until: int) -> None:
        """Forget the frames of which all events are up to number `until`."""
        count = max(0, bisect_right(self._firsts, until + 1) - 1)
        for column in (self._firsts, self._segments, self._offsets):
            del column[:count]
        self.close()

    def entries(self, seqs: Sequence[int]) -> Iterator[codec.Entry]:
        """Yield the entries with these numbers.

        Raises:
            LogDamaged: a frame is damaged.
            OSError: a segment cannot be read.
        """
        for seq in seqs:
            at = bisect_right(self._firsts, seq) - 1
            first = self._firsts[at]
            yield self._frame(at, first)[seq - first]

    def _frame(self, at: int, first: int) -> Sequence[codec.Entry]:
        entries = self._cache.get(first)
        if entries is None:
            segment = self._segment(self._segments[at])
            entries = segment.entries(self._offsets[at], first)
            if len(self._cache) >= CACHED_FRAMES:
                self._cache.clear()
            self._cache[first] = entries
        return entries

    def _segment(self, first_seq: int) -> _Segment:
        segment = self._open.get(first_seq)
        if segment is None:
            if len(self._open) >= OPEN_SEGMENTS:
                self.close()
            path = self._directory / segments.segment_name(first_seq)
            segment = self._open[first_seq] = _Segment(path)
        return segment

    def close(self) -> None:
        """Close all files; they are opened again as needed."""
        for segment in self._open.values():
            segment.close()
        self._open.clear()
        self._cache.clear()


class _Segment:
    """An open segment."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.close = weakref.finalize(self, os.close, self._descriptor)
        header = framing.unpack_header(os.pread(self._descriptor, framing.HEADER_BYTES, 0))
        if header is None:
            self.close()
            raise reader.damaged(path, 0, "the segment's header is invalid")
        self._header = header

    def entries(self, offset: int, first_seq: int) -> Sequence[codec.Entry]:
        data = framing.read_frame(self._descriptor, offset)
        frame = framing.unpack(memoryview(data), self._header.key, 0)
        if not isinstance(frame, framing.Frame) or frame.first_seq != first_seq:
            raise reader.damaged(self._path, offset, f"event {first_seq} expected")
        return reader.entries_of(self._path, self._header, frame)
