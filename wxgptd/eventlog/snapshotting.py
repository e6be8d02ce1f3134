"""Take a snapshot: the last one, brought up to date with the events after it.

This needs only the files of the log, so it can be done in another process, where it delays no one.
Users without new events are taken over as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from wxgptd.eventlog import deleting, loading, segments, snapshot_writing
from wxgptd.eventlog.deleting import Deleted
from wxgptd.eventlog.disk import DISK, Disk
from wxgptd.eventlog.keyring import Keyring
from wxgptd.eventlog.snapshot import Row
from wxgptd.eventlog.users import Users


class Job(NamedTuple):
    """What a snapshot of the log in `state_dir` is to contain: everything up to event `last_seq`.

    Past sessions that ended before `keep_since` are left out, and so are links, except those issued
    from `links_since` until `links_until`. What was said in the `deleted` sessions is removed.
    """

    state_dir: Path
    last_seq: int
    notes: Mapping[str, object]
    keep_since: float
    links_since: float
    links_until: float
    deleted: Sequence[Deleted] = ()


class Taken(NamedTuple):
    """A snapshot's path, and the damaged segments that may still have deleted words."""

    path: Path
    damaged: tuple[str, ...] = ()


def take(job: Job, master: bytes, disk: Disk = DISK) -> Taken:
    """Write a snapshot and check that it can be read, after removing what was deleted.

    Raises:
        OSError: it could not be written.
        WxgptError: a user's events are inconsistent, or damaged.
    """
    keys = Keyring(segments.keyring_path(job.state_dir), master)
    directory = segments.log_directory(job.state_dir)
    damaged = deleting.remove(directory, job.deleted, disk).damaged if job.deleted else ()
    found = loading.load(directory, keys, {}, until=job.last_seq)
    users = found.users
    assert found.loaded.last_seq == job.last_seq, "the snapshot would be ahead of the log"
    try:
        path = snapshot_writing.write(
            directory, job.last_seq, job.notes, rows(users, keys, job), keys, disk
        )
    finally:
        users.close()
        keys.close()
    snapshot_writing.require(directory, job.last_seq)
    return Taken(path, damaged)


def rows(users: Users, keys: Keyring, job: Job) -> Iterator[Row]:
    """Yield the rows of all users, sorted by number.

    Users who were erased after event `job.last_seq` are included without their state, because the
    erasure, which follows in the log, refers to them.
    """
    changed = users.changed()
    last = users.snapshot
    for number in users.numbers():
        if number in users.erased:
            continue
        row = last.find(number) if last is not None else -1
        if last is not None and row >= 0 and number not in changed:
            is_too_old = 0 < last.oldest_ats[row] < job.keep_since
            if not is_too_old:
                yield last.row(row)
                continue
        key = keys.numbered(number)
        state = users.state(key) if key is not None else None
        if key is None or state is None:
            yield snapshot_writing.row_of_erased(users.reference(number), users.version(number))
        else:
            yield snapshot_writing.row_of_state(
                key, state.trimmed(job.keep_since), job.links_since, job.links_until
            )
