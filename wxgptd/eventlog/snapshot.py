"""Snapshots: all users' states after one event, so that startup need not read earlier events.

A snapshot is a file beside the segments, named by the last event that it covers. It is structured
like a segment: a header with ``WXGPTSNP`` and the number of the next event, frames of users, and a
footer. The first frame has one element: the version of the states, and the snapshots of the
projections, encrypted with the master key. A user is the array of `SnapshotUser`, with the state
encrypted with the user's key.

A snapshot is written under a temporary name, synced and renamed, and then the directory is synced.
Two are kept, in case one is damaged: the segments that it covers may be gone. Invalid ones are
ignored.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgpack

from wxgptd.domain.model.state import UserState
from wxgptd.eventlog import codec, framing, segments, state_codec
from wxgptd.eventlog.disk import DISK, Disk
from wxgptd.eventlog.keyring import Keyring
from wxgptd.eventlog.user_key import UserKey

MAGIC = b"WXGPTSNP"
FORMAT_VERSION = 2
"""The format version of snapshots, which is independent of that of segments."""

KEPT = 2
GROUP_USERS = 256


class SnapshotUser(NamedTuple):
    """A user in a snapshot.

    `balance` counts open sessions, questions and pushes, as `loading` does; `oldest_at` is when the
    oldest past session ended, or 0. `frozen` is the state and `links` its links, both encrypted
    with the user's key. They are empty for a user who was erased while the snapshot was written,
    since the erasure follows in the log.
    """

    reference: str
    version: int
    balance: int
    last_at: float
    marked: bool
    oldest_at: float
    links: bytes
    frozen: bytes


class Snapshot(NamedTuple):
    """The contents of a snapshot; `created` is in seconds since the epoch."""

    last_seq: int
    created: float
    notes: Mapping[str, object]
    users: Sequence[SnapshotUser]


class Newest(NamedTuple):
    """The newest intact snapshot, if there is one, and what is wrong with newer ones."""

    snapshot: Snapshot | None
    skipped: Mapping[Path, str]


# Writing.


def of_state(key: UserKey, state: UserState, links_since: float) -> SnapshotUser:
    """Return a user's entry for a snapshot."""
    links = list(state.links(links_since))
    return SnapshotUser(
        reference=key.reference,
        version=state.version,
        balance=len(state.unanswered) + (state.live is not None) + (state.push is not None),
        last_at=state.heard_at,
        marked=state.is_marked,
        oldest_at=state.past[0].closed_at if state.past else 0.0,
        links=key.seal(msgpack.packb(links)) if links else b"",
        frozen=key.seal(state_codec.pack_state(state)),
    )


def of_erased(reference: str, version: int) -> SnapshotUser:
    """Return the entry of a user whose erasure follows the snapshot in the log."""
    return SnapshotUser(reference, version, 0, 0.0, False, 0.0, b"", b"")


def write(
    directory: Path,
    last_seq: int,
    notes: Mapping[str, object],
    users: Iterator[SnapshotUser],
    keys: Keyring,
    disk: Disk = DISK,
) -> Path:
    """Write a snapshot and return its path. Durable on return.

    Raises:
        OSError: the snapshot could not be written; no part of it remains.
    """
    path = directory / segments.snapshot_name(last_seq)
    fresh = path.with_name(f"{path.name}.new")
    key = secrets.randbits(32)
    try:
        with segments.create(fresh) as file:
            header = framing.Header(last_seq + 1, segments.creation_time(), key, FORMAT_VERSION)
            file.write(framing.pack_header(header, MAGIC))
            number = 1
            for group in _groups(notes, users, keys):
                payload = codec.join(len(group), [msgpack.packb(element) for element in group])
                file.write(framing.pack_frame(key, number, len(group), payload))
                number += len(group)
            file.write(framing.pack_footer(key, number))
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(path)
    except BaseException:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise
    segments.sync_directory(directory, disk.sync_directory)
    return path


def drop_all_but(directory: Path, kept: int, disk: Disk = DISK) -> None:
    """Delete all but the `kept` newest snapshots, and any that were never finished."""
    for path in (*segments.list_snapshots(directory)[:-kept], *directory.glob("*.wxsnap.new")):
        path.unlink(missing_ok=True)
    segments.sync_directory(directory, disk.sync_directory)


def _groups(
    notes: Mapping[str, object], users: Iterator[SnapshotUser], keys: Keyring
) -> Iterator[list[Any]]:  # Any: notes, then users
    yield [(state_codec.STATE_VERSION, keys.seal(msgpack.packb(notes)))]
    group: list[SnapshotUser] = []
    for user in users:
        group.append(user)
        if len(group) == GROUP_USERS:
            yield group
            group = []
    if group:
        yield group


# Reading.


def newest(directory: Path, keys: Keyring) -> Newest:
    """Return the newest intact snapshot."""
    skipped: dict[Path, str] = {}
    for path in reversed(segments.list_snapshots(directory)):
        try:
            return Newest(read(path, keys), skipped)
        except (OSError, ValueError, TypeError) as error:
            skipped[path] = str(error)
    return Newest(None, skipped)


def require(directory: Path, last_seq: int, keys: Keyring) -> None:
    """Check that a new snapshot can be read back before older ones are deleted.

    Raises:
        OSError: the snapshot cannot be read.
    """
    try:
        read(directory / segments.snapshot_name(last_seq), keys)
    except (ValueError, TypeError) as error:
        raise OSError(errno.EIO, f"the new snapshot cannot be read: {error}") from error


def read(path: Path, keys: Keyring) -> Snapshot:
    """Return the contents of the snapshot at `path`.

    Raises:
        ValueError: the snapshot is damaged or has another version.
        OSError: the file cannot be read.
    """
    data = memoryview(path.read_bytes())
    header = framing.unpack_header(data, MAGIC)
    if header is None or header.first_seq != segments.last_seq_of(path) + 1:
        raise ValueError("its header is invalid")
    if header.version != FORMAT_VERSION:
        raise ValueError(f"it has format {header.version}")
    walk = framing.Walk(data, header, expected=1)
    elements = [element for frame in walk for element in codec.unpack(frame.payload)]
    if not isinstance(walk.tail, framing.Sealed) or not elements:
        raise ValueError(f"it is damaged at byte {walk.tail.end}")
    (version, sealed), *users = elements
    if version != state_codec.STATE_VERSION:
        raise ValueError(f"its states have version {version}")
    notes = msgpack.unpackb(keys.open(sealed), use_list=False, strict_map_key=False)
    return Snapshot(
        header.first_seq - 1, header.created, notes, [SnapshotUser(*user) for user in users]
    )
