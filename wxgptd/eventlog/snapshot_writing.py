"""Write a snapshot; its format is described in `snapshot`."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO

import msgpack

from wxgptd.domain.model.state import UserState
from wxgptd.eventlog import codec, framing, segments, state_codec
from wxgptd.eventlog.disk import DISK, Disk
from wxgptd.eventlog.keyring import Keyring
from wxgptd.eventlog.snapshot import (
    FORMAT_VERSION,
    LOCATOR,
    MAGIC,
    Columns,
    Row,
    SnapshotUser,
    check,
    packed,
)
from wxgptd.eventlog.user_key import UserKey, number_of

LATELY_S = 900.0
"""A start loads users who asked within this time before the snapshot, and got no answer: it may
still have to be pushed."""

KEPT = 2
SYNC_EVERY_BYTES = 1024 * 1024
"""The log shares the disk, and a sync of a whole snapshot would hold up its commits."""

FRAME_BYTES = 16 * 1024
"""Small: to read one user, a whole frame is read."""


def row_of_state(key: UserKey, state: UserState, links_since: float, links_until: float) -> Row:
    """Return a user's row; of the links, only those issued between two times."""
    links = [link for link in state.links(links_since) if link[2] < links_until]
    return Row(
        number=key.number,
        version=state.version,
        balance=len(state.unanswered)
        + (state.live is not None)
        + (state.push is not None)
        + _may_have_to_be_pushed(state),
        last_at=state.active_at,
        marked=state.is_marked,
        oldest_at=state.past[0].closed_at if state.past else 0.0,
        packed=packed(
            SnapshotUser(
                key.reference,
                state.version,
                key.seal(msgpack.packb(links)) if links else b"",
                key.seal(state_codec.pack_state(state)),
            )
        ),
    )


def _may_have_to_be_pushed(state: UserState) -> bool:
    """Return whether the user asked lately, and has not seen the answer."""
    since = segments.creation_time() - LATELY_S
    questions = [found for name in state.unseen if (found := state.find(name)) is not None]
    return any(question.asked_at >= since for _, question in questions)


def row_of_erased(reference: str, version: int) -> Row:
    """Return the row of a user whose erasure follows the snapshot in the log."""
    element = packed(SnapshotUser(reference, version, b"", b""))
    return Row(number_of(reference), version, 0, 0.0, marked=False, oldest_at=0.0, packed=element)


def write(
    directory: Path,
    last_seq: int,
    notes: Mapping[str, object],
    rows: Iterable[Row],
    keys: Keyring,
    disk: Disk = DISK,
) -> Path:
    """Write a snapshot and return its path. Durable on return. `rows` are sorted by number.

    Raises:
        OSError: the snapshot could not be written; no part of it remains.
    """
    path = directory / segments.snapshot_name(last_seq)
    fresh = path.with_name(f"{path.name}.new")
    try:
        with segments.create(fresh) as file:
            _Output(file, last_seq).write(notes, rows, keys)
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(path)
    except BaseException:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise
    segments.sync_directory(directory, disk.sync_directory)
    return path


class _Output:
    """A snapshot that is being written."""

    def __init__(self, file: IO[bytes], last_seq: int) -> None:
        self._file = file
        self._key = secrets.randbits(32)
        self._elements = self._synced = 0
        self._columns = Columns.empty()
        header = framing.Header(last_seq + 1, segments.creation_time(), self._key, FORMAT_VERSION)
        file.write(framing.pack_header(header, MAGIC))

    def write(self, notes: Mapping[str, object], rows: Iterable[Row], keys: Keyring) -> None:
        self._frame([(state_codec.STATE_VERSION, keys.seal(msgpack.packb(notes)))])
        group: list[bytes] = []
        size = 0
        for row in rows:
            self._columns.add(row)
            group.append(row.packed)
            size += len(row.packed)
            if size >= FRAME_BYTES:
                self._users(group)
                group, size = [], 0
        self._users(group)
        begin = self._file.tell()
        for name, column in self._columns.parts():
            self._frame([(name, column)])
        self._frame([LOCATOR.pack(begin)])
        self._file.write(framing.pack_footer(self._key, self._elements + 1))

    def _users(self, group: list[bytes]) -> None:
        if group:
            first = len(self._columns.numbers) - len(group)
            self._columns.frames.extend((first, self._file.tell()))
            self._frame(group)

    def _frame(self, elements: Sequence[object]) -> None:
        payload = codec.join(len(elements), [msgpack.packb(element) for element in elements])
        self._file.write(framing.pack_frame(self._key, self._elements + 1, len(elements), payload))
        self._elements += len(elements)
        if self._file.tell() >= self._synced + SYNC_EVERY_BYTES:
            self._file.flush()
            os.fdatasync(self._file.fileno())
            self._synced = self._file.tell()


def drop_all_but(directory: Path, kept: int, disk: Disk = DISK) -> None:
    """Delete all but the `kept` newest snapshots, and any that were never finished."""
    for path in (*segments.list_snapshots(directory)[:-kept], *directory.glob("*.wxsnap.new")):
        path.unlink(missing_ok=True)
    segments.sync_directory(directory, disk.sync_directory)


def require(directory: Path, last_seq: int) -> None:
    """Check that a new snapshot can be read back before older ones are deleted.

    Raises:
        OSError: the snapshot cannot be read.
    """
    try:
        check(directory / segments.snapshot_name(last_seq))
    except ValueError as error:
        raise OSError(errno.EIO, f"the new snapshot cannot be read: {error}") from error
