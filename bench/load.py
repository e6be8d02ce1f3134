"""Hundreds of WeChat users for 90 seconds: how many get an answer, when, and at what cost?

    python bench/load.py [--users 500] [--seconds 90] [--median 6] [--tail 40]

Each user behaves like WeChat, with its real timeouts: a new connection for each attempt, five
seconds, then the next attempt, three in all. Users ask, read for a while, and ask again. The
model's answer times are log-normal: half of the answers take at most the median, and none more than
the tail. A question takes the same time for every target. The model streams to the targets that ask
for it.

The targets run one after the other:

- wxgptd, as if its budget of deliberate timeouts had grown to the size it needs;
- wxgptd with its initial budget, which is far too small for 500 users at once;
- wxgptd with `fit = "window"`, where the model stays within 20 % of the requested length;
- the script that this project began with (WeRoBot, calling the model inline);
- a thread for each request that calls the model, as in many bots: a short stand-in.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import math
import multiprocessing
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import NamedTuple

import support

from wxgptd.domain.replies.texts import Texts
from wxgptd.domain.text.answer_length import limit_in

PATIENCE_S = 5.0
READING_S = (5.0, 20.0)
SENTENCE = "天空是蓝色的，因为空气把蓝光散射得更多。"
FIRST_S = 0.8
CHARS_A_SECOND = 13
"""An answer's time depends on its length; the longest one just fits into a reply."""
MARK = "（完）"
TOO_MANY = Texts().too_many_waiting

SEED = """
import json, logging, sys, urllib.request, werobot
logging.disable(logging.CRITICAL)
robot = werobot.WeRoBot(token="benchtoken", enable_session=False)
@robot.handler
def handle(message):
    body = json.dumps({"messages": [{"role": "user", "content": message.content}]}).encode()
    asked = urllib.request.Request(sys.argv[2] + "/chat/completions", body)
    return json.load(urllib.request.urlopen(asked))["choices"][0]["message"]["content"]
sys.stderr = open("/dev/null", "w")
robot.run(host="127.0.0.1", port=int(sys.argv[1]))
"""

