"""What grows with the number of users: start, memory, latency, snapshots and erasures.

    python bench/growth.py [--users 20000,200000] [--rate 150] [--seconds 15]
    python bench/growth.py --events 1000,10000,100000

For each number of users, a log with ten events per user is written, and the daemon started on it:
without a snapshot, and with one. Then messages arrive at a constant rate, whether or not earlier
ones have been answered (an open loop): with nothing else going on, while a snapshot is taken, and
while users leave. The last column is the exponent e in y = a * users^e, fitted to the largest and
the smallest number of users: 0 if a value does not grow.

With `--events`, what grows with the events of a single user: they are in sessions of 34 events each,
or of two. No daemon runs; the state is folded from the events, read from its bytes in a snapshot,
searched for a question that it does not have, as each message does, and a session in it is closed.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import gc
import itertools
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import reduce
from math import log
from pathlib import Path

import population
import replay
from support import Daemon, text_request

from wxgptd.domain.evolve import evolve
from wxgptd.domain.model import events as e
from wxgptd.domain.model.state import EMPTY
from wxgptd.domain.model.values import AssistantName, CloseReason, DeliveryKey, SessionId
from wxgptd.eventlog import segments, snapshotting, state_codec

MASTER = b"m" * 32
ACTIVE_SHARE = 0.1
LEAVE_EVERY_S = 0.2

LEAVE = (
    "<xml><ToUserName><![CDATA[gh_bench]]></ToUserName>"
    "<FromUserName><![CDATA[{user}]]></FromUserName><CreateTime>{at}</CreateTime>"
    "<MsgType><![CDATA[event]]></MsgType><Event><![CDATA[unsubscribe]]></Event>"
    "<EventKey><![CDATA[]]></EventKey></xml>"
)


def prepare(state_dir: Path, users: int) -> int:
    """Write a log with so many users; return the number of its events."""
    state_dir.mkdir(mode=0o700)
    population.write(state_dir, users, int(users * ACTIVE_SHARE), MASTER, time.time())
    (segments.keys_directory(state_dir) / "links").write_bytes(b"k" * 32)
    (segments.keys_directory(state_dir) / "master").write_bytes(base64.b64encode(MASTER))
    for path in state_dir.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    return 10 * users


class Load:
    """Messages at a constant rate."""

    def __init__(self, daemon: Daemon, users: int, rate: float) -> None:
        self._daemon = daemon
        self._users = users
        self._rate = rate
        self._numbers = iter(range(1, 1_000_000_000))
        self._random = random.Random(7)

    async def ask(self, user: int, text: str = "/help", xml: str = "") -> float:
        """Send a message; return how many seconds the reply took."""
        number = next(self._numbers)
        name = population.user_number(user).openid
        head, body = text_request(name, number, text, self._daemon.port, xml=xml)
        began = time.perf_counter()
        reader, writer = await asyncio.open_connection("127.0.0.1", self._daemon.port)
        writer.write(head + body)
        answer = await reader.read()
        writer.close()
        assert b" 200 " in answer[:20], answer[:200]
        return time.perf_counter() - began

    async def run(self, seconds: float, users: Callable[[], int]) -> list[float]:
        """Send messages for so long; return how long each reply took, in milliseconds."""
        asked: list[asyncio.Task[float]] = []
        began = time.perf_counter()
        while (due := began + len(asked) / self._rate) < began + seconds:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            asked.append(asyncio.create_task(self.ask(users())))
        return [1_000 * took for took in await asyncio.gather(*asked)]

    def anyone(self) -> int:
        """Return a random user: most of them have not been loaded yet."""
        return self._random.randrange(self._users)

    async def leave(self, seconds: float) -> int:
        """Let users leave for so long; return how many did."""
        count, ends = 0, time.perf_counter() + seconds
        while time.perf_counter() < ends:
            user, at = self.anyone(), int(time.time())
            name = population.user_number(user).openid
            await self.ask(user, xml=LEAVE.format(user=name, at=at))
            count += 1
            await asyncio.sleep(LEAVE_EVERY_S)
        return count


def p(share: float, values: list[float]) -> float:
    """Return a percentile."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


async def vacuum(daemon: Daemon) -> float:
    """Have a snapshot taken; return how many seconds that took."""
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "wxgpt", "--config", str(daemon.config), "log", "vacuum",
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    assert await process.wait() == 0
    return time.perf_counter() - began


