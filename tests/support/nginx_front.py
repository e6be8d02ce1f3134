"""A real nginx before the daemon, with a site as it is shipped."""

from __future__ import annotations

import datetime as dt
import http.client
import shutil
import ssl
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.processes import free_port

NGINX = shutil.which("nginx")
ETC = Path(__file__).parent.parent.parent / "etc"


def make_certificate(directory: Path) -> None:
    """Write a certificate for localhost, and its key."""
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

    def __init__(self, directory: Path, shipped: Path, ports: Mapping[str, int]) -> None:
        """Start nginx with the `shipped` site, which leads to the daemons at these `ports`."""
        make_certificate(directory)
        self._connections: list[http.client.HTTPSConnection] = []
        self.port = free_port()
        site = shipped.read_text("utf-8")
        for theirs, ours in (
            *((address, f"127.0.0.1:{port}") for address, port in ports.items()),
            ("listen 443 ssl", f"listen 127.0.0.1:{self.port} ssl"),
            ("    listen [::]:443 ssl http2;\n", ""),
            ("/etc/letsencrypt/live/chat.example.com", str(directory)),
            ("/var/log/nginx/wxgptd.error.log", str(directory / "error.log")),
        ):
            assert theirs in site, f"{shipped} no longer has {theirs!r}"
            site = site.replace(theirs, ours)
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
        """Get a page."""
        return self._request("GET", path)

    def post(self, path: str, body: bytes) -> http.client.HTTPResponse:
        """Post what WeChat would."""
        return self._request("POST", path, body)

    def _request(
        self, method: str, path: str, body: bytes | None = None
    ) -> http.client.HTTPResponse:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.port, context=context, timeout=10
        )
        self._connections.append(connection)
        headers = {"Host": "chat.example.com", "Content-Type": "text/xml"}
        connection.request(method, path, body, headers)
        return connection.getresponse()

    def end(self) -> None:
        """Stop nginx."""
        for connection in self._connections:
            connection.close()
        self._process.terminate()
        self._process.wait(10)
