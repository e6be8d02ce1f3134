"""wxgptd installed from its wheel on a separate machine, with a model server that uses TLS."""

from __future__ import annotations

import ipaddress
import json
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.wheel import copy_environment
from tests.systemd.machine import CannotBoot, Machine

REPOSITORY = Path(__file__).parent.parent.parent
CONFIG = """
[server]
public_url = "https://chat.example.org"
state_dir = "/var/lib/wxgptd"
[account.main]
token = "canarytoken"
[assistant.chatgpt]
base_url = "https://model.test:9443/v1"
api_key = "sk-canary-key"
model = "demo"
"""
MODEL = """
import sys
from twisted.internet import endpoints, reactor
from twisted.web.server import Site
from wxgpt.demo_model import DemoModel
where = "ssl:9443:interface=127.0.0.1:privateKey=/srv/model.key:certKey=/srv/model.pem"
endpoints.serverFromString(reactor, where).listen(Site(DemoModel(reactor)))
reactor.run()
"""


@pytest.fixture(scope="package")
def machine(wheel_environment):
    """A booted machine with wxgptd in /opt/wxgptd, its units and the model server."""
    booted = Machine()
    try:
        try:
            booted.prepare()
            install(booted, wheel_environment)
            booted.boot()
        except CannotBoot as error:
            pytest.skip(f"no systemd can be booted here: {error}")
        booted.run("update-ca-certificates")
        started = booted.run(
            "systemd-run", "--unit=model", "/opt/wxgptd/bin/python", "/srv/model.py"
        )  # fmt: skip
        assert started.returncode == 0, started.stderr
        yield booted
    finally:
        booted.stop()


def install(machine: Machine, environment: Path) -> None:
    """Install wxgptd, its units and the model server on the machine."""
    root = machine.root
    copy_environment(environment, root, "/opt/wxgptd")
    warmed = machine.run_before_boot("/opt/wxgptd/bin/wxgpt", "--version")
    assert warmed.returncode == 0, warmed.stderr
    for name in ("wxgptd.service", "wxgptd.socket"):
        (root / "etc/systemd/system" / name).write_bytes((REPOSITORY / "etc" / name).read_bytes())
    (root / "etc/wxgptd").mkdir(exist_ok=True)
    (root / "srv/model.py").write_text(MODEL)
    with (root / "etc/hosts").open("a") as hosts:
        hosts.write("127.0.0.1 model.test\n")
    certify(root)


def certify(root: Path) -> None:
    """Create a CA that the machine trusts and a certificate from it for `model.test`."""
    now = datetime.now(UTC)

    def name_of(name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

    def certificate(subject: str, key, issuer_key, extension) -> bytes:  # type: ignore[no-untyped-def]
        issued = (
            x509.CertificateBuilder()
            .subject_name(name_of(subject))
            .issuer_name(name_of("wxgptd tests"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=2))
            .add_extension(extension, critical=False)
            .sign(issuer_key, hashes.SHA256())
        )
        return issued.public_bytes(serialization.Encoding.PEM)

    authority, model = (
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP256R1()),
    )
    trusted = certificate(
        "wxgptd tests", authority, authority, x509.BasicConstraints(ca=True, path_length=0)
    )
    names = [x509.DNSName("model.test"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    signed = certificate("model.test", model, authority, x509.SubjectAlternativeName(names))
    local = root / "usr/local/share/ca-certificates"
    local.mkdir(parents=True, exist_ok=True)
    (local / "wxgptd-tests.crt").write_bytes(trusted)
    (root / "srv/model.pem").write_bytes(signed)
    (root / "srv/model.key").write_bytes(
        model.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


class Unit:
    """The daemon as a unit on that machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._root = machine.root

    def configure(self, text: str = CONFIG, extra: str = "") -> None:
        path = self._root / "etc/wxgptd/wxgptd.toml"
        path.write_text(text + extra)
        path.chmod(0o600)

    def override(self, text: str) -> None:
        """Override parts of the unit, as `systemctl edit` does."""
        directory = self._root / "etc/systemd/system/wxgptd.service.d"
        directory.mkdir(exist_ok=True)
        (directory / "override.conf").write_text(text)
        self.systemctl("daemon-reload")

    def systemctl(
        self, *arguments: str, timeout_s: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        return self.machine.run("systemctl", *arguments, timeout_s=timeout_s)

    def show(self, name: str) -> str:
        return self.systemctl("show", "-P", name, "wxgptd").stdout.strip()

    @property
    def pid(self) -> int:
        return int(self.show("MainPID"))

    def wait_for(self, name: str, value: str, within_s: float = 30.0) -> None:
        deadline = time.monotonic() + within_s
        while self.show(name) != value:
            assert time.monotonic() < deadline, (
                f"{name} is {self.show(name)}: {self.journal()[-2_000:]}"
            )
            time.sleep(0.1)

    def journal(self, *arguments: str) -> str:
        return self.machine.run("journalctl", "-u", "wxgptd", "-o", "cat", *arguments).stdout

    def entries(self) -> list[dict[str, str]]:
        journal = self.machine.run("journalctl", "-u", "wxgptd", "-o", "json")
        return [json.loads(line) for line in journal.stdout.splitlines()]

    def wxgpt(self, *arguments: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        return self.machine.run("/opt/wxgptd/bin/wxgpt", *arguments, timeout_s=timeout_s)

    def ask(self, text: str) -> subprocess.Popen[str]:
        """Start delivering a message as WeChat does."""
        return self.machine.start("/opt/wxgptd/bin/wxgpt", "send", text)

    def reset(self) -> None:
        """Return the unit to its state after installation, with an empty log."""
        self.systemctl("stop", "wxgptd.service", "wxgptd.socket")
        self.systemctl("clean", "--what=state", "wxgptd.service")
        self.machine.run("rm", "-rf", "/etc/systemd/system/wxgptd.service.d")
        self.systemctl("daemon-reload")
        self.systemctl("reset-failed")
        self.machine.run("journalctl", "--rotate")
        self.machine.run("journalctl", "--vacuum-time=1s")
        self.configure()


@pytest.fixture
def unit(machine):
    """The unit, installed but not started."""
    installed = Unit(machine)
    installed.reset()
    return installed


@pytest.fixture
def running(unit):
    """The unit, started."""
    result = unit.systemctl("start", "wxgptd.socket", "wxgptd.service")
    assert result.returncode == 0, unit.journal()
    return unit
