"""Make a log writable again after a crash: trim a torn tail, and keep a copy of it.

Also complete a repair that was interrupted in its last step, and encrypt a log from before users
had keys.

Only events that were never acknowledged are trimmed. Damage is not repaired here; it is an error.
"""

from __future__ import annotations

import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from wxgptd.eventlog import codec, framing, log_writing, reader, segments
from wxgptd.eventlog.disk import DISK, Reserve, is_disk_full, write_all
from wxgptd.eventlog.keyring import Keyring
from wxgptd.eventlog.room import first_used, used_bytes


@dataclass(frozen=True, slots=True)
class Trimmed:
    """A torn tail was cut off `segment`, with a copy of `size` bytes from `offset` on in `kept`."""

    segment: Path
    offset: int
    size: int
    kept: Path


@dataclass(frozen=True, slots=True)
class Ready:
    """Where writing continues: at `offset` of `segment`, or in a new segment if that is None."""

    segment: Path | None
    header: framing.Header | None
    offset: int
    next_seq: int
    trimmed: Trimmed | None


def repaired(directory: Path) -> Path:
    """Return where a repair puts the complete new log before it replaces `directory`."""
    return directory.with_name(f"{directory.name}.repaired")


def finish_replacing(directory: Path) -> None:
    """Move a repaired log into place if that was interrupted after the old log was moved away.

    Also delete what interrupted operations left. The caller holds the state directory's lock.
    """
    if not directory.exists() and repaired(directory).exists():
        repaired(directory).rename(directory)
        segments.sync_directory(directory.parent)
    for leftover in ("plain", "repaired", "repairing", "encrypting", "importing"):
        if (path := directory.with_name(f"{directory.name}.{leftover}")).exists():
            shutil.rmtree(path)
    if (path := directory.with_name("restoring")).exists():
        shutil.rmtree(path)  # it holds keys of users who may have been erased since


def is_plain(directory: Path) -> bool:
    """Return whether any segment is from before users had keys."""
    for path in segments.list_segments(directory):
        with path.open("rb") as file:
            header = framing.unpack_header(file.read(framing.HEADER_BYTES))
        if header is not None and header.version == framing.PLAIN_VERSION:
            return True
    return False


def encrypt(directory: Path, keys: Keyring, segment_bytes: int) -> None:
    """Replace a plaintext log with an encrypted one, and delete the old one.

    A torn tail is not kept, since it would be in the clear.

    Raises:
        LogDamaged: the log is damaged.
    """
    fresh = directory.with_name(f"{directory.name}.encrypting")
    shutil.rmtree(fresh, ignore_errors=True)
    segments.make_private_directory(fresh)
    records = map(codec.require, reader.scan(directory, keys))
    log_writing.write(fresh, log_writing.encoded(records, keys), segment_bytes)
    replace(directory, fresh, _plain(directory))
    shutil.rmtree(_plain(directory))


def _plain(directory: Path) -> Path:
    return directory.with_name(f"{directory.name}.plain")


def replace(directory: Path, fresh: Path, aside: Path) -> None:
    """Move `directory` to `aside`, and `fresh` to where `directory` was.

    This only renames; if it is interrupted, the next start completes it.
    """
    shutil.rmtree(repaired(directory), ignore_errors=True)  # left by an interrupted replacement
    fresh.rename(repaired(directory))
    segments.sync_directory(directory.parent)
    directory.rename(aside)
    repaired(directory).rename(directory)
    segments.sync_directory(directory.parent)


