"""Readers of answers in progress: the daemon's CPU, and how late a chunk reaches a page.

    python bench/pages.py [--readers 500] [--answers 50] [--seconds 20] [--gap 0.05]
    python bench/pages.py --askers 500 [--within 10]

A model writes `answers` answers at once, a chunk every `gap` seconds. The `readers` are spread evenly over
them and receive server-sent events. Each chunk contains the time it was sent, so a reader knows
how late it is. Updates go out every 0.05 to 3 s, depending on the load: half of that is the delay on
average. For comparison, a bare twisted.web resource broadcasts the same bytes at the same times to
the same number of readers: it renders nothing, reads from no model and keeps no log.

With `--askers`, so many users open the page of an answer with a link from the chat, each claims the
right to write, asks a question there within so many seconds, and reads the answer as it is written.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path

import support

WINDOW = '[window]\ndeliberate_timeouts_per_5min = 0\nreply_margin = "4s"'
Frames = list[tuple[float, bytes]]

BARE = """
import json, sys, time
from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
topics = [[(at, data.encode()) for at, data in topic] for topic in json.load(open(sys.argv[2]))]
readers = [[] for _ in topics]
class Topic(Resource):
    isLeaf = True
    def render_GET(self, request):
        request.setHeader("content-type", "text/event-stream")
        request.write(b"retry: 2000\\n\\n")
        readers[int(request.postpath[0])].append(request)
        return NOT_DONE_YET
class Begin(Resource):
    isLeaf = True
    def render_GET(self, request):
        for place, topic in enumerate(topics):
            for at, data in topic:
                reactor.callLater(at, send, place, data)
            reactor.callLater(topic[-1][0] + 0.5, end, place)
        return b"begun"
def send(place, data):
    stamped = b": %.6f\\n" % time.monotonic() + data
    for request in readers[place]: request.write(stamped)
def end(place):
    for request in readers[place]: request.finish()
root = Resource(); root.putChild(b"topics", Topic()); root.putChild(b"begin", Begin())
root.putChild(b"readyz", type("R", (Resource,), {"isLeaf": True, "render_GET": lambda *_: b"ok"})())
reactor.listenTCP(int(sys.argv[1]), Site(root), interface="127.0.0.1", backlog=2000)
reactor.run()
"""


def cpu_s(pid: int) -> float:
    """Return the CPU time that a process has used so far, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


ASKED_CHUNKS, ASKED_GAP_S = 8, 0.25
"""The answers to questions on pages: a chunk each quarter of a second, for two seconds."""


class Model:
    """A model that sends timestamped chunks once `begin` is set."""

    def __init__(self, chunks: int, gap_s: float) -> None:
        self.begin = asyncio.Event()
        self._chunks = chunks
        self._gap_s = gap_s

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one call."""
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
        )
        await self.begin.wait()
        for number in range(self._chunks):
            ends = "。\n\n" if number % 12 == 11 else "，"
            text = f"说到这里@{time.monotonic():.6f}@是**第 {number} 句**{ends}"
            writer.write(_event({"delta": {"content": text}}))
            await asyncio.sleep(self._gap_s)
        writer.write(_event({"delta": {}, "finish_reason": "stop"}) + b"data: [DONE]\n\n")
        await writer.drain()
        writer.close()


def _event(choice: object) -> bytes:
    return f"data: {json.dumps({'choices': [choice]}, ensure_ascii=False)}\n\n".encode()


async def say(port: int, user: str, number: int, text: str) -> str:
    """Send a message as WeChat does, and return the reply."""
    head, body = support.text_request(user, number, text, port)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head + body)
    reply = (await reader.read()).decode()
    writer.close()
    return reply


async def ask(port: int, number: int) -> str:
    """Open a session, ask, and return the path of the answer's page."""
    await say(port, f"user{number}", 2 * number, "/chatgpt")
    reply = await say(port, f"user{number}", 2 * number + 1, "问题")
    match = re.search(r"/a/[\w-]{22}", reply)
    assert match, reply
    return match.group()


