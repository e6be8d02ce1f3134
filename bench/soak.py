"""A long run with users who come and go: does memory, or anything else, grow with time?

    python bench/soak.py [--minutes 30] [--users 2000] [--rate 60]

At any time there are `users` people. Each has a few conversations, at random moments, and leaves the
account, which erases them; then another takes their place. So nothing may grow but the log. Each
conversation is a command, a question that a model answers at once, a look
at the history's page, and for those who leave the event of leaving. One line a minute (`--every`): what the
process holds, what the log has, and how late replies were. The last line compares the last third
of the run with the third before it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os
import random
import re
import statistics
import time
from pathlib import Path
from typing import NamedTuple

import support
import webhook
from growth import LEAVE

CONVERSATIONS = 5
"""So many conversations later, a user leaves."""

LINK = re.compile(r"/h/[\w-]{22}")


class Line(NamedTuple):
    """One line of the table."""

    conversations: int
    failed: int
    rss_mib: float
    descriptors: int
    threads: int
    log_mib: float
    p50_ms: float
    p99_ms: float


class Crowd:
    """The users. `late_s` are the times that replies took since the last line."""

    def __init__(self, daemon: support.Daemon, users: int) -> None:
        self._port = daemon.port
        self._numbers = itertools.count(1)
        self.late_s: list[float] = []
        self._met = [0] * users
        self.conversations = 0
        self.failed = 0

    async def converse(self) -> None:
        """Have one conversation, of someone who comes back or of someone who leaves."""
        self.conversations += 1
        try:
            await self._converse()
        except OSError:
            self.failed += 1

    async def _converse(self) -> None:
        place = random.randrange(len(self._met))
        self._met[place] += 1
        person, met = divmod(self._met[place], CONVERSATIONS)
        leaves = met == CONVERSATIONS - 1
        name = f"user{place}-{person}"
        await self._say(name, "/chatgpt")
        answered = "蓝光" in await self._say(name, "为什么天是蓝的？")
        link = LINK.search(await self._say(name, "/history"))
        page = await self._exchange(f"GET {link[0]} HTTP/1.0\r\n\r\n".encode()) if link else ""
        self.failed += not (answered and "蓝光" in page)
        if leaves:
            await self._say(name, "", LEAVE.format(user=name, at=int(time.time())))

    async def _say(self, name: str, text: str, xml: str = "") -> str:
        number = next(self._numbers)
        head, body = support.text_request(name, number, text, self._port, xml=xml)
        began = time.monotonic()
        reply = await self._exchange(head + body)
        self.late_s.append(time.monotonic() - began)
        return reply

    async def _exchange(self, request: bytes) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(request)
            return (await reader.read()).decode("utf-8", "replace")
        finally:
            writer.close()


def disk_usage(directory: Path) -> int:
    """Return the size of the files in `directory`, some of which may just be disappearing."""
    size = 0
    for path in directory.iterdir():
        with contextlib.suppress(FileNotFoundError):
            size += path.stat().st_size
    return size


def sample(daemon: support.Daemon, state: Path, crowd: Crowd) -> Line:
    """Return the figures since the last line."""
    late, crowd.late_s = crowd.late_s, []
    process = Path(f"/proc/{daemon.pid}")
    return Line(
        crowd.conversations,
        crowd.failed,
        daemon.rss_bytes() / 2**20,
        len(os.listdir(process / "fd")),
        len(os.listdir(process / "task")),
        disk_usage(state / "log") / 2**20,
        1e3 * statistics.median(late),
        1e3 * statistics.quantiles(late, n=100)[98],
    )


async def soak(daemon: support.Daemon, state: Path, options: argparse.Namespace) -> list[Line]:
    """Run for so many minutes, printing a line from time to time."""
    crowd, lines = Crowd(daemon, options.users), list[Line]()
    running: set[asyncio.Task[None]] = set()
    began = time.monotonic()
    print(
        "seconds  conversations  failed   RSS MiB  descriptors  threads  log MiB   p50 ms   p99 ms"
    )
    while len(lines) * options.every < options.minutes * 60.0:
        line_ends = began + options.every * (len(lines) + 1)
        while (now := time.monotonic()) < line_ends:
            task = asyncio.create_task(crowd.converse())
            running.add(task)
            task.add_done_callback(running.discard)
            due = began + crowd.conversations / options.rate
            await asyncio.sleep(max(0.0, min(due, line_ends) - now))
        lines.append(line := sample(daemon, state, crowd))
        print(
            f"{len(lines) * options.every:7.0f}  {line.conversations:13,}  {line.failed:6,}  {line.rss_mib:8.1f}  {line.descriptors:11}"
            f"  {line.threads:7}  {line.log_mib:7.1f}  {line.p50_ms:7.1f}  {line.p99_ms:7.1f}",
            flush=True,
        )
    await asyncio.gather(*running)
    return lines


def main() -> None:
    """Run and compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--every", type=float, default=60.0, help="seconds from line to line")
    parser.add_argument("--users", type=int, default=2_000)
    parser.add_argument("--rate", type=float, default=60.0, help="conversations a second")
    options = parser.parse_args()
    support.raise_file_limit()
    model_port = support.free_port()
    model = webhook.started(webhook.MODEL, model_port)
    try:
        with support.Daemon(f"http://127.0.0.1:{model_port}/v1") as daemon:
            lines = asyncio.run(soak(daemon, daemon.config.parent / "state", options))
    finally:
        model.kill()
    third = len(lines) // 3
    if third:
        before, after = lines[-2 * third : -third], lines[-third:]
        for name in ("rss_mib", "descriptors", "threads", "p50_ms", "p99_ms"):
            one, two = (
                statistics.fmean(getattr(x, name) for x in part) for part in (before, after)
            )
            print(f"{name}: {one:.1f}, then {two:.1f} ({two / one:.2f})")


if __name__ == "__main__":
    main()
