"""The daemon behind a real nginx with the shipped configuration."""

from __future__ import annotations

import datetime as dt
import http.client
import re
import shutil
import ssl
import subprocess
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.processes import Stage, free_port
from tests.support.scripted_model import ScriptedModel

NGINX = shutil.which("nginx")
SHIPPED = Path(__file__).parent.parent.parent / "etc" / "nginx.conf"
pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(NGINX is None, reason="nginx is not installed"),
]


def make_certificate(directory: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "chat.example.com")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    (directory / "fullchain.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (directory / "privkey.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


class Front:
    """nginx with the shipped site; only paths, ports and the certificate differ."""

    def __init__(self, directory: Path, daemon_port: int) -> None:
        make_certificate(directory)
        self._connections: list[http.client.HTTPSConnection] = []
        self.port = free_port()
        site = SHIPPED.read_text("utf-8")
        for shipped, ours in (
            ("127.0.0.1:9005", f"127.0.0.1:{daemon_port}"),
            ("listen 443 ssl", f"listen 127.0.0.1:{self.port} ssl"),
            ("    listen [::]:443 ssl http2;\n", ""),
            ("/etc/letsencrypt/live/chat.example.com", str(directory)),
            ("/var/log/nginx/wxgptd.error.log", str(directory / "error.log")),
        ):
            assert shipped in site, f"etc/nginx.conf no longer has {shipped!r}"
            site = site.replace(shipped, ours)
        (directory / "site.conf").write_text(site)
        paths = "".join(
            f"    {kind}_temp_path {directory}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (directory / "nginx.conf").write_text(
            f"daemon off;\npid {directory}/nginx.pid;\nerror_log {directory}/error.log;\n"
            f"events {{}}\nhttp {{\n{paths}    include {directory}/site.conf;\n}}\n"
        )
        self._process = subprocess.Popen(
            [NGINX, "-c", str(directory / "nginx.conf"), "-p", str(directory)],
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                self.get("/healthz").read()
                return
            except OSError:
                time.sleep(0.05)
        raise AssertionError((directory / "error.log").read_text())

    def get(self, path: str) -> http.client.HTTPResponse:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.port, context=context, timeout=10
        )
        self._connections.append(connection)
        connection.request("GET", path, headers={"Host": "chat.example.com"})
        return connection.getresponse()

    def end(self) -> None:
        for connection in self._connections:
            connection.close()
        self._process.terminate()
        self._process.wait(10)


@pytest.fixture
def theatre(tmp_path):
    model, stage = ScriptedModel(), Stage(tmp_path)
    window = '[window]\ndeliberate_timeouts_per_5min = 0\nreply_margin = "4s"\n'
    stage.configure(model.base_url, extra=window)
    stage.start_daemon()
    front = Front(tmp_path, stage.port)
    yield model, stage, front
    front.end()
    model.close()
    stage.end()


def next_event(response: http.client.HTTPResponse) -> str:
    lines: list[str] = []
    while line := response.readline().decode():
        if line == "\n" and any(field.startswith("data:") for field in lines):
            return "".join(lines)
        lines.append(line)
    return "".join(lines)


def test_chunks_arrive_immediately_despite_nginx_buffering(theatre):
    model, stage, front = theatre
    answer = model.expect("经过 nginx")
    stage.send("/chatgpt")
    link = stage.send("经过 nginx")["reply"]
    path = re.search(r"/a/[\w-]{22}", link).group()
    page = front.get(path)
    assert page.status == 200
    assert "经过 nginx" in page.read().decode()
    events = front.get(f"{path}/events")
    assert "thinking" in next_event(events)
    # Each piece arrives before the next one is written: nothing is buffered.
    for piece in ("第一段。", "第二段。", "第三段。"):
        answer.write(f"{piece}\n\n")
        event = ""
        while piece not in event:
            event = next_event(events)
            assert event, "the stream has ended"
    answer.end()
    last = next_event(events)
    assert '"final":true' in last
    assert events.readline() == b""


def test_nginx_closes_connections_while_the_daemon_is_down(theatre):
    _, stage, front = theatre
    stage.stop()
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        front.get("/wx/main")
    stage.start_daemon()
    assert front.get("/healthz").status == 200