async def read(port: int, path: str, late: list[float], frames: Frames, stamp: str) -> None:
    """Read the events of one page, and record how late each chunk is."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**22)
    writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    while True:
        try:
            event = await reader.readuntil(b"\n\n")
        except asyncio.IncompleteReadError:
            break
        now = time.monotonic()
        frames.append((now, event))
        late += [now - float(sent_at) for sent_at in re.findall(stamp, event.decode())]
    writer.close()


async def measure_daemon(
    arguments: argparse.Namespace,
) -> tuple[float, list[float], list[Frames]]:
    """Return the daemon's CPU time, how late chunks were, and one reader's events for each answer."""
    model = Model(int(arguments.seconds / arguments.gap), arguments.gap)
    model_port = support.free_port()
    server = await asyncio.start_server(model.serve, "127.0.0.1", model_port, backlog=1_000)
    with support.Daemon(f"http://127.0.0.1:{model_port}/v1", WINDOW) as daemon:
        paths = await asyncio.gather(*[ask(daemon.port, n) for n in range(arguments.answers)])
        late: list[list[float]] = [[] for _ in range(arguments.readers)]
        frames: list[Frames] = [[] for _ in range(arguments.readers)]
        reading = [
            asyncio.create_task(
                read(
                    daemon.port,
                    f"{paths[n % len(paths)]}/events",
                    late[n],
                    frames[n],
                    r"@([\d.]+)@",
                )
            )
            for n in range(arguments.readers)
        ]
        await asyncio.sleep(1.0)
        before = cpu_s(daemon.pid)
        model.begin.set()
        await asyncio.gather(*reading)
        used = cpu_s(daemon.pid) - before
    server.close()
    streams = [b"".join(event for _, event in events) for events in frames]
    assert all(b'"final":true' in stream for stream in streams), "an answer was not read to the end"
    # The first two events are the greeting and the position before the first chunk.
    return (
        used,
        [delay_s for delays in late for delay_s in delays],
        [events[2:] for events in frames[: len(paths)]],
    )


async def post(
    port: int, path: str, body: dict[str, str], headers: dict[str, str]
) -> tuple[int, str, dict[str, str]]:
    """Send a page's POST; return the status, the cookie that it sets, and the JSON."""
    data = json.dumps(body).encode()
    sent = {
        "Host": f"127.0.0.1:{port}",
        "Origin": f"http://127.0.0.1:{port}",
        "Content-Type": "application/json",
        "Content-Length": str(len(data)),
        "Connection": "close",
        **headers,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + data)
    response = (await reader.read()).decode()
    writer.close()
    head, _, rest = response.partition("\r\n\r\n")
    cookie = re.search(r"set-cookie: ([^;]+)", head, re.IGNORECASE)
    return int(head.split()[1]), cookie[1] if cookie else "", json.loads(rest)


class Asker:
    """A user with a link in the chat, who asks on its page."""

    def __init__(self, port: int, number: int) -> None:
        self._port = port
        self._number = number
        self._path = ""
        self._headers: dict[str, str] = {}
        self.claimed_s = self.asked_s = self.ended_s = 0.0
        self.late: list[float] = []

    async def prepare(self) -> None:
        """Get a link, and the right to write."""
        user = f"asker{self._number}"
        await say(self._port, user, 2 * self._number, "/chatgpt")
        reply = await say(self._port, user, 2 * self._number + 1, "问题")
        self._path, secret = re.search(r"(/a/[\w-]{22})#([\w-]{22})", reply).groups()
        began = time.monotonic()
        status, cookie, answer = await post(
            self._port, f"{self._path}/claim", {"secret": secret, "nonce": user}, {}
        )
        assert status == 200, answer
        self.claimed_s = time.monotonic() - began
        self._headers = {"Cookie": cookie, "X-Form-Token": answer["form"]}

    async def ask(self, after_s: float) -> None:
        """Ask, and read the answer to its end."""
        await asyncio.sleep(after_s)
        began = time.monotonic()
        headers = {**self._headers, "Idempotency-Key": f"key-of-{self._number:06}"}
        status, _, answer = await post(
            self._port, f"{self._path}/ask", {"question": "那海呢？"}, headers
        )
        assert status == 200, answer
        self.asked_s = time.monotonic() - began
        frames: Frames = []
        await read(self._port, f"{answer['page']}/events", self.late, frames, r"@([\d.]+)@")
        assert b'"final":true' in frames[-1][1], "the answer was not read to its end"
        self.ended_s = time.monotonic() - began


