"""Injuries to a log as functions of its bytes, and logs to injure."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.support.builders import ALICE, History, complete, offer
from wxgptd.domain.model.events import Event
from wxgptd.domain.model.values import User
from wxgptd.eventlog import codec, formats, framing, master_key, reader, recovery, segments
from wxgptd.eventlog.keyring import Keyring
from wxgptd.eventlog.writer import Listener, SegmentBounds, Writer
from wxgptd.ports.record import Recorded

MASTER = b"m" * 32


def keep_master(state_dir: Path) -> None:
    """Put the master key where the daemon would."""
    path = master_key.master_path(state_dir)
    segments.make_private_directory(path.parent)
    segments.write_durably(path, base64.b64encode(MASTER))


Injury = Callable[[bytes], bytes]


def conversation(turns: int = 3) -> list[Event]:
    """Return the events of one user who asks questions and gets answers."""
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
    """Append `events`, one commit each; return the newest segment's bytes after each commit.

    The bytes do not include the room for later commits.
    """
    segments.make_private_directory(directory)
    keys = keyring_of(directory)
    if not keys.is_whole:
        keys.write()
    durable = threading.Semaphore(0)
    failures: list[Exception] = []
    writer = Writer(
        directory,
        recovery.make_ready(directory),
        keys,
        Listener(
            on_durable=lambda place, token: durable.release(),
            on_failure=failures.append,
            on_full=lambda full: None,
        ),
        SegmentBounds(segment_bytes),
    )
    snapshots = []
    sessions = formats.Sessions()
    for number, event in enumerate(events, previous):
        session = sessions.note(Recorded(0, user, "", number, event))
        existing = keys.of(user)
        key = existing or keys.make(user)
        new_key = None if existing else key
        writer.append([codec.encode(key, number, session, event)], new_key)
        writer.flush()
        assert durable.acquire(timeout=10), failures
        data = segments.list_segments(directory)[-1].read_bytes()
        snapshots.append(data[: end_of(data)])
    if seal:
        writer.close()
    assert not failures
    return snapshots


def end_of(data: bytes) -> int:
    """Return where the last complete commit of an undamaged segment ends."""
    header = framing.unpack_header(data)
    assert header is not None
    return framing.tail_of(memoryview(data), header).end


def read(directory: Path, after: int = 0) -> list[Recorded]:
    keys = keyring_of(directory)
    return [codec.require(record) for record in reader.scan(directory, keys, after)]


def keyring_of(directory: Path) -> Keyring:
    """Return the keys of the log in `directory`, which are stored beside it."""
    segments.make_private_directory(segments.keys_directory(directory.parent))
    return Keyring(segments.keyring_path(directory.parent), MASTER)


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
    for damage in injuries:
        data = damage(data)
    path.write_bytes(data)
