"""What can happen to a log directory, as functions of it; and logs to do it to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.support.builders import ALICE, History, complete, offer
from wxgptd.domain.events import Event
from wxgptd.domain.record import Recorded
from wxgptd.domain.values import User
from wxgptd.eventlog import codec, reader, recovery, segments
from wxgptd.eventlog.writer import Writer

Injury = Callable[[bytes], bytes]


def conversation(turns: int = 3) -> list[Event]:
    """The events of one user who asks and is answered."""
    history = History()
    history.say("/chatgpt", "m0", session="s1")
    for n in range(turns):
        history.say(f"问题 {n}：为什么？", f"q{n}", at=float(n))
        history.do(complete(f"q{n}", f"因为第 {n} 个原因。", at=n + 0.5))
        history.do(offer(f"q{n}", at=n + 0.6))
    return history.events


def write(
    directory: Path,
    events: Sequence[Event],
    *,
    user: User = ALICE,
    segment_bytes: int = 1 << 26,
    seal: bool = True,
    previous: int = 0,
) -> list[bytes]:
    """Append `events` one commit each; return what the newest segment's bytes were after each."""
    segments.make_private_directory(directory)
    durable = threading.Semaphore(0)
    failures: list[Exception] = []
    writer = Writer(
        directory,
        recovery.make_ready(directory),
        on_durable=lambda tokens: durable.release(len(tokens)),
        on_failure=failures.append,
        on_full=lambda full: None,
        segment_bytes=segment_bytes,
    )
    snapshots = []
    for number, event in enumerate(events, previous):
        writer.append([codec.encode(user, number, event)], None)
        writer.flush()
        assert durable.acquire(timeout=10), failures
        snapshots.append(segments.list_segments(directory)[-1].read_bytes())
    if seal:
        writer.close()
    assert not failures
    return snapshots


def read(directory: Path, after: int = 0) -> list[Recorded]:
    return [codec.require(record) for record in reader.scan(directory, after)]


def events(directory: Path) -> list[Event]:
    return [record.event for record in read(directory)]


def only_segment(directory: Path) -> Path:
    (path,) = segments.list_segments(directory)
    return path


def flip(offset: int, bit: int = 0) -> Injury:
    def injure(data: bytes) -> bytes:
        return data[:offset] + bytes([data[offset] ^ (1 << bit)]) + data[offset + 1 :]

    return injure


def truncate(size: int) -> Injury:
    return lambda data: data[:size]


def append(junk: bytes) -> Injury:
    return lambda data: data + junk


def injure(path: Path, *injuries: Injury) -> None:
    data = path.read_bytes()
    for one in injuries:
        data = one(data)
    path.write_bytes(data)
