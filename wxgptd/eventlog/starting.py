"""What a start makes good before the first event is written."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from wxgptd.eventlog import codec, early_erasures
from wxgptd.eventlog.disk import is_disk_full
from wxgptd.eventlog.keyring import Keyring
from wxgptd.eventlog.segments import creation_time
from wxgptd.eventlog.user_key import number_of
from wxgptd.eventlog.users import Users
from wxgptd.eventlog.writer import Writer


def write_keys(keys: Keyring, erased: Sequence[str]) -> None:
    """Make all keys durable, and delete those of erased users that the last run left.

    Raises:
        OSError: the file system does not allow it.
    """
    try:
        keys.make_durable(without=erased)
    except OSError as error:
        if not is_disk_full(error) or not keys.path.exists():
            raise
        descriptor = os.open(keys.path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            keys.overwrite(descriptor, erased)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def record_early_erasures(writer: Writer, users: Users, keyring: Path) -> None:
    """Record the erasures of which only the keys' deletion had arrived from another log."""
    early = users.awaiting_erasure(early_erasures.read(keyring))
    for reference in early:
        entry = codec.erasure(reference, users.version(number_of(reference)), creation_time())
        users.erase(reference, writer.append([entry]))
    writer.flush()
    early_erasures.write(keyring, early)  # the next start finds them recorded
