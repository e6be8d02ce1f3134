"""CPU per webhook request, relative to a stock twisted.web Site that serves a constant.

    python bench/webhook.py [--slices 10] [--seconds 0.4]

Every server is a process of its own and gets requests over 32 connections, with keep-alive and with
a connection for each request. The measure is the CPU time that the kernel attributes to the server
(all its threads), divided by the requests served. The servers take turns in short slices, so that
noise on the machine affects all of them, and the median slice counts. A ratio above 1 means less
CPU than the stock Site. WeRoBot, and wechatpy behind Flask, run in a virtual environment that the
first run creates.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import NamedTuple

import support

from wxgptd.wechat.crypto import Key

CONNECTIONS = 32

NEW = 10_000_000
"""So many users that each message comes from one that the daemon does not know."""

ASKERS = 100_000_000
"""The first of the users who ask: they have a session, where everything is a question."""

QUESTION = "/chatgpt 为什么天是蓝的？"

STOCK = """
import sys
from twisted.internet import reactor
from twisted.python import log
from twisted.web.resource import Resource
from twisted.web.server import Site
log.startLogging(open("/dev/null", "w"), setStdout=False)
class Constant(Resource):
    isLeaf = True
    def render_GET(self, request): return b"success"
    render_POST = render_GET
reactor.listenTCP(int(sys.argv[1]), Site(Constant()), backlog=1024, interface="127.0.0.1")
reactor.run()
"""

WEROBOT = """
import logging, sys, werobot
logging.disable(logging.CRITICAL)
robot = werobot.WeRoBot(token="benchtoken", enable_session=False)
@robot.handler
def echo(message): return "你说：" + message.content
sys.stderr = open("/dev/null", "w")
robot.run(host="127.0.0.1", port=int(sys.argv[1]))
"""

FLASK = """
import logging, sys
from flask import Flask, request
from wechatpy import create_reply, parse_message
from wechatpy.utils import check_signature
logging.getLogger("werkzeug").disabled = True
app = Flask(__name__)
@app.route("/wx/main", methods=["GET", "POST"])
def hook():
    a = request.args
    if request.method == "GET": return "ok"
    check_signature("benchtoken", a["signature"], a["timestamp"], a["nonce"])
    message = parse_message(request.data)
    return create_reply("你说：" + message.content, message).render()
app.run(port=int(sys.argv[1]), threaded=False)
"""

MODEL = """
import asyncio, re, sys
chunk = b'data: {"choices": [{"index": 0, "delta": {"content": "%s"}, "finish_reason": null}]}'
chunk = chunk % "因为空气把蓝光散射得更多。".encode()
end = b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}'
body = b"\\n\\n".join((chunk, end, b"data: [DONE]", b""))
head = b"HTTP/1.1 200 OK\\r\\nContent-Type: text/event-stream\\r\\nContent-Length: %d\\r\\n\\r\\n"
head %= len(body)
async def serve(reader, writer):
    try:
        while True:
            asked = await reader.readuntil(b"\\r\\n\\r\\n")
            match = re.search(rb"(?i)content-length: (\\d+)", asked)
            await reader.readexactly(int(match.group(1)) if match else 0)
            writer.write(head + body)
    except Exception: pass
    finally: writer.close()
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), backlog=1024)
    await server.serve_forever()
