"""What comes before a body is bounded, whatever a server sends."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading

import pytest

pytestmark = pytest.mark.processes

ASK = r"""
import json, re, sys
from twisted.internet import task
from twisted.internet.defer import Deferred
from wxgptd.outbound.client import http_client
from wxgptd.outbound.reading import reason_of
async def main(reactor):
    try:
        response = await http_client(reactor).get(sys.argv[1])
        said = [response.code, (await response.content()).decode()]
    except Exception as error:
        said = [0, reason_of(error)]
    # Of this program alone: what getrusage says begins with the peak of whoever started it.
    peak = int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) // 1024
    print(json.dumps([*said, peak]))
task.react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
"""


def ask(serve) -> tuple[int, str, int]:
    """Ask a server that treats its first connection as `serve` does."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(65_536)
                serve(connection)

        threading.Thread(target=run, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        done = subprocess.run(
            [sys.executable, "-c", ASK, url],
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            env={**os.environ},
        )
    assert done.stdout, done.stderr
    assert "Unhandled" not in done.stderr
    return tuple(json.loads(done.stdout))


def test_a_response_as_it_should_be():
    code, text, _ = ask(lambda it: it.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"))
    assert (code, text) == (200, "hi")


def test_what_comes_before_it_is_passed_over():
    head = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n"
    code, text, _ = ask(
        lambda it: it.sendall(head + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    )
    assert (code, text) == (200, "hi")


def test_a_long_body_is_none_of_its_business():
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n\r\n"
    code, text, _ = ask(lambda it: it.sendall(head + b"x" * 500_000))
    assert (code, len(text)) == (200, 500_000)


@pytest.mark.parametrize(
    "piece",
    [b"X-n: " + b"y" * 1_000 + b"\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"x"],
    ids=["headers", "continues", "a line"],
)
def test_a_head_without_end_is_hung_up_on(piece):
    def serve(connection) -> None:
        if piece != b"HTTP/1.1 100 Continue\r\n\r\n":
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
        for _ in range(50_000_000 // len(piece)):
            connection.sendall(piece)

    code, _, peak_mb = ask(serve)
    assert code == 0
    assert peak_mb < 150
