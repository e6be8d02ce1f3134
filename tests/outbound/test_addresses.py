"""Hosts that IDNA rejects but other programs accept, on real sockets."""

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
    responses = []
    for url in sys.argv[2:]:
        try:
            response = await client.post(url, data=b"hello")
            responses.append((await response.content()).decode())
        except Exception as error:
            responses.append(reason_of(error))
    print(json.dumps(responses))
task.react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
"""


class Server(BaseHTTPRequestHandler):
    """Responds with the requested host and target."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        body = f"{self.headers['host']} {self.path}".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

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


def fetch(urls, proxy=""):
    command = [sys.executable, "-c", ASK, proxy, *urls]
    completed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return json.loads(completed.stdout)


def field_hosts():
    """Return the hosts from `fixtures/field`."""
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


def test_every_host_accepted_by_other_programs_is_accepted(port):
    family, number = port
    hosts = [*IN_V4, *(set(field_hosts()) - {"[::1]"})] if family == "127.0.0.1" else IN_V6
    responses = fetch([f"http://{host}:{number}/v1/chat?a=%20b" for host in hosts])
    for host, response in zip(hosts, responses, strict=True):
        host_header, _, path = response.partition(" ")
        assert path == "/v1/chat?a=%20b", (host, response)
        if host.isascii():
            assert host_header.lower() == f"{host}:{number}".lower()


def test_a_valid_international_name_is_sent_in_its_idna_form(port):
    family, number = port
    host = "模型.example" if family == "127.0.0.1" else "[::1]"
    [response] = fetch([f"http://{host}:{number}/"])
    assert response.partition(":")[0] == ("xn--xgs754b.example" if "." in host else "[")


def test_a_proxy_receives_unusual_hosts_unchanged(port):
    family, number = port
    address = f"http://[{family}]:{number}" if ":" in family else f"http://pro_xy:{number}"
    [literal, name] = fetch(["http://[2001:db8::1]:81/v1", "http://one_api:3000/v1"], address)
    assert literal == "[2001:db8::1]:81 http://[2001:db8::1]:81/v1"
    assert name == "one_api:3000 http://one_api:3000/v1"
