"""What the log needs from the operating system: a disk, threads, and a process for snapshots."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from wxgptd.eventlog import snapshotting
from wxgptd.eventlog.disk import DISK, Disk
from wxgptd.eventlog.snapshotting import Job, Taken
from wxgptd.eventlog.workers import WORKERS, Workers

TakeSnapshot = Callable[[Job, bytes, Disk], Taken]
"""Takes a snapshot, given the master key."""


class System(NamedTuple):
    """What the log needs; `snapshotting.take` takes snapshots in the same process."""

    disk: Disk = DISK
    workers: Workers = WORKERS
    take_snapshot: TakeSnapshot = snapshotting.take