async def measure(daemon: Daemon, users: int, rate: float, seconds: float) -> dict[str, float]:
    """Measure latencies, in milliseconds."""
    load = Load(daemon, users, rate)
    for _ in range(50):
        await load.ask(load.anyone())
    few = [load.anyone() for _ in range(100)]
    for user in few:
        await load.ask(user)
    loaded = [1_000 * await load.ask(user) for user in few]
    unloaded = [1_000 * await load.ask(load.anyone()) for _ in range(200)]
    quiet = await load.run(seconds, load.anyone)
    snapshot = asyncio.create_task(vacuum(daemon))
    during = await load.run(2.0, load.anyone)
    while not snapshot.done():
        during += await load.run(2.0, load.anyone)
    leaving = asyncio.create_task(load.leave(seconds))
    erasing = await load.run(seconds, load.anyone)
    await leaving
    return {
        "message of a loaded user, ms": statistics.median(loaded),
        "of a user who is not loaded, ms": statistics.median(unloaded),
        "quiet, p50 ms": p(0.5, quiet),
        "quiet, p99 ms": p(0.99, quiet),
        "during a snapshot, p50 ms": p(0.5, during),
        "during a snapshot, p99 ms": p(0.99, during),
        "the snapshot, s": await snapshot,
        "while users leave, p99 ms": p(0.99, erasing),
    }


def started(state_dir: Path) -> Iterator[tuple[Daemon, float]]:
    """Yield a running daemon, and how many seconds its start took."""
    began = time.perf_counter()
    with Daemon(state_dir=state_dir) as daemon:
        yield daemon, time.perf_counter() - began


def grown(users: int, rate: float, seconds: float, empty: tuple[float, int]) -> dict[str, float]:
    """Measure one number of users; `empty` is the start and memory of an empty daemon."""
    root = Path(tempfile.mkdtemp(prefix="wxgptd-growth-"))
    state_dir = root / "state"
    try:
        last_seq = prepare(state_dir, users)
        result: dict[str, float] = {}
        for daemon, took in started(state_dir):
            result["start without a snapshot, s"] = took - empty[0]
            result["memory without one, bytes per user"] = (daemon.rss_bytes() - empty[1]) / users
        for path in segments.list_snapshots(segments.log_directory(state_dir)):
            path.unlink()
        snapshotting.take(snapshotting.Job(state_dir, last_seq, {}, 0.0, 0.0, 0.0), MASTER)
        for daemon, took in started(state_dir):
            result["start with a snapshot, s"] = took - empty[0]
            result["memory with one, bytes per user"] = (daemon.rss_bytes() - empty[1]) / users
            result |= asyncio.run(measure(daemon, users, rate, seconds))
        return result
    finally:
        shutil.rmtree(root)


def short_sessions() -> Iterator[e.Event]:
    """Yield the events of sessions in which nothing was asked."""
    for number in itertools.count():
        session, at = SessionId(f"s{number}"), number * 400.0
        yield e.SessionOpened(at=at, session=session, assistant=AssistantName("a"), ttl_s=300.0)
        yield e.SessionClosed(at=at + 300.0, session=session, reason=CloseReason.EXPIRED)


def long_sessions() -> Iterator[e.Event]:
    """Yield the events of sessions with eight questions each."""
    for number in itertools.count():
        yield from replay.conversation(number)


def timed(work: Callable[[], object]) -> float:
    """Return how many milliseconds `work` takes."""
    began = time.perf_counter()
    work()
    return 1_000 * (time.perf_counter() - began)


def one_user(count: int) -> dict[str, float]:
    """Measure one number of events."""
    result: dict[str, float] = {}
    for shape, source in (("long", long_sessions()), ("short", short_sessions())):
        events = list(itertools.islice(source, count))
        result[f"{shape} sessions: folded, ms"] = timed(lambda: reduce(evolve, events, EMPTY))  # noqa: B023
        state = reduce(evolve, events, EMPTY)
        packed = state_codec.pack_state(state)
        result[f"{shape} sessions: read, ms"] = min(
            timed(lambda: state_codec.unpack_state(packed))  # noqa: B023
            for _ in range(3)
        )
        state.find(DeliveryKey("none"))
        result[f"{shape} sessions: searched, µs"] = 1_000 * timed(
            lambda: state.find(DeliveryKey("none"))  # noqa: B023
        )
        session = state.past[-1]
        result[f"{shape} sessions: closed, µs"] = 1_000 * timed(
            lambda: state.past.appended(session)  # noqa: B023
        )
    return result


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--users", default="20000,200000")
    parser.add_argument("--events", default="", help="a single user's events, instead of users")
    parser.add_argument("--rate", type=float, default=150.0)
    parser.add_argument("--seconds", type=float, default=15.0)
    options = parser.parse_args()
    sizes = [int(size) for size in (options.events or options.users).split(",")]
    if options.events:
        gc.disable()
        columns = [one_user(size) for size in sizes]
    else:
        began = time.perf_counter()
        with Daemon() as daemon:
            empty = time.perf_counter() - began, daemon.rss_bytes()
        columns = [grown(size, options.rate, options.seconds, empty) for size in sizes]
    print(f"{'':38}" + "".join(f"{size:>12,}" for size in sizes) + f"{'exponent':>10}")
    for name in columns[0]:
        values = [column[name] for column in columns]
        fitted = ""
        if len(sizes) > 1 and min(values) > 0:
            fitted = f"{log(values[-1] / values[0]) / log(sizes[-1] / sizes[0]):.2f}"
        print(f"{name:38}" + "".join(f"{value:12.2f}" for value in values) + f"{fitted:>10}")


if __name__ == "__main__":
    main()
