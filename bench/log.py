"""The cost of durability: many writers appending at once, compared with the bare disk and SQLite.

    python bench/log.py [--writers 64] [--appends 40000] [--rounds 3] [--directory DIR]

Every writer appends one event and waits until it is durable before it appends the next. Four
methods take turns, in one process and on one disk (that of `--directory`, by default the current
directory, because temporary directories are often in memory):

- wxgptd: the event log as the daemon uses it, in a reactor;
- the bare disk: the same frames as in that run, each with one write and one fdatasync;
- SQLite, one transaction per commit group: the same groups, in WAL mode with synchronous=FULL;
- SQLite, one transaction per append: the same writers without group commit.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import replay
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.internet.task import react

from wxgptd.domain.model.events import QuestionAsked
from wxgptd.domain.model.values import AccountName, OpenId, User
from wxgptd.eventlog import codec, framing, packing, reader, segments
from wxgptd.eventlog.callbacks import StoreListener, Turns
from wxgptd.eventlog.store import LogStore


def question() -> QuestionAsked:
    """Return a typical event: a question of about twenty characters."""
    return next(event for event in replay.conversation(1) if isinstance(event, QuestionAsked))


async def append(reactor: Any, state_dir: Path, writers: int, appends: int) -> float:
    """Append `appends` events from `writers` writers; return how many seconds it took."""
    store = LogStore(
        state_dir,
        replay.MASTER,
        Turns(reactor.callFromThread, lambda call: reactor.callLater(0, call)),
        StoreListener(print, print),
    )
    store.load({})
    store.start()
    event = question()

    async def writer(number: int) -> None:
        user = User(AccountName("main"), OpenId(f"oUser{number:022d}"))
        for version in range(appends // writers):
            store.append(user, [(event.session, event)], version)
            await store.committed()

    began = time.perf_counter()
    done: list[Deferred[None]] = [Deferred.fromCoroutine(writer(n)) for n in range(writers)]
    await gatherResults(done)
    took = time.perf_counter() - began
    store.close()
    return took


def groups(directory: Path) -> list[list[bytes]]:
    """Return the packed entries of each commit in a log."""
    commits = []
    for path in segments.list_segments(directory):
        with reader.mapped(path) as data:
            header = framing.unpack_header(data)
            assert header is not None
            commits += [
                [codec.pack([entry]) for entry in packing.unpack(frame.payload)]
                for frame in framing.Walk(data, header)
            ]
    return commits


def frames(committed: list[list[bytes]]) -> list[bytes]:
    """Return the frames of these commit groups."""
    packed_frames, seq = [], 1
    for packed in committed:
        packed_frames.append(
            framing.pack_frame(7, seq, len(packed), codec.join(len(packed), packed))
        )
        seq += len(packed)
    return packed_frames


def bare(path: Path, packed: list[bytes]) -> float:
    """Write and sync each frame of `packed`; return how many seconds it took."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    began = time.perf_counter()
    for frame in packed:
        os.write(descriptor, frame)
        os.fdatasync(descriptor)
    took = time.perf_counter() - began
    os.close(descriptor)
    return took


def sqlite(path: Path, transactions: list[list[bytes]]) -> float:
    """Insert the rows of each transaction; return how many seconds it took."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE event (seq INTEGER PRIMARY KEY, entry BLOB NOT NULL)")
    began = time.perf_counter()
    for rows in transactions:
        database.execute("BEGIN IMMEDIATE")
        database.executemany("INSERT INTO event (entry) VALUES (?)", [(row,) for row in rows])
        database.execute("COMMIT")
    took = time.perf_counter() - began
    database.close()
    return took


class Round(NamedTuple):
    """One run of every method."""

    seconds_per_event: dict[str, float]
    commits: int
    bytes_written: int


async def run_all(reactor: Any, place: Path, writers: int, appends: int) -> Round:
    """Run every method once, in `place`."""
    took = await append(reactor, place / "state", writers, appends)
    committed = groups(segments.log_directory(place / "state"))
    packed = frames(committed)
    single = [[row] for group in committed for row in group][: max(1, appends // 10)]
    return Round(
        {
            "wxgptd": took / appends,
            "the bare disk": bare(place / "raw", packed) / appends,
            "SQLite, the same groups": sqlite(place / "groups.db", committed) / appends,
            "SQLite, one by one": sqlite(place / "single.db", single) / len(single),
        },
        len(committed),
        sum(map(len, packed)),
    )


async def measure(reactor: Any, options: argparse.Namespace) -> None:
    """Run every method `--rounds` times, in turn, and print the medians."""
    appends = options.appends // options.writers * options.writers
    rounds = []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory(prefix="wxgptd-bench-", dir=options.directory) as place:
            rounds.append(await run_all(reactor, Path(place), options.writers, appends))
    print(
        f"{options.writers} writers, {appends:,} events of "
        f"{rounds[-1].bytes_written / appends:.0f} bytes, "
        f"{appends / rounds[-1].commits:.0f} per commit"
    )
    medians = {
        label: statistics.median(result.seconds_per_event[label] for result in rounds)
        for label in rounds[0].seconds_per_event
    }
    for label, each in medians.items():
        print(
            f"{label:<26}{1 / each:10,.0f} events/s   "
            f"wxgptd's rate is {each / medians['wxgptd']:5.2f} of it"
        )


def main() -> None:
    """Measure and print the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--writers", type=int, default=64)
    parser.add_argument("--appends", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--directory", type=Path, default=Path.cwd())
    options = parser.parse_args()
    react(lambda reactor: ensureDeferred(measure(reactor, options)), [])


if __name__ == "__main__":
    main()
