"""Thousands of questions held at once: is each answered, how late, and at what cost in memory?

    python bench/hold.py [--questions 5000] [--model-seconds 6] [--within 5]
    python bench/hold.py --questions 3000,5000,10000,20000 --within 10

This runs the real daemon, a model server that takes six seconds for each answer, and one user per
question. The users ask within five seconds, so that all questions are held at once. Each user
behaves like WeChat, with its real timeouts: a new connection for each attempt, five seconds, then
the next attempt. A reply's delay is the time from the model's answer to the reply's arrival. The
model server and WeChat are separate processes on the same machine, and need a core of their own:
with only two, they slow the daemon down. `part, link` are replies in time, but without the answer.
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
from typing import NamedTuple

import support

from wxgptd.domain.replies.texts import Texts

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


class Result(NamedTuple):
    """What became of the questions. Delays are in seconds, memory in bytes for each question."""

    asked: int
    answered: int
    linked: int
    turned_away: int
    nothing: int
    model_calls: int
    p50_s: float
    p99_s: float
    memory: float


def measured(options: argparse.Namespace, questions: int) -> Result:
    """Let so many users ask one question each."""
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
        opening_s = questions / 400  # slowly: opening sessions is not measured
        asyncio.run(users(daemon.port, questions, opening_s, opening=True))
        before = daemon.rss_bytes()
        peak = before

        async def asking() -> list[Outcome]:
            nonlocal peak

            async def watch() -> None:
                nonlocal peak
                while True:
                    await asyncio.sleep(0.5)
                    peak = max(peak, daemon.rss_bytes())

            watching = asyncio.create_task(watch())
            outcomes = await users(daemon.port, questions, options.within, opening=False)
            watching.cancel()
            return outcomes

        outcomes = asyncio.run(asking())
    ours.send("stop")
    sent = ours.recv()
    server.join()
    ready_at = dict(sent)
    answered = [n for n, outcome in enumerate(outcomes) if ANSWER in outcome.reply]
    delays = sorted(outcomes[n].at - ready_at[n] for n in answered) or [0.0]
    busy = sum(Texts().overloaded in outcome.reply for outcome in outcomes)
    others = sum(bool(outcome.reply) for outcome in outcomes) - len(answered) - busy
    return Result(
        asked=questions,
        answered=len(answered),
        linked=others,
        turned_away=busy,
        nothing=sum(not outcome.reply for outcome in outcomes),
        model_calls=len(sent),
        p50_s=statistics.median(delays),
        p99_s=delays[int(len(delays) * 0.99) - 1],
        memory=(peak - before) / questions,
    )


def main() -> None:
    """Measure and print the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--questions", default="5000", help="how many, or several numbers: 3000,5000"
    )
    parser.add_argument("--model-seconds", type=float, default=6.0)
    parser.add_argument("--within", type=float, default=5.0)
    options = parser.parse_args()
    support.raise_file_limit()
    print(
        f"within {options.within:g} s, the model answering after {options.model_seconds:g} s\n"
        f"{'asked':>7}{'answered':>10}{'part, link':>12}{'turned away':>13}{'no reply':>10}"
        f"{'p50 s':>8}{'p99 s':>8}{'KiB each':>10}"
    )
    for questions in map(int, options.questions.split(",")):
        row = measured(options, questions)
        print(
            f"{row.asked:>7}{row.answered:>10}{row.linked:>12}{row.turned_away:>13}"
            f"{row.nothing:>10}{row.p50_s:>8.2f}{row.p99_s:>8.2f}{row.memory / 1024:>10.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
