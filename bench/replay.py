"""How long a start takes: replay a log of a million events, beside bare msgpack unpacking.

    python bench/replay.py [--events 1000000] [--rounds 3]

The log is what 20,000 users leave behind: sessions, questions, repeated attempts, answers and
replies, some 250 bytes an event, 32 events a commit group. Three readings of it, in turn, in one
process: the frames' payloads through msgpack alone; all records decoded; all records folded into
state, projections included, which is what the daemon does before it is ready.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgpack

from wxgptd.domain import commands as c
from wxgptd.domain.decider import decide
from wxgptd.domain.events import Event
from wxgptd.domain.state import EMPTY, evolve
from wxgptd.domain.values import (
    AccountName,
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
from wxgptd.eventlog import codec, framing, reader, segments
from wxgptd.eventlog.store import LogStore
from wxgptd.service.journal import Journal
from wxgptd.service.projections import DeliberateTimeouts, LinkIndex, OpenSessions

GROUP = 32
SEGMENT_BYTES = 64 * 1024 * 1024
ASSISTANTS = {"/chatgpt": AssistantName("chatgpt")}
ANSWER = "天空呈现蓝色，是因为空气分子对短波长的蓝光散射得更强。" * 3


def conversation(n: int, turns: int = 7) -> list[Event]:
    """Return the events of one session, as the decider decides them."""
    state, events, at = EMPTY, [], 1_700_000_000.0 + n
    said = ["/chatgpt", *(f"第 {turn} 个问题：天为什么是蓝的？" for turn in range(turns)), "/stop"]

    def do(command: c.Command) -> None:
        nonlocal state
        for event in decide(state, command):
            state = evolve(state, event)
            events.append(event)

    for number, text in enumerate(said):
        at += 20
        delivery = DeliveryKey(str(6_000_000_000_000_000_000 + n * 100 + number))
        receive = c.Receive(
            at=at, delivery=delivery, content=Text(text), policy=Policy(), assistants=ASSISTANTS,
            fresh_session=SessionId(f"{n:010x}"), link=LinkHash(b"%032d" % (n * 100 + number)),
            day_began_at=0.0, day_ends_at=86_400.0,
        )  # fmt: skip
        do(receive)
        if not text.startswith("/"):
            do(receive)  # WeChat's second attempt
            do(
                c.CompleteAnswer(
                    at=at + 6, question=delivery, text=ANSWER, finish=Finish.STOP, model="m-1",
                    prompt_tokens=120, completion_tokens=90, first_text_s=0.8, took_s=6.0,
                    assistant=AssistantName("chatgpt"), estimated=False, prompt_bytes=400, cost=0.001,
                )
            )  # fmt: skip
            do(c.OfferReply(at=at + 6, delivery=delivery, written="", room=1_900, policy=Policy()))
    return events


def stream(count: int, users: int) -> Iterator[tuple[User, int, Event]]:
    """Yield `count` events of `users` users, each having one session after the other."""
    sessions: list[list[tuple[int, Event]]] = [[] for _ in range(users)]
    versions, made, n = [0] * users, 0, 0
    while True:
        index = n % users
        user = User(AccountName("main"), OpenId(f"oUser{index:022d}"))
        for event in conversation(n):
            yield user, versions[index], event
            versions[index] += 1
            made += 1
            if made == count:
                return
        n += 1
        sessions[index].clear()


def write(directory: Path, count: int) -> int:
    """Write the log; return how many bytes it has."""
    segments.make_private_directory(directory)
    file, size, total, seq, key = None, 0, 0, 1, 0x5EED
    group: list[codec.Entry] = []

    def flush() -> None:
        nonlocal file, size, total, seq
        if file is None or size >= SEGMENT_BYTES:
            if file is not None:
                file.write(framing.pack_footer(key, seq))
                file.close()
            file = (directory / segments.segment_name(seq)).open("wb")
            file.write(framing.pack_header(framing.Header(seq, time.time(), key)))
            size = 0
        payload = codec.join(len(group), [codec.pack(group)])
        frame = framing.pack_frame(key, seq, len(group), payload)
        file.write(frame)
        size, total, seq = size + len(frame), total + len(frame), seq + len(group)
        group.clear()

    for user, previous, event in stream(count, users=max(1, count // 50)):
        group.append(codec.encode(user, previous, event))
        if len(group) == GROUP:
            flush()
    if group:
        flush()
    assert file is not None
    file.close()
    return total


def unpack_only(directory: Path) -> int:
    """Read each frame's payload with msgpack, and nothing else."""
    events = 0
    for path in segments.list_segments(directory):
        with reader.mapped(path) as data:
            position = framing.HEADER_BYTES
            while position + framing.HEAD_BYTES <= len(data):
                length = int.from_bytes(data[position + 4 : position + 8], "big")
                begin = position + framing.HEAD_BYTES
                if length:
                    events += len(
                        msgpack.unpackb(
                            data[begin : begin + length],
                            use_list=False,
                            unicode_errors="surrogatepass",
                        )
                    )
                position = begin + length
    return events


def decode(directory: Path) -> int:
    """Decode every record."""
    return sum(1 for _ in reader.scan(directory))


def replay(state_dir: Path) -> int:
    """Do what the daemon does before it is ready."""
    store = LogStore(
        state_dir,
        in_reactor=lambda call: call(),
        soon=lambda call: call(),
        on_failure=print,
        on_full=print,
    )
    journal = Journal(store, (LinkIndex(7 * 86_400.0), OpenSessions()))
    last = journal.load(store.scan(), DeliberateTimeouts(60))
    store.close()
    return last


def timed(work: Callable[[], int], count: int) -> float:
    """Return how many seconds `work` takes, with the collector off as at a start."""
    gc.collect()
    gc.disable()
    try:
        began = time.perf_counter()
        assert work() == count
        return time.perf_counter() - began
    finally:
        gc.enable()


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        state_dir = Path(name) / "state"
        segments.make_private_directory(state_dir)
        directory = segments.log_directory(state_dir)
        size = write(directory, options.events)
        print(f"{options.events:,} events, {size / options.events:.0f} bytes each", flush=True)
        works = {
            "msgpack alone": lambda: unpack_only(directory),
            "decoded": lambda: decode(directory),
            "replayed into state": lambda: replay(state_dir),
        }
        taken: dict[str, list[float]] = {label: [] for label in works}
        for _ in range(options.rounds):
            for label, work in works.items():
                taken[label].append(timed(work, options.events))
        bare = statistics.median(taken["msgpack alone"])
        for label, seconds in taken.items():
            middle = statistics.median(seconds)
            print(
                f"{label:<22}{middle:7.2f} s  {options.events / middle / 1e6:5.2f} M events/s  "
                f"{bare / middle:5.2f} of msgpack's rate"
            )


if __name__ == "__main__":
    main()
