"""The cost of a start: read a log of a million events, compared with bare msgpack unpacking.

    python bench/replay.py [--events 1000000] [--rounds 3]

The log contains the events of 20,000 users: sessions, questions, repeated attempts, answers and
replies, with one session every five minutes and 32 events per commit group. These take turns, each
in its own process:

- msgpack alone: the same events as plain arrays, not encrypted, unpacked and discarded;
- decoded: every record, decrypted, as `wxgpt tail` reads it;
- a start: what the daemon does before it is ready, including projections;
- a start with a snapshot of nine tenths of the events, as `snapshot_every` writes it;
- folded: a start, and then a fold of every user's state, which no real start does.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import os
import shutil
import statistics
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import msgpack

from wxgptd.domain.decide import commands as c
from wxgptd.domain.decide.decider import decide
from wxgptd.domain.evolve import evolve
from wxgptd.domain.intake.phrases import Vocabulary
from wxgptd.domain.intake.routing import Message
from wxgptd.domain.model.events import AnswerCompleted, Event
from wxgptd.domain.model.state import EMPTY
from wxgptd.domain.model.values import (
    AccountName,
    AnswerUsage,
    AssistantName,
    DeliveryKey,
    Finish,
    LinkHash,
    OpenId,
    Policy,
    SessionId,
    Text,
    User,
)
from wxgptd.eventlog import codec, framing, reader, segments, snapshotting
from wxgptd.eventlog.callbacks import StoreListener, Turns
from wxgptd.eventlog.keyring import Keyring
from wxgptd.eventlog.store import LogStore
from wxgptd.service.state.earlier_links import EarlierLinks
from wxgptd.service.state.journal import Journal
from wxgptd.service.state.projections import ModelCalibration, OpenSessions
from wxgptd.service.state.timeouts import DeliberateTimeouts

GROUP = 32
MASTER = b"m" * 32
BEGAN_AT = 1_700_000_000.0
SESSIONS_APART_S = 300.0
SEGMENT_BYTES = 64 * 1024 * 1024
ASSISTANTS = {"/chatgpt": AssistantName("chatgpt")}
VOCABULARY = Vocabulary(ASSISTANTS)
USAGE = AnswerUsage(AssistantName("chatgpt"), 120, 90, prompt_bytes=400, cost=0.001)
ANSWER = "天空呈现蓝色，是因为空气分子对短波长的蓝光散射得更强。" * 3


def conversation(n: int, turns: int = 7) -> list[Event]:
    """Return the events of one session, as the decider produces them."""
    state, events, at = EMPTY, [], BEGAN_AT + n * SESSIONS_APART_S
    texts = ["/chatgpt", *(f"第 {turn} 个问题：天为什么是蓝的？" for turn in range(turns)), "/stop"]

    def do(command: c.Command) -> None:
        nonlocal state
        for event in decide(state, command):
            state = evolve(state, event)
            events.append(event)

    for number, text in enumerate(texts):
        at += 20
        delivery = DeliveryKey(str(6_000_000_000_000_000_000 + n * 100 + number))
        message = Message(
            delivery=delivery, content=Text(text), phrase=VOCABULARY.read(Text(text)),
            assistants=ASSISTANTS,
        )  # fmt: skip
        receive = c.Receive(
            at=at, message=message, policy=Policy(),
            fresh_session=SessionId(f"{n:010x}"), link=LinkHash(b"%032d" % (n * 100 + number)),
            day_began_at=0.0, day_ends_at=86_400.0,
        )  # fmt: skip
        do(receive)
        if not text.startswith("/"):
            do(receive)  # WeChat's second attempt
            do(
                c.RecordFact(
                    AnswerCompleted(
                        at=at + 6, question=delivery, text=ANSWER, finish=Finish.STOP,
                        model="m-1", first_text_s=0.8, took_s=6.0, usage=USAGE,
                    )
                )
            )  # fmt: skip
            do(c.OfferReply(at=at + 6, delivery=delivery, written="", room=1_900, policy=Policy()))
    return events


def stream(count: int, users: int) -> Iterator[tuple[User, int, SessionId, Event]]:
    """Yield `count` events of `users` users, each with one session after another."""
    sessions: list[list[tuple[int, Event]]] = [[] for _ in range(users)]
    versions, yielded, n = [0] * users, 0, 0
    while True:
        index = n % users
        user = User(AccountName("main"), OpenId(f"oUser{index:022d}"))
        session = SessionId(f"{n:010x}")
        for event in conversation(n):
            yield user, versions[index], session, event
            versions[index] += 1
            yielded += 1
            if yielded == count:
                return
        n += 1
        sessions[index].clear()


def write(state_dir: Path, count: int) -> tuple[int, list[bytes]]:
    """Write the log; return its size in bytes, and the same events as plain msgpack."""
    directory = segments.log_directory(state_dir)
    segments.make_private_directory(segments.keys_directory(state_dir))
    segments.make_private_directory(directory)
    keys = Keyring(segments.keyring_path(state_dir), MASTER)
    plain: list[bytes] = []
    group: list[tuple[object, ...]] = []

    def entries() -> Iterator[codec.Entry]:
        for user, previous, session, event in stream(count, users=max(1, count // 50)):
            fields = [getattr(event, field.name) for field in dataclasses.fields(event)]
            group.append((1, 1, event.at, *user, previous, fields))
            if len(group) == GROUP:
                plain.append(msgpack.packb(group))
                group.clear()
            key = keys.of(user) or keys.make(user)
            yield codec.encode(key, previous, session, event)

    write_groups(directory, entries())
    plain.append(msgpack.packb(group))
    keys.write()
    return sum(path.stat().st_size for path in segments.list_segments(directory)), plain


def write_groups(directory: Path, entries: Iterator[codec.Entry]) -> None:
    """Write `entries` in commit groups of the usual size."""
    file, size, seq, key = None, 0, 1, 0x5EED
    while group := list(islice(entries, GROUP)):
        if file is None or size >= SEGMENT_BYTES:
            if file is not None:
                file.write(framing.pack_footer(key, seq))
                file.close()
            file, size = segments.create(directory / segments.segment_name(seq)), 0
            file.write(framing.pack_header(framing.Header(seq, time.time(), key)))
        payload = codec.join(len(group), [codec.pack(group)])
        size += file.write(framing.pack_frame(key, seq, len(group), payload))
        seq += len(group)
    assert file is not None
    file.close()


def unpack_only(plain: list[bytes]) -> int:
    """Unpack plain arrays with msgpack, and nothing else."""
    return sum(len(msgpack.unpackb(group, use_list=False)) for group in plain)


def decode(state_dir: Path) -> int:
    """Decode every record."""
    keys = Keyring(segments.keyring_path(state_dir), MASTER)
    return sum(1 for _ in reader.scan(segments.log_directory(state_dir), keys))


def started(state_dir: Path, now: float) -> tuple[Journal, LogStore, int]:
    """Do what the daemon does before it is ready."""
    store = LogStore(
        state_dir,
        MASTER,
        Turns(lambda call: call(), lambda call: call()),
        StoreListener(print, print),
    )
    timeouts = DeliberateTimeouts(None, lambda: None)
    projections = (EarlierLinks(7 * 86_400.0, 0.0), OpenSessions(), timeouts, ModelCalibration())
    journal = Journal(store, projections, print)
    loaded = store.load(journal.since(now))
    journal.load(loaded, now)
    return journal, store, loaded.last_seq


def start(state_dir: Path, now: float) -> int:
    """Start and stop; return the last sequence number."""
    _, store, last_seq = started(state_dir, now)
    store.close()
    return last_seq


def fold(state_dir: Path, now: float) -> int:
    """Start, and fold the state of every user; return the number of events."""
    journal, store, _ = started(state_dir, now)
    versions = [journal.state(user).version for user in journal.users.newest(len(journal.users))]
    store.close()
    return sum(versions)


def with_snapshot(state_dir: Path, other: Path) -> None:
    """Copy the log, with a snapshot of its first nine tenths."""
    shutil.copytree(state_dir, other)
    directory = segments.log_directory(other)
    last_seq = reader.newest_seq(directory) * 9 // 10
    snapshotting.take(snapshotting.Job(other, last_seq, {}, 0.0, 0.0, 0.0), MASTER)


def timed(work: Callable[[], int], count: int) -> float:
    """Return how many seconds `work` takes in a process of its own.

    The garbage collector is off, as it is during a start.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        gc.disable()
        began = time.perf_counter()
        is_complete = work() == count
        os.write(writing, struct.pack("d", time.perf_counter() - began if is_complete else -1.0))
        os._exit(0)
    os.waitpid(child, 0)
    (seconds,) = struct.unpack("d", os.read(reading, 8))
    os.close(reading)
    os.close(writing)
    assert seconds >= 0, "the number of events differs from what was written"
    return float(seconds)


def main() -> None:
    """Measure and print the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        state_dir, other = Path(name) / "state", Path(name) / "other"
        size, plain = write(state_dir, options.events)
        now = BEGAN_AT + options.events / 31 * SESSIONS_APART_S
        with_snapshot(state_dir, other)
        print(f"{options.events:,} events, {size / options.events:.0f} bytes each", flush=True)
        works = {
            "msgpack alone": lambda: unpack_only(plain),
            "decoded": lambda: decode(state_dir),
            "a start": lambda: start(state_dir, now),
            "a start with a snapshot": lambda: start(other, now),
            "folded": lambda: fold(state_dir, now),
        }
        durations: dict[str, list[float]] = {label: [] for label in works}
        for _ in range(options.rounds):
            for label, work in works.items():
                durations[label].append(timed(work, options.events))
        bare = statistics.median(durations["msgpack alone"])
        for label, seconds in durations.items():
            median = statistics.median(seconds)
            print(
                f"{label:<24}{median:7.2f} s  {options.events / median / 1e6:5.2f} M events/s  "
                f"{bare / median:5.2f} times msgpack's rate"
            )


if __name__ == "__main__":
    main()
