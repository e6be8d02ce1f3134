"""Everything before a response's body is bounded, whatever a server sends."""

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
        result = [response.code, (await response.content()).decode()]
    except Exception as error:
        result = [0, reason_of(error)]
    # Not from getrusage: its peak starts at that of the parent process.
    peak = int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) // 1024
    print(json.dumps([*result, peak]))
task.react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
"""


def ask(serve) -> tuple[int, str, int]:
    """Send a request to a server that handles its first connection with `serve`."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(65_536)
                serve(connection)

        threading.Thread(target=run, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        completed = subprocess.run(
            [sys.executable, "-c", ASK, url],
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            env={**os.environ},
        )
    assert completed.stdout, completed.stderr
    assert "Unhandled" not in completed.stderr
    return tuple(json.loads(completed.stdout))


def test_a_normal_response_is_read():
    code, text, _ = ask(
        lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    )
    assert (code, text) == (200, "hi")


def test_interim_responses_are_skipped():
    head = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n"
    code, text, _ = ask(
        lambda connection: connection.sendall(
            head + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
        )
    )
    assert (code, text) == (200, "hi")


def test_the_limit_does_not_apply_to_the_body():
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n\r\n"
    code, text, _ = ask(lambda connection: connection.sendall(head + b"x" * 500_000))
    assert (code, len(text)) == (200, 500_000)


@pytest.mark.parametrize(
    "piece",
    [b"X-n: " + b"y" * 1_000 + b"\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"x"],
    ids=["headers", "continues", "a line"],
)
def test_an_endless_head_closes_the_connection(piece):
    def serve(connection) -> None:
        if piece != b"HTTP/1.1 100 Continue\r\n\r\n":
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
        for _ in range(50_000_000 // len(piece)):
            connection.sendall(piece)

    code, _, peak_mb = ask(serve)
    assert code == 0
    assert peak_mb < 150