THREADS = """
import hashlib, http.server, json, socketserver, sys, urllib.request
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree
reply = ("<xml><ToUserName>{to}</ToUserName><FromUserName>{me}</FromUserName><CreateTime>1</CreateTime>"
         "<MsgType>text</MsgType><Content><![CDATA[{text}]]></Content></xml>")
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        signed = sorted(("benchtoken", query["timestamp"], query["nonce"]))
        assert hashlib.sha1("".join(signed).encode()).hexdigest() == query["signature"]
        message = ElementTree.fromstring(self.rfile.read(int(self.headers["Content-Length"])))
        said = {one.tag: one.text for one in message}
        body = json.dumps({"messages": [{"role": "user", "content": said["Content"]}]}).encode()
        asked = urllib.request.Request(sys.argv[2] + "/chat/completions", body)
        text = json.load(urllib.request.urlopen(asked))["choices"][0]["message"]["content"]
        body = reply.format(to=said["FromUserName"], me=said["ToUserName"], text=text).encode()
        try:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            pass  # WeChat has hung up
    def log_message(self, *_): pass
class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads, request_queue_size = True, 4096
Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


class Latency(NamedTuple):
    """How long answers take, in seconds: half of them at most `median`, none more than `tail`."""

    median: float
    tail: float

    def of(self, number: int) -> float:
        """Return how long the answer to question `number` takes, the same for every target."""
        sigma = math.log(self.tail / self.median) / 2.33  # 1 answer in 100 reaches the tail
        drawn = random.Random(number).lognormvariate(math.log(self.median), sigma)
        return min(drawn, self.tail)


def answer(number: int, took_s: float, at_most: int = 0) -> tuple[str, float]:
    """Return the model's answer and how long it takes: `took_s`, or less for a shorter answer.

    If asked for at most `at_most` characters, it stays within 20 % of that.
    """
    chars = max(20, round((took_s - FIRST_S) * CHARS_A_SECOND))
    if at_most:
        chars = min(chars, round(at_most * random.Random(number).uniform(0.8, 1.2)))
    text = f"答{number}：{SENTENCE * (chars // len(SENTENCE) + 1)}"[:chars] + MARK
    return text, min(took_s, FIRST_S + chars / CHARS_A_SECOND)


async def model(port: int, latency: Latency, control: Connection) -> None:
    """Answer questions by their number; record each call, and when it was answered."""
    calls: list[tuple[int, float]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request_head = await reader.readuntil(b"\r\n\r\n")
            length = int(re.search(rb"(?i)content-length: (\d+)", request_head).group(1))  # type: ignore[union-attr]
            request = json.loads(await reader.readexactly(length))
            question, at_most = limit_in(request["messages"][-1]["content"])
            number = int(re.findall(r"编号(\d+)", question)[-1])
            calls.append((number, 0.0))
            text, took_s = answer(number, latency.of(number), at_most)
            if request.get("stream"):
                await stream(writer, text, took_s)
            else:
                await asyncio.sleep(took_s)
                choice = {
                    "message": {"role": "assistant", "content": text},
                    "finish_reason": "stop",
                }
                body = json.dumps({"choices": [choice]}).encode()
                head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
                writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            calls.append((number, time.monotonic()))
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port, backlog=10_000)
    control.send("listening")
    while True:
        while not control.poll():  # noqa: ASYNC110 (the signal comes from another process)
            await asyncio.sleep(0.1)
        if control.recv() == "stop":
            break
        control.send(list(calls))
        calls.clear()
    server.close()


async def stream(writer: asyncio.StreamWriter, text: str, took_s: float) -> None:
    """Write an answer piece by piece, the last piece after `took_s` seconds."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    writer.write(head)
    first_s = min(FIRST_S, took_s)
    pieces = max(1, min(40, int((took_s - first_s) / 0.25)))
    await asyncio.sleep(first_s)
    for piece in range(pieces):
        await asyncio.sleep((took_s - first_s) / pieces)
        begin, end = (len(text) * at // pieces for at in (piece, piece + 1))
        choice = {"index": 0, "delta": {"content": text[begin:end]}, "finish_reason": None}
        writer.write(f"data: {json.dumps({'choices': [choice]})}\n\n".encode())
    last = {"index": 0, "delta": {}, "finish_reason": "stop"}
    writer.write(f"data: {json.dumps({'choices': [last]})}\n\ndata: [DONE]\n\n".encode())


def run_model(port: int, latency: Latency, control: Connection) -> None:
    """Run the model in this process."""
    support.raise_file_limit()
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # about clients that hung up
    asyncio.run(model(port, latency, control))


class Outcome(NamedTuple):
    """The outcome of a question: `kind` is attempt 1, 2, 3, partial, link, refused or lost.

    Refused means a reply saying that the user's earlier questions come first.
    """

    number: int
    kind: str
    attempt_at: float
    at: float


class Load:
    """The users of one target."""

    def __init__(self, port: int, path: str, users: int, seconds: float, first: int) -> None:
        self._port = port
        self._path = path
        self._users = users
        self._until = 0.0
        self._seconds = seconds
        self._next = first
        self.outcomes: list[Outcome] = []

    async def run(self, *, sessions: bool) -> None:
        """Let all users ask until the time is up and each has its answer."""
        if sessions:
            await self.open()
        self._until = time.monotonic() + self._seconds
        await asyncio.gather(*(self._user(user) for user in range(self._users)))

    async def open(self) -> None:
        """Open a session for each user."""
        await asyncio.gather(*(self._open(user) for user in range(self._users)))

    async def _open(self, user: int) -> None:
        await asyncio.sleep(5.0 * user / self._users)
        await self._exchange(user, 1_000_000_000 + user, "/chatgpt", int(time.time()))

    async def _user(self, user: int) -> None:
        dice = random.Random(user)
        await asyncio.sleep(dice.uniform(0, READING_S[1]))
        while time.monotonic() < self._until:
            self._next += 1
            self.outcomes.append(await self.ask(user, self._next))
            await asyncio.sleep(dice.uniform(*READING_S))

    async def ask(self, user: int, number: int) -> Outcome:
        """Deliver a question as often as WeChat would."""
        began, sent_at = 0.0, int(time.time())
        for attempt in (1, 2, 3):
            began = time.monotonic()
            try:
                async with asyncio.timeout(PATIENCE_S):
                    reply = await self._exchange(
                        user, number, f"为什么天是蓝的？编号{number}", sent_at
                    )
            except (TimeoutError, ConnectionError):
                reply = ""
            if f"答{number}：" in reply and MARK in reply:
                return Outcome(number, f"attempt {attempt}", began, time.monotonic())
            if f"答{number}：" in reply:
                return Outcome(number, "partial", began, time.monotonic())
            if "/a/" in reply:
                return Outcome(number, "link", began, time.monotonic())
            if TOO_MANY in reply:
                return Outcome(number, "refused", began, time.monotonic())
            if reply:  # an error: WeChat shows its fault text
                break
            await asyncio.sleep(max(0.0, began + PATIENCE_S - time.monotonic()))
        return Outcome(number, "lost", began, time.monotonic())

    async def _exchange(self, user: int, number: int, text: str, sent_at: int) -> str:
        head, body = support.text_request(
            f"oUser{user:07d}", number, text, self._port, path=self._path, sent_at=sent_at
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(head + body)
            return (await reader.read()).partition(b"\r\n\r\n")[2].decode("utf-8", "replace")
        finally:
            writer.close()


KINDS = ("attempt 1", "attempt 2", "attempt 3", "partial", "link", "refused", "lost")


class Watched:
    """The resource usage of one process."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._before = support.cpu_ns(pid)
        self.peak = 0

    async def watch(self) -> None:
        """Sample the memory twice a second."""
        while True:
            self.peak = max(self.peak, support.rss_bytes(self._pid))
            await asyncio.sleep(0.5)

    def cpu_s(self) -> float:
        """Return the CPU time used since this object was created, in seconds."""
        return (support.cpu_ns(self._pid) - self._before) / 1e9


def row(label: str, load: Load, calls: Sequence[tuple[int, float]], watched: Watched) -> str:
    """Return a target's outcomes as a row of the table."""
    counts = Counter(outcome.kind for outcome in load.outcomes)
    asked = max(1, len(load.outcomes))
    model_calls = sum(not at for _, at in calls)
    ready_at: dict[int, float] = {}
    for number, at in calls:
        if at:
            ready_at.setdefault(number, at)
    # An answer that was ready before the attempt waited only for the attempt.
    delays = sorted(
        outcome.at - max(ready_at[outcome.number], outcome.attempt_at)
        for outcome in load.outcomes
        if outcome.kind.startswith("attempt") and outcome.number in ready_at
    )
    p99 = f"{1000 * delays[int(len(delays) * 0.99)]:.0f}" if delays else "–"
    cells = [f"{label:<34}", f"{len(load.outcomes):>5}"]
    cells += [f"{100 * counts[kind] / asked:>6.1f} %" for kind in KINDS]
    cells += [f"{model_calls / asked:>6.2f}", f"{p99:>6}", f"{watched.peak / 2**20:>5.0f}"]
    cells.append(f"{watched.cpu_s():>6.1f}")
    return " | ".join(cells)


def head() -> str:
    """Return the header of the table."""
    names = [f"{'':<34}", "asked", *(f"{kind:>8}" for kind in KINDS)]
    return " | ".join([*names, " calls", "p99 ms", "  MiB", " CPU s"])


def measure(
    label: str, pid: int, load: Load, control: Connection, *, sessions: bool = False
) -> None:
    """Run the load against a target, and print its row."""
    watched = Watched(pid)

    async def all_of_it() -> None:
        watching = asyncio.create_task(watched.watch())
        await load.run(sessions=sessions)
        watching.cancel()

    asyncio.run(all_of_it())
    control.send("calls")
    print(row(label, load, control.recv(), watched), flush=True)


def main() -> None:
    """Measure and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--users", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=90.0)
    parser.add_argument("--median", type=float, default=6.0)
    parser.add_argument("--tail", type=float, default=40.0)
    parser.add_argument("--only-ours", action="store_true", help="skip the other implementations")
    options = parser.parse_args()
    support.raise_file_limit()
    latency = Latency(options.median, options.tail)
    model_port = support.free_port()
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.Process(target=run_model, args=(model_port, latency, theirs))
    server.start()
    assert ours.recv() == "listening"
    url = f"http://127.0.0.1:{model_port}/v1"
    print(
        f"{options.users} users, {options.seconds:g} s, answers after {options.median:g} s at the "
        f"median, {options.tail:g} s at most"
    )
    print(head(), flush=True)
    try:
        enough = "[window]\ndeliberate_timeouts_per_5min = 1000000\n"
        for label, extra, first in (
            ("wxgptd", enough, 0),
            ("wxgptd, 60 timeouts in 5 min", "", 1_000_000),
            ('wxgptd, fit = "window"', f'fit = "window"\n{enough}', 4_000_000),
        ):
            with support.Daemon(model=url, extra=extra) as daemon:
                load = Load(daemon.port, "/wx/main", options.users, options.seconds, first)
                measure(label, daemon.pid, load, ours, sessions=True)
        if not options.only_ours:
            others(url, options, ours)
    finally:
        ours.send("stop")
        server.join(10)
        server.kill()


def others(url: str, options: argparse.Namespace, control: Connection) -> None:
    """Measure the other implementations."""
    python = support.others()
    targets = [("a thread for each request", THREADS, sys.executable, 3_000_000)]
    if python is not None:
        targets.insert(0, ("WeRoBot, the model inline", SEED, python, 2_000_000))
    for label, program, interpreter, first in targets:
        port = support.free_port()
        process = subprocess.Popen(
            [interpreter, "-c", program, str(port), url], stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            support.wait_for_port(port)
            load = Load(port, "/", options.users, options.seconds, first)
            measure(label, process.pid, load, control)
        finally:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
