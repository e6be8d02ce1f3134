"""Verify a log: every segment, every event, and every user's history. Nothing is changed.

Startup only reads what follows the newest snapshot; this reads everything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from wxgptd.errors import WxgptError
from wxgptd.eventlog import framing, loading, reader, segments, snapshot
from wxgptd.eventlog.keyring import Keyring


class Damage(NamedTuple):
    """A problem, and the byte of the segment at which it is."""

    offset: int
    why: str


class SegmentInfo(NamedTuple):
    """The contents of one segment.

    A torn tail, which begins at `offset`, is not damage: a crash leaves it, and the next start
    trims it.
    """

    path: Path
    size: int
    frames: int
    events: int
    next_seq: int
    offset: int
    tail: type[framing.Tail]
    damages: Sequence[Damage]


class Verdict(NamedTuple):
    """The problems in a log, one per line. `unused` lists snapshots that cannot be read."""

    segments: Sequence[SegmentInfo]
    stories: Sequence[str]
    unused: Sequence[str]

    @property
    def is_sound(self) -> bool:
        """Whether the log has no problems."""
        return not self.stories and not any(info.damages for info in self.segments)

    @property
    def lines(self) -> Iterator[str]:
        """All problems."""
        for info in self.segments:
            for damage in info.damages:
                yield f"{info.path.name}: byte {damage.offset}: {damage.why}"
        yield from self.stories


def verify(directory: Path, keys: Keyring | None) -> Verdict:
    """Read everything. Without `keys`, neither what users said nor their histories are checked.

    Users' histories are only checked if all events can be read.
    """
    infos = tuple(inspect(directory, keys))
    if keys is None or any(info.damages for info in infos) or not infos:
        return Verdict(infos, (), ())
    stories: list[str] = []
    unused: Sequence[str] = ()
    try:
        found = loading.load(directory, keys, {}, everything=True)
        unused = [*found.loaded.skipped, *_damaged_snapshots(directory)]
        stories.extend(map(str, loading.damaged_states(found, keys)))
    except loading.NotEncrypted:
        pass
    except WxgptError as error:
        stories.append(str(error))
    return Verdict(infos, stories, unused)


def _damaged_snapshots(directory: Path) -> Iterator[str]:
    for path in segments.list_snapshots(directory):
        try:
            snapshot.check(path)
        except (OSError, ValueError) as error:
            yield f"{path.name}: {error}"


def inspect(directory: Path, keys: Keyring | None = None) -> Iterator[SegmentInfo]:
    """Yield the contents of each segment, decoding every event. Damage is reported, not raised."""
    paths, due = segments.list_segments(directory), None
    decoder = reader.Decoder(keys)
    for index, path in enumerate(paths):
        info = _inspect(path, due, decoder, last=index == len(paths) - 1)
        yield info
        # After damage the next number is unknown, so the next segment is not blamed for it.
        due = 0 if info.damages else info.next_seq


def _inspect(path: Path, due: int | None, decoder: reader.Decoder, *, last: bool) -> SegmentInfo:
    count = events = 0
    first = segments.first_seq_of(path)
    damages: list[Damage] = []
    with reader.mapped(path) as data:
        tail: framing.Tail = framing.Torn(0, first)
        try:
            header = reader.read_header(path, data, last=last)
            if header is not None:
                if why := _out_of_order(path, due, first):
                    damages.append(Damage(0, why))
                walk = framing.Walk(data, header)
                for frame in walk:
                    count += 1
                    try:
                        events += sum(1 for _ in decoder.records(path, header, frame))
                    except reader.LogDamaged as error:
                        damages.append(Damage(error.offset, error.why))
                tail = walk.tail
                reader.require_tail(path, tail, last=last)
        except reader.LogDamaged as error:
            damages.append(Damage(error.offset, error.why))
        kind = framing.Damaged if damages else type(tail)
        return SegmentInfo(path, len(data), count, events, tail.next_seq, tail.end, kind, damages)


def _out_of_order(path: Path, due: int | None, first: int) -> str:
    """Return what is wrong with a segment that begins with event `first` when `due` is expected."""
    if due is None:
        return reader.missing_before(path)
    if due and due < first:
        return f"events {due} to {first - 1} are missing before it"
    return f"event {due} expected, {first} found" if due > first else ""


def damage_before(directory: Path, seq: int, newest: Path | None) -> Sequence[str]:
    """Return what is wrong with the sealed segments up to event `seq`, without decoding them.

    The `newest` snapshot is checked, too, if a start has read only its columns; a damaged one is
    set aside.
    """
    damages: list[str] = []
    due = 0
    for path in segments.list_segments(directory)[:-1]:
        first = segments.first_seq_of(path)
        if first > seq:
            break
        if due and first != due:
            damages.append(f"{path.name}: event {due} expected, {first} found")
        due = 0
        try:
            with reader.mapped(path) as data:
                header = reader.read_header(path, data, last=False)
                assert header is not None
                due = reader.require_tail(path, framing.tail_of(data, header), last=False)
        except reader.SegmentDropped:
            continue
        except reader.LogDamaged as error:
            damages.append(f"{path.name}: byte {error.offset}: {error.why}")
    if newest and newest.exists() and newest.stat().st_size > snapshot.CHECKED_BYTES:
        try:
            snapshot.check(newest)
        except ValueError as error:
            snapshot.set_aside(newest)
            damages.append(f"{newest.name}: {error}; restart the daemon: it uses the one before")
    return damages
