"""Thousands of questions held at once: is each answered, how late, and at what cost in memory?

    python bench/hold.py [--questions 5000] [--model-seconds 6] [--within 5]

This runs the real daemon, a model server that takes six seconds for each answer, and one user per
question. The users ask within five seconds, so that all questions are held at once. Each user
behaves like WeChat, with its real timeouts: a new connection for each attempt, five seconds, then
the next attempt. A reply's delay is the time from the model's answer to the reply's arrival. The
model server and WeChat are separate processes on the same machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import re
import statistics
import time
from multiprocessing.connection import Connection

import support

ANSWER = "天空是蓝色的，因为空气把蓝光散射得更多。"


async def model(port: int, at_s: float, control: Connection) -> None:
    """Answer every question `at_s` seconds after it arrived, and record when."""
    sent: list[tuple[int, float]] = []
    chunk = {"choices": [{"index": 0, "delta": {"content": ANSWER}, "finish_reason": None}]}
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    body = f"data: {json.dumps(chunk)}\n\ndata: {json.dumps(end)}\n\ndata: [DONE]\n\n".encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request_head = await reader.readuntil(b"\r\n\r\n")
            length = int(re.search(rb"(?i)content-length: (\d+)", request_head).group(1))  # type: ignore[union-attr]
            question = (await reader.readexactly(length)).decode()
            await asyncio.sleep(at_s)
            sent.append((int(re.findall(r"编号(\d+)", question)[-1]), time.monotonic()))
            writer.write(head + body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port, backlog=10_000)
    control.send("listening")
    while not control.poll():  # noqa: ASYNC110 (the signal comes from another process)
        await asyncio.sleep(0.1)
    control.recv()
    control.send(sent)
    server.close()


def run_model(port: int, at_s: float, control: Connection) -> None:
    """Run the model in this process."""
    support.raise_file_limit()
    asyncio.run(model(port, at_s, control))


class Outcome:
    """One user's reply, and when it arrived."""

    def __init__(self) -> None:
        self.attempts = 0
        self.reply = ""
        self.at = 0.0


async def exchange(port: int, head: bytes, body: bytes) -> bytes:
    """Make one attempt on a new connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(head + body)
        return await reader.read(65_536)
    finally:
        writer.close()


async def ask(port: int, user: str, number: int, outcome: Outcome) -> None:
    """Deliver one message the way WeChat does."""
    text = f"为什么天是蓝的？编号{number}"
    head, body = support.text_request(user, 10_000_000 + number, text, port)
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


async def users(port: int, count: int, within_s: float, *, opening: bool) -> list[Outcome]:
    """Let `count` users open a session, or ask, evenly spread over `within_s` seconds."""
    outcomes = [Outcome() for _ in range(count)]

    async def user(number: int) -> None:
        await asyncio.sleep(within_s * number / count)
        if opening:
            head, body = support.text_request(f"oUser{number:07d}", number, "/chatgpt", port)
            await exchange(port, head, body)
        else:
            await ask(port, f"oUser{number:07d}", number, outcomes[number])

    await asyncio.gather(*(user(number) for number in range(count)))
    return outcomes


def main() -> None:
    """Measure and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--questions", type=int, default=5_000)
    parser.add_argument("--model-seconds", type=float, default=6.0)
    parser.add_argument("--within", type=float, default=5.0)
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
        opening_s = options.questions / 400  # slowly: opening sessions is not measured
        asyncio.run(users(daemon.port, options.questions, opening_s, opening=True))
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
            outcomes = await users(daemon.port, options.questions, options.within, opening=False)
            watching.cancel()
            return outcomes

        outcomes = asyncio.run(measured())
    ours.send("stop")
    sent = ours.recv()
    server.join()
    ready_at = dict(sent)
    answered = [outcome for outcome in outcomes if ANSWER in outcome.reply]
    delays = sorted(
        outcome.at - ready_at[number]
        for number, outcome in enumerate(outcomes)
        if ANSWER in outcome.reply
    )
    by_attempt = {n: sum(outcome.attempts == n for outcome in answered) for n in (1, 2, 3)}
    print(f"questions {options.questions}, model calls {len(sent)}")
    print(
        f"answered {len(answered)}, by attempt {by_attempt}, lost {len(outcomes) - len(answered)}"
    )
    if delays:
        p99 = delays[int(len(delays) * 0.99) - 1]
        print(f"delay after the model: median {statistics.median(delays):.2f} s, p99 {p99:.2f} s")
    per = (peak - before) / options.questions
    print(f"memory: {per / 1024:.1f} KiB per held question ({peak / 2**20:.0f} MiB in total)")


if __name__ == "__main__":
    main()
