"""Attacks on a daemon over real sockets: each goes on until it is told to stop.

An attack is a function of its own thread; `Siege.under` runs several at once. Connections speak
HTTP by hand, because an attacker hangs up, reads nothing and sends what no library would.
"""

from __future__ import annotations

import contextlib
import random
import socket
import time
from collections.abc import Callable
from urllib.parse import urlsplit

CONNECT_WITHIN_S = 2.0

Going = Callable[[], bool]


def connect(url: str) -> tuple[socket.socket, str]:
    """Return a connection to the server of `url`, and the path to ask for."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = socket.create_connection((parts.hostname, parts.port or 80), CONNECT_WITHIN_S)
    return connection, parts.path + (f"?{parts.query}" if parts.query else "")


def request(path: str, *headers: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *headers, "", ""]).encode()


def ask_and_hang_up(url: str, going: Going) -> None:
    """Ask for a page again and again, and never wait for it."""
    while going():
        with contextlib.suppress(OSError):
            connection, path = connect(url)
            with connection:
                connection.sendall(request(path, "Connection: close"))
                time.sleep(0.01)


def read_all(url: str, going: Going) -> None:
    """Read a page again and again."""
    while going():
        with contextlib.suppress(OSError):
            connection, path = connect(url)
            with connection:
                connection.settimeout(5)
                connection.sendall(request(path, "Connection: close"))
                while connection.recv(65_536):
                    pass


def take_nothing(url: str, going: Going, begun: list[bytes], count: int = 100) -> None:
    """Ask for a page on many connections, and take its status (into `begun`) and no more."""
    connections: list[socket.socket] = []
    try:
        for _ in range(count):
            if not going():
                return
            with contextlib.suppress(OSError):
                connection, path = connect(url)
                connections.append(connection)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
                connection.sendall(request(path))
                connection.settimeout(5)
                begun.append(connection.recv(len("HTTP/1.1 200"))[-3:])
        while going():
            time.sleep(0.05)
    finally:
        for connection in connections:
            connection.close()


def ask_ahead(url: str, more: tuple[str, ...], going: Going) -> None:
    """Send requests for a page, and for what is below it, without waiting for any response."""
    while going():
        with contextlib.suppress(OSError):
            connection, path = connect(url)
            with connection:
                connection.settimeout(0.5)
                connection.sendall(b"".join(request(path + below) for below in more) * 20)
                connection.recv(4_096)
                time.sleep(0.2)


def say_nothing(url: str, going: Going, count: int = 100) -> None:
    """Connect, and keep the connection without a word, or with half a request."""
    connections: list[socket.socket] = []
    try:
        while going():
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


def forge(url: str, going: Going) -> None:
    """Post what WeChat never signed, on a connection that is kept."""
    body = b"<xml><ToUserName>x</ToUserName></xml>"
    while going():
        with contextlib.suppress(OSError):
            connection, path = connect(url)
            with connection:
                connection.settimeout(2)
                for _ in range(50):
                    query = f"?signature={random.randbytes(20).hex()}&timestamp=1700000000&nonce=1"
                    length = f"Content-Length: {len(body)}"
                    connection.sendall(request(path + query, length, method="POST") + body)
                    if not connection.recv(65_536) or not going():
                        break