asyncio.run(main())
"""


class Target(NamedTuple):
    """A server and the requests it gets: `request` returns the bytes of the n-th one."""

    label: str
    pid: int
    port: int
    request: Callable[[int, bool], bytes]


async def connection(target: Target, numbers: count[int], until: float, *, keep: bool) -> int:
    """Send one request after another until the time is up; return how many were served."""
    loop, served = asyncio.get_running_loop(), 0
    reader = writer = None
    while loop.time() < until:
        if writer is None:
            reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
        assert reader is not None
        writer.write(target.request(next(numbers), keep))
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")):
            raise RuntimeError(f"{target.label}: {head[:200]!r}")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if length is not None:
            await reader.readexactly(int(length.group(1)))
        else:
            await reader.read()
        served += 1
        if not keep or b"close" in head.lower() or head.startswith(b"HTTP/1.0"):
            writer.close()
            writer = None
    if writer is not None:
        writer.close()
    return served


async def slice_of(target: Target, numbers: count[int], seconds: float, *, keep: bool) -> float:
    """Return the CPU time of the server per request, in microseconds."""
    until = asyncio.get_running_loop().time() + seconds
    before = support.cpu_ns(target.pid)
    served = await asyncio.gather(
        *(connection(target, numbers, until, keep=keep) for _ in range(CONNECTIONS))
    )
    await asyncio.sleep(0.02)  # work that remains after the last reply counts too
    return (support.cpu_ns(target.pid) - before) / 1_000 / max(1, sum(served))


def started(program: str, port: int, python: str = sys.executable) -> subprocess.Popen[bytes]:
    """Start a server, and wait for it to listen."""
    process = subprocess.Popen([python, "-c", program, str(port)], stderr=subprocess.DEVNULL)
    import socket
    import time

    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return process
    raise RuntimeError(f"the server on port {port} did not start")


def request_for(
    text: str,
    port: int,
    *,
    path: str = "/wx/main",
    key: Key | None = None,
    users: int = 1_000,
    first: int = 0,
) -> Callable[[int, bool], bytes]:
    """Return a function that returns the n-th request with that text, of user `first` or later."""

    def make(number: int, keep: bool) -> bytes:
        user = f"oUser{first + number % users:022d}"
        head, body = support.text_request(
            user, number, text, port, path=path, keep_alive=keep, key=key
        )
        return head + body

    return make


def daemon_targets(daemon: support.Daemon) -> list[Target]:
    """Return what is asked of a daemon: of users that it knows, and of new ones."""
    port, key = daemon.port, Key(support.AES_KEY)
    safe = {"path": "/wx/safe", "key": key}
    wanted = [
        ("outside a session", request_for("你好", port)),
        ("a command, with its commit", request_for("/help", port)),
        ("the same, each user a new one", request_for("/help", port, users=NEW)),
        ("safe mode, outside a session", request_for("你好", port, **safe)),
        ("safe mode, a command", request_for("/help", port, **safe)),
        ("a question, instant model", request_for(QUESTION, port, first=ASKERS)),
        (
            "the same, each user a new one",
            request_for(QUESTION, port, users=NEW, first=2 * ASKERS),
        ),
    ]
    targets, last = [], ""
    for label, request in wanted:
        last = label if label != "the same, each user a new one" else f"{last}, new users"
        targets.append(Target(last, daemon.pid, port, request))
    return targets


def main() -> None:
    """Measure and print the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--slices", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=0.4)
    options = parser.parse_args()
    support.raise_file_limit()
    python = support.others()
    model_port = support.free_port()
    processes = [started(MODEL, model_port)]
    with support.Daemon(model=f"http://127.0.0.1:{model_port}/v1") as daemon:
        stock_port = support.free_port()
        processes.append(started(STOCK, stock_port))
        stock = Target(
            "stock Site, a constant", processes[-1].pid, stock_port, request_for("你好", stock_port)
        )
        targets = [stock, *daemon_targets(daemon)]
        if python is not None:
            for label, program in (
                ("WeRoBot, an echo", WEROBOT),
                ("wechatpy + Flask, an echo", FLASK),
            ):
                other = support.free_port()
                processes.append(started(program, other, python))
                path = "/" if "WeRoBot" in label else "/wx/main"
                targets.append(
                    Target(label, processes[-1].pid, other, request_for("你好", other, path=path))
                )
        try:
            measure(targets, options.slices, options.seconds)
        finally:
            for process in processes:
                process.kill()
                process.wait()


def sampled(
    targets: list[Target], slices: int, seconds: float
) -> dict[tuple[Target, bool], list[float]]:
    """Let the targets take turns; return the CPU time of each slice, in µs a request."""
    numbers = count(1)
    samples: dict[tuple[Target, bool], list[float]] = {}
    for turn in range(slices + 1):
        for keep in (True, False):
            for target in targets:
                spent = asyncio.run(slice_of(target, numbers, seconds, keep=keep))
                if turn:  # the first turn is a warm-up
                    samples.setdefault((target, keep), []).append(spent)
    return samples


def measure(targets: list[Target], slices: int, seconds: float) -> None:
    """Let the targets take turns, and print their medians."""
    print(f"{'CPU per request, 32 connections':<38}{'keep-alive':>22}{'new connections':>24}")
    samples = sampled(targets, slices, seconds)
    rows = []
    for target in targets:
        row = f"{target.label:<38}"
        for keep in (True, False):
            stock = statistics.median(samples[targets[0], keep])
            median = statistics.median(samples[target, keep])
            row += f"{median:11.0f} µs {stock / median:6.2f} x"
            rows.append({"what": target.label, "keep_alive": keep, "us": median})
        print(row)
    if os.environ.get("WXGPTD_BENCH_JSON"):
        Path(os.environ["WXGPTD_BENCH_JSON"]).write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