async def measure_askers(count: int, within_s: float) -> tuple[float, list[Asker]]:
    """Return the daemon's CPU time while `count` users ask, and the users."""
    model = Model(ASKED_CHUNKS, ASKED_GAP_S)
    model.begin.set()
    model_port = support.free_port()
    server = await asyncio.start_server(model.serve, "127.0.0.1", model_port, backlog=1_000)
    with support.Daemon(f"http://127.0.0.1:{model_port}/v1", WINDOW) as daemon:
        askers = [Asker(daemon.port, number) for number in range(count)]
        for begin in range(0, count, 25):
            await asyncio.gather(*[asker.prepare() for asker in askers[begin : begin + 25]])
        await asyncio.sleep(3.0)
        before = cpu_s(daemon.pid)
        await asyncio.gather(
            *[asker.ask(within_s * number / count) for number, asker in enumerate(askers)]
        )
        used = cpu_s(daemon.pid) - before
    server.close()
    return used, askers


def shown_askers(used: float, askers: list[Asker]) -> None:
    """Print what the users of `measure_askers` saw."""
    late = [delay_s for asker in askers for delay_s in asker.late]
    rows = {
        "right to write, claimed in": [asker.claimed_s for asker in askers],
        "question, durable after": [asker.asked_s for asker in askers],
        "words, late by": late,
        "answer, read to its end after": [asker.ended_s for asker in askers],
    }
    print(f"{len(askers)} askers, all answered; {used / len(askers) * 1e3:.1f} ms of CPU each")
    for name, times in rows.items():
        p99 = statistics.quantiles(times, n=100)[98]
        print(f"{name:30} p50 {statistics.median(times) * 1e3:7.1f} ms   p99 {p99 * 1e3:7.1f} ms")


async def measure_bare(
    arguments: argparse.Namespace, topics: list[Frames], directory: Path
) -> tuple[float, list[float]]:
    """Return the CPU time of a bare broadcast of the same bytes, and how late they were."""
    began = min(topic[0][0] for topic in topics)
    events = [[(at - began, event.decode()) for at, event in topic] for topic in topics]
    script = directory / "topics.json"
    script.write_text(json.dumps(events))
    port = support.free_port()
    bare = await asyncio.create_subprocess_exec(sys.executable, "-c", BARE, str(port), str(script))
    try:
        support.wait_for(port, "/readyz")
        late: list[list[float]] = [[] for _ in range(arguments.readers)]
        reading = [
            asyncio.create_task(
                read(port, f"/topics/{n % len(topics)}", late[n], [], r"^: (\d+\.\d{6})\n")
            )
            for n in range(arguments.readers)
        ]
        await asyncio.sleep(1.0)
        before = cpu_s(bare.pid)
        await read(port, "/begin", [], [], "never")
        await asyncio.gather(*reading)
        return cpu_s(bare.pid) - before, [delay_s for delays in late for delay_s in delays]
    finally:
        bare.kill()
        await bare.wait()


def shown(name: str, used: float, late: list[float], seconds: float) -> None:
    """Print one line."""
    p99 = statistics.quantiles(late, n=100)[98]
    print(
        f"{name:28} {used / seconds:7.1%} of a core   "
        f"late p50 {statistics.median(late) * 1e3:6.1f} ms   p99 {p99 * 1e3:6.1f} ms"
    )


def main() -> None:
    """Measure both, one after the other, and print the results."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--readers", type=int, default=500)
    parser.add_argument("--answers", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--gap", type=float, default=0.05, help="seconds from chunk to chunk")
    parser.add_argument("--askers", type=int, default=0)
    parser.add_argument("--within", type=float, default=10.0, help="seconds in which all ask")
    arguments = parser.parse_args()
    support.raise_file_limit()
    if arguments.askers:
        shown_askers(*asyncio.run(measure_askers(arguments.askers, arguments.within)))
        return
    used, late, topics = asyncio.run(measure_daemon(arguments))
    with tempfile.TemporaryDirectory() as directory:
        bare_used, bare_late = asyncio.run(measure_bare(arguments, topics, Path(directory)))
    size = sum(len(event) for topic in topics for _, event in topic)
    print(
        f"{arguments.readers} readers of {arguments.answers} answers, {size / 1e3:.0f} kB of events"
    )
    shown("wxgptd, from the model", used, late, arguments.seconds)
    shown("bare broadcast, from the write", bare_used, bare_late, arguments.seconds)
    print(f"CPU: {used / max(bare_used, 0.01):.2f} times the bare broadcast")


if __name__ == "__main__":
    main()
