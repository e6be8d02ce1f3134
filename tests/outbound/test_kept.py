"""Connections are kept; a request that is lost with a kept one is made once more."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
import threading

import pytest

pytestmark = pytest.mark.processes

ASK = r"""
import json, sys
from twisted.internet import task
from twisted.internet.defer import Deferred
from wxgptd.outbound.model_client import ModelClient
from wxgptd.outbound.reading import read_whole, reason_of
async def main(reactor):
    client, results = ModelClient(reactor), []
    for number in range(int(sys.argv[2])):
        try:
            response = await client.post(sys.argv[1], data=b"%d" % number, headers={})
            body = await read_whole(response, reactor, idle_timeout_s=5, limit=10_000)
            results.append([response.code, body.decode()])
        except Exception as error:
            results.append([0, reason_of(error)])
        await task.deferLater(reactor, 0.05)
    print(json.dumps(results))
task.react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
"""

LOST = [0, "the connection was closed without a response"]


class Server:
    """Answers each request on each connection as `reply(connection, request)` says.

    `reply` gets the numbers of both, from 0, and returns bytes to send; an empty result closes the
    connection. `seen` has the numbers of the connection and of the client's request.
    """

    def __init__(self, reply, certificate=None) -> None:
        self._reply = reply
        self._certificate = certificate
        self.seen: list[tuple[int, int]] = []

    def ask(self, count: int, **environ: str) -> list[list]:
        scheme = "https" if self._certificate else "http"
        with socket.create_server(("127.0.0.1", 0)) as server:
            threading.Thread(target=self._run, args=(server,), daemon=True).start()
            done = subprocess.run(
                [
                    sys.executable,
                    "-c",
                    ASK,
                    f"{scheme}://127.0.0.1:{server.getsockname()[1]}/",
                    str(count),
                ],
                capture_output=True,
                encoding="utf-8",
                timeout=60,
                env={**os.environ, **environ},
            )
        assert done.stdout, done.stderr
        assert "Unhandled" not in done.stderr
        return json.loads(done.stdout)

    def _run(self, server) -> None:
        number = 0
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                if self._certificate is not None:
                    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                    context.load_cert_chain(self._certificate)
                    with contextlib.suppress(ssl.SSLError):
                        connection = context.wrap_socket(connection, server_side=True)
                threading.Thread(target=self._serve, args=(connection, number), daemon=True).start()
                number += 1

    def _serve(self, connection, number: int) -> None:
        with connection, contextlib.suppress(OSError):
            for request in range(100):
                data = b""
                while b"\r\n\r\n" not in data or not data.partition(b"\r\n\r\n")[2]:
                    received = connection.recv(65_536)
                    if not received:
                        return
                    data += received
                self.seen.append((number, int(data.partition(b"\r\n\r\n")[2])))
                reply = self._reply(number, request)
                connection.sendall(reply)
                if not reply.endswith(b"ok"):
                    return


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def test_requests_share_a_connection():
    server = Server(lambda connection, request: OK)
    assert server.ask(3) == [[200, "ok"]] * 3
    assert server.seen == [(0, 0), (0, 1), (0, 2)]


def test_a_request_lost_with_a_kept_connection_is_made_once_more():
    server = Server(lambda connection, request: b"" if (connection, request) == (0, 1) else OK)
    assert server.ask(3) == [[200, "ok"]] * 3
    assert server.seen == [(0, 0), (0, 1), (1, 1), (1, 2)]


def test_it_is_made_only_once_more():
    server = Server(lambda connection, request: OK if (connection, request) == (0, 0) else b"")
    assert server.ask(2) == [[200, "ok"], LOST]
    assert server.seen == [(0, 0), (0, 1), (1, 1)]


def test_a_request_on_a_new_connection_is_not_made_again():
    server = Server(lambda connection, request: b"")
    assert server.ask(1) == [LOST]
    assert server.seen == [(0, 0)]


@pytest.mark.parametrize("begun", [OK[:-1], b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"])
def test_a_request_whose_response_has_begun_is_not_made_again(begun):
    server = Server(lambda connection, request: OK if request == 0 else begun)
    first, second = server.ask(2)
    assert first == [200, "ok"]
    assert second[0] == 0
    assert server.seen == [(0, 0), (0, 1)]


def test_a_connection_that_the_server_closes_is_not_used_again():
    server = Server(lambda connection, request: OK.replace(b"OK\r", b"OK\r\nConnection: close\r"))
    assert server.ask(2) == [[200, "ok"]] * 2
    assert server.seen == [(0, 0), (1, 1)]


def test_heads_are_bounded_on_kept_connections_too():
    endless = b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(20_000))
    server = Server(lambda connection, request: OK if request == 0 else endless + b"X: ok")
    first, second = server.ask(2)
    assert first == [200, "ok"]
    assert second[0] == 0


def test_requests_share_a_tls_connection(certificate):
    server = Server(lambda connection, request: OK, certificate)
    assert server.ask(3, SSL_CERT_FILE=str(certificate)) == [[200, "ok"]] * 3
    assert [connection for connection, _ in server.seen] == [0, 0, 0]


def test_a_certificate_that_is_not_trusted_is_an_error(certificate):
    server = Server(lambda connection, request: OK, certificate)
    ((status, why),) = server.ask(1)
    assert status == 0
    assert "certificate verify failed" in why
    assert server.seen == []
