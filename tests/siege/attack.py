"""Attacks on a daemon over real sockets; each runs until it is stopped.

Each attack runs in its own thread, and `Siege.under` runs several at once. HTTP is written by
hand, because an attacker hangs up, reads nothing and sends what no library would.
"""

from __future__ import annotations

import contextlib
import random
import socket
import time
from collections.abc import Callable
from urllib.parse import urlsplit

CONNECT_WITHIN_S = 2.0

Running = Callable[[], bool]


def connect(url: str) -> tuple[socket.socket, str]:
    """Return a connection to the server of `url`, and the path to request."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = socket.create_connection((parts.hostname, parts.port or 80), CONNECT_WITHIN_S)
    return connection, parts.path + (f"?{parts.query}" if parts.query else "")


def request(path: str, *headers: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *headers, "", ""]).encode()


def request_and_hang_up(url: str, running: Running) -> None:
    """Request a page repeatedly without waiting for the response."""
    while running():
        with contextlib.suppress(OSError):
            connection, path = connect(url)
            with connection:
                connection.sendall(request(path, "Connection: close"))
                time.sleep(0.01)


def read_repeatedly(url: str, running: Running) -> None:
    """Read a page repeatedly."""
    while running():
        with contextlib.suppress(OSError):
            connection, path = connect(url)
            with connection:
                connection.settimeout(5)
                connection.sendall(request(path, "Connection: close"))
                while connection.recv(65_536):
                    pass


def read_nothing(url: str, running: Running, statuses: list[bytes], count: int = 100) -> None:
    """Request a page on many connections and read only its status, into `statuses`."""
    connections: list[socket.socket] = []
    try:
        for _ in range(count):
            if not running():
                return
            with contextlib.suppress(OSError):
                connection, path = connect(url)
                connections.append(connection)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
                connection.sendall(request(path))
                connection.settimeout(5)
                statuses.append(connection.recv(len("HTTP/1.1 200"))[-3:])
        while running():
            time.sleep(0.05)
    finally:
        for connection in connections:
            connection.close()


def pipeline(url: str, suffixes: tuple[str, ...], running: Running) -> None:
    """Send requests for a page and the paths below it without waiting for any response."""
    while running():
        with contextlib.suppress(OSError):
            connection, path = connect(url)
            with connection:
                connection.settimeout(0.5)
                connection.sendall(b"".join(request(path + suffix) for suffix in suffixes) * 20)
                connection.recv(4_096)
                time.sleep(0.2)


def stay_silent(url: str, running: Running, count: int = 100) -> None:
    """Keep connections open that send nothing or only half a request."""
    connections: list[socket.socket] = []
    try:
        while running():
            if len(connections) >= count:
                connections.pop(0).close()
            with contextlib.suppress(OSError):
                connection, path = connect(url)
                connections.append(connection)
                if len(connections) % 2:
                    connection.sendall(request(path)[:20])
            time.sleep(0.01)
    finally:
        for connection in connections:
            connection.close()


def post_forgeries(url: str, running: Running) -> None:
    """Post messages that WeChat never signed, on persistent connections."""
    body = b"<xml><ToUserName>x</ToUserName></xml>"
    while running():
        with contextlib.suppress(OSError):
            connection, path = connect(url)
            with connection:
                connection.settimeout(2)
                for _ in range(50):
                    query = f"?signature={random.randbytes(20).hex()}&timestamp=1700000000&nonce=1"
                    length = f"Content-Length: {len(body)}"
                    connection.sendall(request(path + query, length, method="POST") + body)
                    if not connection.recv(65_536) or not running():
                        break
