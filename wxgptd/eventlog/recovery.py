"""Make a log fit to be written after a crash: trim a torn tail, and keep what was trimmed.

A repair that was interrupted at its very end is finished, too, and a log from before users had
keys is encrypted.

Only what was never acknowledged is ever trimmed. Damage is not repaired here but refused.
"""

from __future__ import annotations

import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from wxgptd.eventlog import codec, framing, reader, segments, whole
from wxgptd.eventlog.disk import DISK, Reserve, says_full
from wxgptd.eventlog.keyring import Keyring


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


def finish_replacing(directory: Path) -> None:
    """Put a new log in its place, if replacing the old one was interrupted when there was none.

    And delete what else was interrupted. The caller holds the state directory's lock.
    """
    if not directory.exists() and repaired(directory).exists():
        repaired(directory).rename(directory)
        segments.sync_directory(directory.parent)
    for leftover in ("plain", "repaired", "repairing", "encrypting", "importing"):
        if (path := directory.with_name(f"{directory.name}.{leftover}")).exists():
            shutil.rmtree(path)
    if (path := directory.with_name("restoring")).exists():
        shutil.rmtree(path)  # with keys of users who may be erased by now


def is_plain(directory: Path) -> bool:
    """Tell whether a segment is from before users had keys."""
    for path in segments.list_segments(directory):
        with path.open("rb") as file:
            header = framing.unpack_header(file.read(framing.HEADER_BYTES))
        if header is not None and header.version == framing.PLAIN_VERSION:
            return True
    return False


def encrypt(directory: Path, keys: Keyring, segment_bytes: int) -> None:
    """Put the log encrypted in the place of one that is not, and delete that.

    A torn tail of it is not kept: it would be in the clear.

    Raises:
        LogDamaged: it is.
    """
    fresh = directory.with_name(f"{directory.name}.encrypting")
    shutil.rmtree(fresh, ignore_errors=True)
    segments.make_private_directory(fresh)
    records = map(codec.require, reader.scan(directory, keys))
    whole.write(fresh, whole.encoded(records, keys), segment_bytes)
    replace(directory, fresh, _plain(directory))
    shutil.rmtree(_plain(directory))


def _plain(directory: Path) -> Path:
    return directory.with_name(f"{directory.name}.plain")


def replace(directory: Path, fresh: Path, aside: Path) -> None:
    """Put `fresh` in the place of `directory`, and that in the place of `aside`.

    It is only renamed; where that is interrupted, the next start does the rest.
    """
    shutil.rmtree(repaired(directory), ignore_errors=True)  # of one that was interrupted
    fresh.rename(repaired(directory))
    segments.sync_directory(directory.parent)
    directory.rename(aside)
    repaired(directory).rename(directory)
    segments.sync_directory(directory.parent)


def make_ready(directory: Path) -> Ready:
    """Trim what a crash left, see to it that what it wrote is on disk, and say where to go on.

    Whoever was killed may have written what was never synced, or what could not be: it can be
    read, and may be gone with the next power cut. So an open segment is written anew.

    Raises:
        LogDamaged: the last segment is damaged, not merely torn.
    """
    for leftover in directory.glob("*.new"):
        leftover.unlink()
    segments.sync_directory(directory)
    paths = segments.list_segments(directory)
    if not paths:
        return Ready(None, None, 0, 1, None)
    path = paths[-1]
    with reader.mapped(path) as data:
        size = len(data)
        header = reader.read_header(path, data, last=True)
        if header is None:
            first = segments.first_seq_of(path)
            return _begun_again(path, first, _keep_somehow(path, 0, size))
        tail = framing.tail_of(data, header)
        next_seq = reader.require_tail(path, tail, last=True)
        if isinstance(tail, framing.Sealed):
            if next_seq == header.first_seq:
                return _begun_again(path, next_seq, None)
            return Ready(None, None, 0, next_seq, None)
        cut = _keep_somehow(path, tail.end, size) if isinstance(tail, framing.Torn) else None
        if header.version == framing.FORMAT_VERSION:
            _write_anew(path, data[: tail.end])
            return Ready(path, header, tail.end, next_seq, cut)
        # Of an earlier format: what is still to come goes into a segment of today's.
        if next_seq == header.first_seq:
            return _begun_again(path, next_seq, cut)
        _write_anew(path, data[: tail.end], framing.pack_footer(header.key, next_seq))
    return Ready(None, None, 0, next_seq, cut)


def _begun_again(path: Path, first_seq: int, cut: Trimmed | None) -> Ready:
    """Make the segment at `path`, which has no events, one of today's format, and go on in it.

    It is replaced and not deleted: it may be all that there is behind a snapshot.
    """
    header = framing.Header(first_seq, segments.creation_time(), secrets.randbits(32))
    _write_anew(path, memoryview(framing.pack_header(header)))
    return Ready(path, header, framing.HEADER_BYTES, first_seq, cut)


def _write_anew(path: Path, data: memoryview, footer: bytes = b"") -> None:
    """Have exactly `data` and `footer` in the segment at `path`, durably.

    Raises:
        OSError: there is no room; what was in it and is in `data` is there still.
    """
    fresh = path.with_name(f"{path.name}.new")
    try:
        segments.write_durably(fresh, b"".join((data, footer)))
    except OSError as error:
        fresh.unlink(missing_ok=True)
        if not says_full(error):
            raise
        # No room for a copy: then in its place, which is as good unless a sync has failed before.
        try:
            _write_in_place(path, data, footer)
        except OSError as still:
            if not says_full(still) or not Reserve(path.parent, DISK).give_up():
                raise
            _write_in_place(path, data, footer)
        return
    fresh.rename(path)
    segments.sync_directory(path.parent)


def _write_in_place(path: Path, data: memoryview, footer: bytes) -> None:
    """Have `data`, which the file begins with (or is a header), and `footer` in it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        if len(data) == framing.HEADER_BYTES:
            _write_all(descriptor, bytes(data), 0)
        os.ftruncate(descriptor, len(data))
        try:
            _write_all(descriptor, footer, len(data))
        except OSError:
            os.ftruncate(descriptor, len(data))  # half a footer is damage
            raise
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written


def _keep_somehow(path: Path, offset: int, size: int) -> Trimmed:
    """Keep the bytes from `offset` on; on a full disk, in what is reserved."""
    try:
        return _keep(path, offset, size)
    except OSError as error:
        if not says_full(error) or not Reserve(path.parent, DISK).give_up():
            raise
        return _keep(path, offset, size)


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
