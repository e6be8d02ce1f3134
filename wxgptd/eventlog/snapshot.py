"""Snapshots: all users' states behind one event, so that a start need not read what led there.

A snapshot is a file beside the segments, named by the last event that is in it. It is built like a
segment: a header with ``WXGPTSNP`` and the number of the next event, frames of users, a footer. The
first frame has one element, the version of the states and what projections have noted down,
encrypted with the master key. A user is the array of `FrozenUser`, the state encrypted with the
user's key.

It is written beside its name, synced, renamed, and the directory synced; two are kept, since the
log that one rests on may be gone. One that does not check is not used.
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
from wxgptd.eventlog import codec, framing, freezing, segments
from wxgptd.eventlog.disk import DISK, Disk
from wxgptd.eventlog.keyring import Keyring, UserKey

MAGIC = b"WXGPTSNP"
FORMAT_VERSION = 2
"""That of snapshots; segments count theirs by themselves."""

KEPT = 2
GROUP_USERS = 256


class FrozenUser(NamedTuple):
    """A user in a snapshot.

    `balance` counts what is open, as `loading` does; `oldest_at` is when the oldest past session
    ended, or 0. `frozen` is the state, and `links` what leads to it, both encrypted with the user's
    key. Of who was erased while the snapshot was written they are empty: that is still to come in
    the log.
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
    """What is in one, and when it was made, in seconds since the epoch."""

    last_seq: int
    created: float
    notes: Mapping[str, object]
    users: Sequence[FrozenUser]


class Newest(NamedTuple):
    """The newest snapshot that is whole, if there is one, and what is wrong with newer ones."""

    snapshot: Snapshot | None
    skipped: Mapping[Path, str]


# Writing.


def of_state(key: UserKey, state: UserState, links_since: float) -> FrozenUser:
    """Return what a snapshot has of a user."""
    links = list(state.links(links_since))
    return FrozenUser(
        reference=key.reference,
        version=state.version,
        balance=len(state.unanswered) + (state.live is not None) + (state.push is not None),
        last_at=state.heard_at,
        marked=state.is_marked,
        oldest_at=state.past[0].closed_at if state.past else 0.0,
        links=key.seal(msgpack.packb(links)) if links else b"",
        frozen=key.seal(freezing.freeze(state)),
    )


def of_erased(reference: str, version: int) -> FrozenUser:
    """Return what a snapshot has of a user whose erasure comes behind it in the log."""
    return FrozenUser(reference, version, 0, 0.0, False, 0.0, b"", b"")


def write(
    directory: Path,
    last_seq: int,
    notes: Mapping[str, object],
    users: Iterator[FrozenUser],
    keys: Keyring,
    disk: Disk = DISK,
) -> Path:
    """Write a snapshot; return where it is. Durable on return.

    Raises:
        OSError: there is none, and nothing of it is left.
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
                payload = codec.join(len(group), [msgpack.packb(one) for one in group])
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
    """Delete all snapshots but the `kept` newest ones, and what was never finished."""
    for path in (*segments.list_snapshots(directory)[:-kept], *directory.glob("*.wxsnap.new")):
        path.unlink(missing_ok=True)
    segments.sync_directory(directory, disk.sync_directory)


def _groups(
    notes: Mapping[str, object], users: Iterator[FrozenUser], keys: Keyring
) -> Iterator[list[Any]]:  # Any: the notes, and users
    yield [(freezing.STATE_VERSION, keys.seal(msgpack.packb(notes)))]
    group: list[FrozenUser] = []
    for one in users:
        group.append(one)
        if len(group) == GROUP_USERS:
            yield group
            group = []
    if group:
        yield group


# Reading.


def newest(directory: Path, keys: Keyring) -> Newest:
    """Return the newest snapshot that is whole."""
    skipped: dict[Path, str] = {}
    for path in reversed(segments.list_snapshots(directory)):
        try:
            return Newest(read(path, keys), skipped)
        except (OSError, ValueError, TypeError) as error:
            skipped[path] = str(error)
    return Newest(None, skipped)


def require(directory: Path, last_seq: int, keys: Keyring) -> None:
    """See to it that what was written can be read: others are deleted for it.

    Raises:
        OSError: it cannot.
    """
    try:
        read(directory / segments.snapshot_name(last_seq), keys)
    except (ValueError, TypeError) as error:
        raise OSError(errno.EIO, f"what was written cannot be read: {error}") from error


def read(path: Path, keys: Keyring) -> Snapshot:
    """Return what is in the snapshot at `path`.

    Raises:
        ValueError: it is not whole, or of another version.
        OSError: it cannot be read.
    """
    data = memoryview(path.read_bytes())
    header = framing.unpack_header(data, MAGIC)
    if header is None or header.first_seq != segments.last_seq_of(path) + 1:
        raise ValueError("its header does not check")
    if header.version != FORMAT_VERSION:
        raise ValueError(f"it is of format {header.version}")
    walk = framing.Walk(data, header, expected=1)
    elements = [element for frame in walk for element in codec.unpack(frame.payload)]
    if not isinstance(walk.tail, framing.Sealed) or not elements:
        raise ValueError(f"it is damaged at byte {walk.tail.end}")
    (version, sealed), *users = elements
    if version != freezing.STATE_VERSION:
        raise ValueError(f"its states are of version {version}")
    notes = msgpack.unpackb(keys.open(sealed), use_list=False, strict_map_key=False)
    return Snapshot(
        header.first_seq - 1, header.created, notes, [FrozenUser(*one) for one in users]
    )
