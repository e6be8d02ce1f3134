"""Remove what was said in deleted sessions from a log's segments.

An event keeps its place and its size; only its encrypted part is overwritten. A segment is replaced
as a whole, so a crash leaves either the old one or the new one. What crashes and damage left beside
the segments may have the words as well, and is deleted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import NamedTuple

from wxgptd.domain.model import events as e
from wxgptd.domain.model.values import SessionId
from wxgptd.eventlog import codec, framing, packing, reader, segments
from wxgptd.eventlog.disk import DISK, Disk, write_all

CLOCK_CHANGES_S = 86_400.0
"""How far a segment's creation time may be from the times of its events."""

SAID_IN = frozenset(
    codec.TAGS[kind]
    for kind in (
        e.QuestionAsked,
        e.MessageDeclined,
        e.AnswerCompleted,
        e.AnswerFailed,
        e.ReplyOffered,
        e.PushFailed,
        e.AnswerRated,
        e.SessionTitled,
    )
)
"""The kinds of events whose encrypted part belongs to the session and to nothing else."""

_ASKED = codec.TAGS[e.QuestionAsked]
_SUFFIX = ".new"
_ASIDE = (f"*.wxlog{_SUFFIX}", "*.wxlog.*.broken", "*.wxsnap.damaged")


class Deleted(NamedTuple):
    """A deleted session: its user's reference, and when it was opened (s since the epoch)."""

    reference: str
    session: SessionId
    opened_at: float


class Removed(NamedTuple):
    """How many segments were rewritten, and which could not be read, so that they are unchanged."""

    rewritten: int
    damaged: tuple[str, ...]


def remove(directory: Path, deleted: Sequence[Deleted], disk: Disk = DISK) -> Removed:
    """Remove what was said in the `deleted` sessions from all sealed segments; durable on return.

    Damage elsewhere in a segment is no reason to stop: a start does not read old segments either.

    Raises:
        OSError: a segment could not be replaced.
    """
    for aside in chain.from_iterable(map(directory.glob, _ASIDE)):
        aside.unlink(missing_ok=True)
    words = _Words(deleted)
    rewritten, damaged = 0, []
    for path in _candidates(directory, min(session.opened_at for session in deleted)):
        try:
            rewritten += _rewrite(path, words, disk)
        except reader.SegmentDropped:
            continue
        except reader.LogDamaged as error:
            damaged.append(f"{path.name}: {error.why}")
    if rewritten:
        segments.sync_directory(directory, disk.sync_directory)
    return Removed(rewritten, tuple(damaged))


def _rewrite(path: Path, words: _Words, disk: Disk) -> bool:
    """Replace one segment if it has something to remove; return whether it had."""
    with reader.mapped(path) as data:
        header = reader.read_header(path, data, last=False)
        assert header is not None, "only the newest segment may have none"
        changes = list(_changes(path, data, header, words))
        if changes:
            _replace(path, data, changes, disk)
    return bool(changes)


def _candidates(directory: Path, opened_at: float) -> Iterator[Path]:
    """Yield the sealed segments that may have events since `opened_at`, oldest first."""
    paths = segments.list_segments(directory)
    for path, following in pairwise(paths):
        with following.open("rb") as file:
            header = framing.unpack_header(file.read(framing.HEADER_BYTES))
        if header is None or header.created >= opened_at - CLOCK_CHANGES_S:
            yield path


class _Words:
    """Recognises the events of deleted sessions; they must be passed in log order."""

    def __init__(self, deleted: Sequence[Deleted]) -> None:
        self._sessions = {(reference, session) for reference, session, _ in deleted}
        self._users = {reference for reference, _, _ in deleted}
        self._questions: set[tuple[str, object]] = set()
        """The questions of deleted sessions in segments that do not record events' sessions."""

    def are_in(self, entry: codec.Entry) -> bool:
        """Return whether the encrypted part of `entry` was said in a deleted session."""
        tag, _, _, reference, _, carried, sealed = entry
        if not sealed or reference not in self._users or tag not in SAID_IN:
            return False
        session, *body = packing.unpack(carried)
        if session is not None:
            return (reference, session) in self._sessions
        if tag == _ASKED and (reference, body[0]) in self._sessions:
            self._questions.add((reference, body[1]))
        return any(
            isinstance(value, str) and (reference, value) in self._questions for value in body
        )


def _changes(
    path: Path, data: memoryview, header: framing.Header, words: _Words
) -> Iterator[tuple[int, bytes]]:
    """Yield the frames to replace: the offset and the new bytes, which are as many as before."""
    walk = framing.Walk(data, header)
    for frame in walk:
        payload: bytearray | None = None
        for entry in reader.entries_of(path, header, frame):
            if words.are_in(entry) and not codec.is_lost(entry[-1]):
                payload = bytearray(frame.payload) if payload is None else payload
                at = payload.index(entry[-1])  # it begins with a nonce, so it is found nowhere else
                payload[at : at + len(entry[-1])] = codec.LOST * len(entry[-1])
        if payload is not None:
            new = framing.pack_frame(header.key, frame.first_seq, frame.count, bytes(payload))
            yield frame.end - len(new), new
    reader.require_tail(path, walk.tail, last=False)


def _replace(
    path: Path, data: memoryview, changes: Sequence[tuple[int, bytes]], disk: Disk
) -> None:
    fresh = path.with_name(path.name + _SUFFIX)
    with segments.create(fresh) as file:
        descriptor = file.fileno()
        write_all(descriptor, data, 0)
        for offset, frame in changes:
            write_all(descriptor, frame, offset)
        disk.sync(descriptor)
    fresh.replace(path)
