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
import select
import socket
import statistics
import time
from collections import deque
from collections.abc import Callable
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
    """What became of one message: the reply, when it arrived, and at which attempt."""

    __slots__ = ("at", "attempts", "reply")

    def __init__(self) -> None:
        self.reply = ""
        self.at = 0.0
        self.attempts = 0


PATIENCE_S = 5.0


class WeChat:
    """Delivers messages the way WeChat does: a new connection for each attempt, five seconds each.

    One loop over nonblocking sockets, because asyncio would need a core for what a few thousand
    users ask.
    """

    def __init__(self, port: int, attempts: int = 3) -> None:
        self._address = "127.0.0.1", port
        self._attempts = attempts
        self._poll = select.epoll()
        self._open: dict[int, tuple[socket.socket, int, list[bytes]]] = {}
        self._deadlines: deque[tuple[float, int, socket.socket]] = deque()
        self._requests: list[bytes] = []
        self.outcomes: list[Outcome] = []

    def deliver(
        self, requests: list[bytes], within_s: float, meanwhile: Callable[[], None]
    ) -> None:
        """Deliver `requests`, evenly spread over `within_s` seconds; return when all have ended.

        `meanwhile` is called twice a second.
        """
        self._requests = requests
        self.outcomes = [Outcome() for _ in requests]
        began, sent, looked = time.monotonic(), 0, 0.0
        while sent < len(requests) or self._open:
            now = time.monotonic()
            while sent < len(requests) and now >= began + within_s * sent / len(requests):
                self._begin(sent)
                sent += 1
            while self._deadlines and self._deadlines[0][0] <= now:
                _, number, given_up = self._deadlines.popleft()
                if self._open.get(given_up.fileno(), (None,))[0] is given_up:
                    self._end(given_up, number, "")
            if now - looked >= 0.5:
                looked = now
                meanwhile()
            for descriptor, _ in self._poll.poll(0.002):
                self._read(descriptor)

    def _begin(self, number: int) -> None:
        self.outcomes[number].attempts += 1
        connection = socket.socket()
        connection.setblocking(False)
        connection.connect_ex(self._address)
        self._poll.register(connection, select.EPOLLOUT)
        self._open[connection.fileno()] = connection, number, []
        self._deadlines.append((time.monotonic() + PATIENCE_S, number, connection))

    def _read(self, descriptor: int) -> None:
        connection, number, received = self._open[descriptor]
        try:
            if not received:
                connection.send(self._requests[number])
                received.append(b"")
                self._poll.modify(descriptor, select.EPOLLIN)
                return
            data = connection.recv(65_536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            received.append(data)
        else:
            self._end(connection, number, b"".join(received).decode("utf-8", "replace"))

    def _end(self, connection: socket.socket, number: int, reply: str) -> None:
        del self._open[connection.fileno()]
        connection.close()
        outcome = self.outcomes[number]
        if "<Content>" in reply:
            outcome.at, outcome.reply = time.monotonic(), reply
        elif outcome.attempts < self._attempts:
            self._begin(number)


def requests(port: int, count: int, within_s: float, *, opening: bool) -> list[bytes]:
    """Return what `count` users send, within so many seconds, to open a session or to ask."""
    made, now = [], time.time()
    for number in range(count):
        text = "/chatgpt" if opening else f"为什么天是蓝的？编号{number}"
        offset = 0 if opening else 10_000_000
        sent_at = int(now + within_s * number / count)
        head, body = support.text_request(
            f"oUser{number:07d}", offset + number, text, port, sent_at=sent_at
        )
        made.append(head + body)
    return made


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


def idle() -> None:
    """Do nothing."""


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
        opening = WeChat(daemon.port)
        # Slowly: opening sessions is not measured.
        opening_s = questions / 400
        opening.deliver(requests(daemon.port, questions, opening_s, opening=True), opening_s, idle)
        before = daemon.rss_bytes()
        peaks = [before]
        asking = WeChat(daemon.port)
        asking.deliver(
            requests(daemon.port, questions, options.within, opening=False),
            options.within,
            lambda: peaks.append(daemon.rss_bytes()),
        )
        outcomes = asking.outcomes
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
        memory=(max(peaks) - before) / questions,
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
