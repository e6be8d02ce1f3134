"""Hosts that IDNA refuses, although everything else takes them: on real sockets."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.support.field import FIELD

pytestmark = pytest.mark.processes

ASK = """
import json, sys
from twisted.internet import task
from twisted.internet.defer import Deferred
from wxgptd.outbound.client import http_client
from wxgptd.outbound.names import Names
from wxgptd.outbound.reading import reason_of
async def main(reactor):
    reactor.installNameResolver(Names(reactor, lambda name: ["127.0.0.1"], lambda *_: None))
    client = http_client(reactor, sys.argv[1])
    told = []
    for url in sys.argv[2:]:
        try:
            response = await client.post(url, data=b"hello")
            told.append((await response.content()).decode())
        except Exception as error:
            told.append(reason_of(error))
    print(json.dumps(told))
task.react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
"""


class Server(BaseHTTPRequestHandler):
    """Answers with the host and the target that it was asked for."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        said = f"{self.headers['host']} {self.path}".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_):
        pass


class Server6(ThreadingHTTPServer):
    address_family = socket.AF_INET6


@pytest.fixture(params=["127.0.0.1", "::1"])
def port(request):
    kind = Server6 if ":" in request.param else ThreadingHTTPServer
    try:
        server = kind((request.param, 0), Server)
    except OSError as error:
        pytest.skip(f"this machine has no {request.param}: {error}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield request.param, server.server_address[1]
    server.shutdown()
    server.server_close()


def asked(urls, proxy=""):
    command = [sys.executable, "-c", ASK, proxy, *urls]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)


def reported():
    """The hosts of `fixtures/field`."""
    hosts = []
    for path in sorted((FIELD / "13-hosts-of-model-servers").glob("*.url")):
        authority = path.read_text().strip().partition("//")[2].partition("/")[0]
        hosts.append(authority.rpartition(":")[0])
    return hosts


IN_V6 = ["[::1]", "[0:0::1]"]
IN_V4 = [
    "127.0.0.1", "[::ffff:127.0.0.1]", "localhost", "one_api", "stack_one-api_1", "_srv", "a--b",
    "xn--a", "ends-", "-begins", "ab--cd.example", "UPPER_Case", "模型.example", "a.b_c.d", "host.",
]  # fmt: skip


def test_every_host_that_other_programs_take_is_taken(port):
    family, number = port
    hosts = [*IN_V4, *(set(reported()) - {"[::1]"})] if family == "127.0.0.1" else IN_V6
    heard = asked([f"http://{host}:{number}/v1/chat?a=%20b" for host in hosts])
    for host, line in zip(hosts, heard, strict=True):
        named, _, path = line.partition(" ")
        assert path == "/v1/chat?a=%20b", (host, line)
        if host.isascii():
            assert named.lower() == f"{host}:{number}".lower()


def test_a_name_that_idna_knows_is_asked_for_as_idna_writes_it(port):
    family, number = port
    host = "模型.example" if family == "127.0.0.1" else "[::1]"
    [line] = asked([f"http://{host}:{number}/"])
    assert line.partition(":")[0] == ("xn--xgs754b.example" if "." in host else "[")


def test_a_proxy_is_asked_for_such_hosts_too(port):
    family, number = port
    address = f"http://[{family}]:{number}" if ":" in family else f"http://pro_xy:{number}"
    [literal, name] = asked(["http://[2001:db8::1]:81/v1", "http://one_api:3000/v1"], address)
    assert literal == "[2001:db8::1]:81 http://[2001:db8::1]:81/v1"
    assert name == "one_api:3000 http://one_api:3000/v1"
