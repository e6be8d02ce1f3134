"""Thousands of questions held at once: is each answered, how late, and at what memory?

    python bench/hold.py [--questions 5000] [--model-seconds 6]

The real daemon; a model server that answers every question at the same time; and as many users
as there are questions, each playing WeChat with its real patience: a new connection for each
attempt, five seconds, then the next attempt. The delay of a reply is the time from the moment
the model had answered to the moment the reply was there; the model's server and WeChat are
processes of their own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import re
import resource
import statistics
import time
from multiprocessing.connection import Connection
from pathlib import Path

import support

ANSWER = "天空是蓝色的，因为空气把蓝光散射得更多。"


async def model(port: int, at_s: float, told: Connection) -> None:
    """Answer every question `at_s` after the first one came."""
    began: list[float] = []
    calls = 0
    chunk = {"choices": [{"index": 0, "delta": {"content": ANSWER}, "finish_reason": None}]}
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    body = f"data: {json.dumps(chunk)}\n\ndata: {json.dumps(end)}\n\ndata: [DONE]\n\n".encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        try:
            asked = await reader.readuntil(b"\r\n\r\n")
            length = int(re.search(rb"(?i)content-length: (\d+)", asked).group(1))  # type: ignore[union-attr]
            await reader.readexactly(length)
            calls += 1
            if not began:
                began.append(time.monotonic())
                told.send(began[0] + at_s)
            await asyncio.sleep(began[0] + at_s - time.monotonic())
            writer.write(head + body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port, backlog=10_000)
    told.send("listening")
    while not told.poll():  # noqa: ASYNC110 (it is told by another process)
        await asyncio.sleep(0.1)
    told.recv()
    told.send(calls)
    server.close()


def run_model(port: int, at_s: float, told: Connection) -> None:
    """Run the model in this process."""
    support.raise_file_limit()
    asyncio.run(model(port, at_s, told))


class Outcome:
    """What one user saw, and when."""

    def __init__(self) -> None:
        self.attempts = 0
        self.reply = ""
        self.at = 0.0


async def exchange(port: int, head: bytes, body: bytes) -> bytes:
    """Make one attempt on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(head + body)
        return await reader.read(65_536)
    finally:
        writer.close()


async def ask(port: int, user: str, number: int, outcome: Outcome) -> None:
    """Deliver one message the way WeChat does."""
    head, body = support.text_request(user, number, "为什么天是蓝的？", port)
    for attempt in (1, 2, 3):
        outcome.attempts = attempt
        try:
            reply = await asyncio.wait_for(exchange(port, head, body), timeout=5.0)
        except (TimeoutError, ConnectionError):
            continue
        if b"<Content>" in reply:
            outcome.at = time.monotonic()
            outcome.reply = reply.decode()
            return


async def users(port: int, count: int, open_sessions: bool) -> list[Outcome]:
    """Have `count` users open a session, or ask, all within a second."""
    outcomes = [Outcome() for _ in range(count)]

    async def one(number: int) -> None:
        await asyncio.sleep(number / count)
        if open_sessions:
            head, body = support.text_request(f"oUser{number:07d}", number, "/chatgpt", port)
            await exchange(port, head, body)
        else:
            await ask(port, f"oUser{number:07d}", 10_000_000 + number, outcomes[number])

    await asyncio.gather(*(one(number) for number in range(count)))
    return outcomes


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--questions", type=int, default=5_000)
    parser.add_argument("--model-seconds", type=float, default=6.0)
    options = parser.parse_args()
    support.raise_file_limit()
    model_port = support.free_port()
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.Process(
        target=run_model, args=(model_port, options.model_seconds, theirs)
    )
    server.start()
    assert ours.recv() == "listening"
    with support.Daemon(
        model=f"http://127.0.0.1:{model_port}/v1",
        extra="[window]\ndeliberate_timeouts_per_5min = 1000000\n",
    ) as daemon:
        for begin in range(0, options.questions, 500):  # gently: this is not what is measured
            asyncio.run(users(daemon.port, min(500, options.questions - begin), True))
        asyncio.run(users(daemon.port, options.questions, True))
        before = daemon.rss_bytes()
        peak = before

        async def measured() -> list[Outcome]:
            nonlocal peak

            async def watch() -> None:
                nonlocal peak
                while True:
                    await asyncio.sleep(0.5)
                    peak = max(peak, daemon.rss_bytes())

            watching = asyncio.create_task(watch())
            found = await users(daemon.port, options.questions, False)
            watching.cancel()
            return found

        outcomes = asyncio.run(measured())
    ready_at = ours.recv()
    ours.send("stop")
    calls = ours.recv()
    server.join()
    answered = [one for one in outcomes if ANSWER in one.reply]
    delays = sorted(one.at - ready_at for one in answered)
    by_attempt = {n: sum(one.attempts == n for one in answered) for n in (1, 2, 3)}
    print(f"questions {options.questions}, model calls {calls}")
    print(
        f"answered {len(answered)}, by attempt {by_attempt}, lost {len(outcomes) - len(answered)}"
    )
    if delays:
        p99 = delays[int(len(delays) * 0.99) - 1]
        print(f"reply behind the model: median {statistics.median(delays):.2f} s, p99 {p99:.2f} s")
    per = (peak - before) / options.questions
    print(f"memory: {per / 1024:.1f} KiB a held question ({peak / 2**20:.0f} MiB in all)")
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"(children's CPU {usage.ru_utime + usage.ru_stime:.1f} s) {Path(__file__).name}")


if __name__ == "__main__":
    main()
