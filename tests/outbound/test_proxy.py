"""Requests through an HTTP proxy, on real sockets: plain HTTP, and HTTPS by CONNECT."""

from __future__ import annotations

import base64
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytestmark = pytest.mark.processes

ASK = """
import json, sys
from twisted.internet import task
from twisted.logger import globalLogBeginner, textFileLogObserver
globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)], redirectStandardIO=False)
from twisted.internet.defer import Deferred
from wxgptd.outbound.client import http_client
from wxgptd.outbound.reading import reason_of
async def main(reactor):
    try:
        response = await http_client(reactor, sys.argv[1]).post(sys.argv[2], data=b"hello")
        print(json.dumps([response.code, (await response.content()).decode()]))
    except Exception as error:
        print(json.dumps([0, reason_of(error)]))
    import gc; gc.collect()  # logs unhandled failures
task.react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
"""


class Server(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        response = b"heard " + body
        self.send_response(200)
        self.send_header("content-length", str(len(response)))
        self.end_headers()
        self.wfile.write(response)

    def log_message(self, *_):
        pass


class Proxy(BaseHTTPRequestHandler):
    """Tunnels connections, serves requests with an absolute URL, and records both."""

    def do_CONNECT(self):
        self.server.seen.append(("CONNECT", self.path, self.headers["proxy-authorization"]))
        if self.server.refuse:
            self.send_response(403, "Forbidden by policy")
            self.end_headers()
            return
        host, _, port = self.path.rpartition(":")
        with socket.create_connection((host, int(port))) as upstream:
            self.send_response(200)
            self.end_headers()
            ended = threading.Event()
            for source, target in ((self.connection, upstream), (upstream, self.connection)):
                pump = threading.Thread(target=self._pump, args=(source, target, ended))
                pump.daemon = True
                pump.start()
            ended.wait(10)

    def _pump(self, source, target, ended):
        try:
            while data := source.recv(65_536):
                target.sendall(data)
        except OSError:
            pass
        finally:
            ended.set()

    def do_POST(self):
        self.server.seen.append(("POST", self.path, self.headers["proxy-authorization"]))
        Server.do_POST(self)

    def log_message(self, *_):
        pass


def start(handler, wrap=None):
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if wrap is not None:
        server.socket = wrap(server.socket)
    server.refuse = False
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.fixture
def proxy():
    server = start(Proxy)
    server.seen = []
    yield server
    server.shutdown()
    server.server_close()


def ask(proxy: str, url: str, **environ: str) -> tuple[int, str]:
    completed = subprocess.run(
        [sys.executable, "-c", ASK, proxy, url],
        capture_output=True,
        encoding="utf-8",
        timeout=30,
        env={**os.environ, **environ},
    )
    assert completed.stdout, completed.stderr
    assert "Unhandled" not in completed.stderr
    return tuple(json.loads(completed.stdout))


def test_an_http_request_is_sent_to_the_proxy_with_its_absolute_url(proxy):
    response = ask(f"http://127.0.0.1:{proxy.server_port}", "http://model.invalid/v1/x")
    assert response == (200, "heard hello")
    assert proxy.seen == [("POST", "http://model.invalid/v1/x", None)]


def test_an_https_request_goes_through_a_tunnel(proxy, certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = start(Server, lambda sock: context.wrap_socket(sock, server_side=True))
    url = f"https://127.0.0.1:{server.server_port}/v1/x"
    address = f"http://who:s%40cret@127.0.0.1:{proxy.server_port}"
    response = ask(address, url, SSL_CERT_FILE=str(certificate))
    assert response == (200, "heard hello")
    token = base64.b64encode(b"who:s@cret").decode()
    assert proxy.seen == [("CONNECT", f"127.0.0.1:{server.server_port}", f"Basic {token}")]
    # Errors beyond the tunnel are still reported.
    code, why = ask(address, url)
    assert code == 0
    assert "certificate" in why.lower() or "SSL" in why
    server.shutdown()
    server.server_close()


def test_a_proxy_s_rejection_is_reported(proxy):
    proxy.refuse = True
    code, why = ask(f"http://127.0.0.1:{proxy.server_port}", "https://model.invalid/v1/x")
    assert code == 0
    assert "proxy CONNECT failed: 403 Forbidden by policy" in why


def test_the_server_is_not_contacted_directly_if_the_proxy_is_down():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code, why = ask(f"http://127.0.0.1:{port}", "https://127.0.0.1:9/v1/x")
    assert code == 0
    assert "refused" in why.lower()