def make_ready(directory: Path) -> Ready:
    """Trim a torn tail, make the last segment durable, and return where writing continues.

    A killed process may have written bytes that were never synced, or whose sync failed: they can
    be read, but the next power cut may lose them. So an open segment is rewritten, and of a sealed
    one the footer: the events before it were synced when they were committed.

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
        size = used_bytes(data)
        header = reader.read_header(path, data, last=True)
        if header is None:
            first = segments.first_seq_of(path)
            return _replace_empty(path, first, _save_tail(path, 0, size) if size else None)
        tail = framing.tail_of(data, header)
        next_seq = reader.require_tail(path, tail, last=True)
        if isinstance(tail, framing.Sealed):
            if next_seq == header.first_seq:
                return _replace_empty(path, next_seq, None)
            _sync_footer(path, framing.pack_footer(header.key, next_seq), tail.end)
            return Ready(None, None, 0, next_seq, None)
        torn = isinstance(tail, framing.Torn)
        trimmed = _save_tail(path, first_used(data, tail.end), size) if torn else None
        if header.version == framing.FORMAT_VERSION:
            _rewrite(path, data[: tail.end])
            return Ready(path, header, tail.end, next_seq, trimmed)
        # An earlier format: new events go into a segment of the current format.
        if next_seq == header.first_seq:
            return _replace_empty(path, next_seq, trimmed)
        _rewrite(path, data[: tail.end], framing.pack_footer(header.key, next_seq))
    return Ready(None, None, 0, next_seq, trimmed)


def _sync_footer(path: Path, footer: bytes, end: int) -> None:
    """Write the footer before `end` again, and sync it. It takes no space."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        write_all(descriptor, footer, end - len(footer))
        os.ftruncate(descriptor, end)  # the room, if the writer was killed before it did this
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace_empty(path: Path, first_seq: int, trimmed: Trimmed | None) -> Ready:
    """Replace the empty segment at `path` with one of the current format, to continue in it.

    It is replaced, not deleted, because it may be the only segment after a snapshot.
    """
    header = framing.Header(first_seq, segments.creation_time(), secrets.randbits(32))
    _rewrite(path, memoryview(framing.pack_header(header)))
    return Ready(path, header, framing.HEADER_BYTES, first_seq, trimmed)


def _rewrite(path: Path, data: memoryview, footer: bytes = b"") -> None:
    """Rewrite the segment at `path` with exactly `data` and `footer`, durably.

    Raises:
        OSError: the disk is full; whatever part of `data` was in the segment is intact.
    """
    fresh = path.with_name(f"{path.name}.new")
    try:
        segments.write_durably(fresh, b"".join((data, footer)))
    except OSError as error:
        fresh.unlink(missing_ok=True)
        if not is_disk_full(error):
            raise
        # No room for a copy: write in place, which is as safe unless an earlier sync failed.
        try:
            _write_in_place(path, data, footer)
        except OSError as retry_error:
            if not is_disk_full(retry_error) or not Reserve(path.parent, DISK).give_up():
                raise
            _write_in_place(path, data, footer)
        return
    fresh.rename(path)
    segments.sync_directory(path.parent)


def _write_in_place(path: Path, data: memoryview, footer: bytes) -> None:
    """Truncate the file to `data` (its beginning or a new header) and append `footer`."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        if len(data) == framing.HEADER_BYTES:
            write_all(descriptor, bytes(data), 0)
        os.ftruncate(descriptor, len(data))
        try:
            write_all(descriptor, footer, len(data))
        except OSError:
            os.ftruncate(descriptor, len(data))  # a partial footer would be damage
            raise
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _save_tail(path: Path, offset: int, size: int) -> Trimmed:
    """Copy the bytes from `offset` to `size`, using the disk reserve if the disk is full."""
    try:
        return _copy_tail(path, offset, size)
    except OSError as error:
        if not is_disk_full(error) or not Reserve(path.parent, DISK).give_up():
            raise
        return _copy_tail(path, offset, size)


def _copy_tail(path: Path, offset: int, size: int) -> Trimmed:
    """Copy the bytes from `offset` to `size` to a new file beside the segment, durably."""
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
            copy.write(source.read(size - offset))
            copy.flush()
            os.fsync(copy.fileno())
    except OSError:
        kept.unlink()  # the disk is full: a partial copy is useless
        raise
    segments.sync_directory(path.parent)
    return Trimmed(path, offset, size - offset, kept)
