"""What the daemon's log says of its event log and its disk."""

from __future__ import annotations

from twisted.logger import Logger

from wxgptd.eventlog.disk import ROOM_NEEDED_BYTES
from wxgptd.eventlog.recovery import Trimmed
from wxgptd.ports.record import Loaded

log = Logger(namespace="wxgptd")


def disk_full(full: bool) -> None:
    """Report that the disk has become full, or that it no longer is."""
    if full:
        log.warn(
            "disk full: rejecting new questions until {needed} MB are free; "
            "running answers continue",
            id="disk-full",
            needed=ROOM_NEEDED_BYTES >> 20,
        )
    else:
        log.info("disk no longer full: accepting new questions", id="disk-free")


def tail_trimmed(trimmed: Trimmed) -> None:
    """Report what a crash left at the end of the event log."""
    log.warn(
        "trimmed a torn tail of {size} bytes, left by a crash; a copy is in {kept}",
        id="tail-trimmed",
        size=trimmed.size,
        kept=trimmed.kept,
    )


def log_loaded(loaded: Loaded, took_s: float) -> None:
    """Report that the event log was read, and which snapshots could not be used."""
    for why in loaded.skipped:
        log.warn("snapshot skipped: {why}", id="snapshot-skipped", why=why)
    log.info(
        "log loaded in {took:.1f} s; events: {count}, after the snapshot: {replayed}, "
        "users: {users}",
        id="loaded",
        count=loaded.last_seq,
        users=len(loaded.users),
        replayed=loaded.last_seq - loaded.snapshot_seq,
        took=took_s,
    )
