"""A program to injure: append to a log as fast as possible, and print what is acknowledged.

    python -m tests.support.workload STATE_DIR [--appends N] [--rest] [--mutant NAME]

It continues where the log ends. The content of event number n depends only on n, so a reader of
the log can verify it. Segments are small; snapshots, retention and erasure are frequent.

Prints `ack N` when all events up to N are acknowledged, `erased REFERENCE` when the user with that
reference is erased, and finally `done`. With `--rest`, it erases a user at the end, takes a
snapshot, prints `snapshot N`, and idles. Exits with 75 if the log cannot be written.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import NoReturn

from tests.support.injuries import MASTER
from wxgptd.domain.evolve import evolve
from wxgptd.domain.model import events as e
from wxgptd.domain.model.state import EMPTY, UserState
from wxgptd.domain.model.values import DeliveryKey, User
from wxgptd.errors import WxgptError
from wxgptd.eventlog.callbacks import StoreListener, Turns
from wxgptd.eventlog.disk import Disk
from wxgptd.eventlog.store import LogStore
from wxgptd.eventlog.system import System
from wxgptd.eventlog.writer import SegmentBounds
from wxgptd.ports.record import Capture

USERS = 5
SEGMENT_BYTES = 2_000
MAX_BYTES = 30_000
SNAPSHOT_EVERY = 40
ERASE_EVERY = 70
AT_ONCE = 3


class NoSync(Disk):
    """Treats every write as durable."""

    def sync(self, descriptor: int) -> None:
        pass


class NoDirectorySync(Disk):
    """Treats every new directory entry as durable."""

    def sync_directory(self, descriptor: int) -> None:
        pass


DISKS: dict[str, type[Disk]] = {"no-sync": NoSync, "no-directory-sync": NoDirectorySync}
MUTANTS = (*DISKS, "early")
"""What a writer might omit: syncing a file, syncing a directory, or waiting for either."""


def event(seq: int) -> e.Event:
    """Return event number `seq`, assuming that it is not an erasure."""
    return e.MessageDeclined(
        at=1_000.0 * seq,
        delivery=DeliveryKey(f"d{seq}"),
        reason="not_understood",
        about=f"event {seq} says {'so ' * (seq % 17)}",
    )


class Workload:
    """One run of the program."""

    def __init__(self, state_dir: Path, mutant: str) -> None:
        self._turns: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._mutant = mutant
        self._store = LogStore(
            state_dir,
            MASTER,
            Turns(self._turns.put, self._turns.put),
            StoreListener(self._failed, lambda full: None),
            SegmentBounds(SEGMENT_BYTES),
            System(DISKS.get(mutant, Disk)()),
        )
        self._keys = self._store._keys
        loaded = self._store.load({})
        self._states: dict[User, UserState] = {
            user: state
            for user in loaded.users.newest(10 * USERS)
            if (state := loaded.users.find(user)) is not None
        }
        self._seq = loaded.last_seq
        self._waiting = 0
        self._store.start()

    def run(self, appends: int, *, rest: bool) -> None:
        """Append `appends` events."""
        last = self._seq + appends
        while self._seq < last:
            while self._waiting < AT_ONCE and self._seq < last:
                self._append()
            self._turn()
            if self._seq % SNAPSHOT_EVERY == 0:
                self._snapshot()
        if rest:
            self._append(erase=True)
        while self._waiting:
            self._turn()
        if rest:
            self._snapshot()
            say(f"snapshot {self._seq}")
            time.sleep(3_600)
        self._store.close()
        say("done")

    def _append(self, *, erase: bool = False) -> None:
        self._seq += 1
        user = User("main", f"openid-of-user-{self._seq % USERS}")
        state = self._states.get(user, EMPTY)
        erase = (erase or self._seq % ERASE_EVERY == 0) and state.version > 0
        key = self._keys.of(user)
        next_event = e.UserErased(at=1_000.0 * self._seq) if erase else event(self._seq)
        seq = self._store.append(user, [("", next_event)], state.version)
        if erase:
            del self._states[user]
        else:
            self._states[user] = evolve(state, next_event)
        self._waiting += 1
        if self._mutant == "early":
            say(f"ack {self._seq}")
        reference = key.reference if erase and key is not None else ""
        self._store.committed().addCallbacks(
            self._acknowledged, lambda *_: None, callbackArgs=(seq, reference)
        )

    def _acknowledged(self, _: None, seq: int, erased: str) -> None:
        self._waiting -= 1
        if self._mutant != "early":
            say(f"ack {seq}")
        if erased:
            say(f"erased {erased}")

    def _snapshot(self) -> None:
        capture = Capture(self._seq, {}, 0.0, 0.0)
        write = self._store.snapshot(capture)
        while self._waiting:
            self._turn()
        try:
            write()
            self._store.retain(0.0, MAX_BYTES)
        except OSError as error:
            say(f"no snapshot: {error}")

    def _turn(self) -> None:
        self._turns.get()()

    def _failed(self, error: WxgptError) -> NoReturn:
        say(f"failed: {error}")
        sys.exit(75)


def say(line: str) -> None:
    """Print a line and flush it."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Run the program with its command-line arguments."""
    parser = argparse.ArgumentParser()
    parser.add_argument("state_dir", type=Path)
    parser.add_argument("--appends", type=int, default=1_000_000)
    parser.add_argument("--rest", action="store_true")
    parser.add_argument("--mutant", choices=MUTANTS, default="")
    options = parser.parse_args()
    try:
        Workload(options.state_dir, options.mutant).run(options.appends, rest=options.rest)
    except WxgptError as error:
        say(f"refused: {error}")
        sys.exit(error.exit_status)
    except OSError as error:
        say(f"refused: {error}")
        sys.exit(75)


if __name__ == "__main__":
    main()
