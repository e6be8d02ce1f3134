"""The processes of `wxgpt demo`."""

from __future__ import annotations

import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from wxgpt.failures import Unreachable
from wxgptd.errors import WxgptError
from wxgptd.wording import say

CONFIG = """\
[server]
listen = "tcp:{port}:interface=127.0.0.1"
public_url = "{public_url}"
state_dir = "{state}"

[account.demo]
token = "{token}"

[assistant.chatgpt]
base_url = "{model}"
model = "demo"
system_prompt = "你是一个演示。"
"""


class DemoFailed(WxgptError):
    """the demo failed"""


class DemoStage:
    """A demo's model and daemon, in their own directory."""

    def __init__(self, directory: Path, token: str = "") -> None:
        self._directory = directory
        self._token = token or secrets.token_hex(12)
        self.port = free_port()
        self.config = directory / "wxgptd.toml"
        self.state = directory / "state"
        self.model_url = ""
        self._model: subprocess.Popen[str] | None = None
        self._daemon: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where WeChat would post messages."""
        return f"http://127.0.0.1:{self.port}/wx/demo"

    @property
    def token(self) -> str:
        """The account's token."""
        return self._token

    def begin(self) -> None:
        """Start the model and the daemon."""
        self.start_model()
        self.configure()
        self.start_daemon()

    def start_model(self) -> None:
        """Start the demo model.

        Raises:
            DemoFailed: it does not start.
        """
        self._model = subprocess.Popen(
            [sys.executable, "-m", "wxgpt", "demo-model", "--port", "0"],
            stdout=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,
        )
        assert self._model.stdout is not None
        line = self._model.stdout.readline()
        if not line.startswith("base_url"):
            raise DemoFailed(say("the demo model did not start"))
        self.model_url = line.split('"')[1]

    def configure(self, extra: str = "", public_url: str = "") -> None:
        """Write the configuration, with `extra` tables."""
        descriptor = os.open(self.config, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(
                CONFIG.format(
                    port=self.port,
                    state=self.state,
                    token=self._token,
                    model=self.model_url,
                    public_url=public_url or f"http://127.0.0.1:{self.port}",
                )
                + extra
            )

    def start_daemon(self) -> None:
        """Start the daemon without waiting until it is ready."""
        log = (self._directory / "wxgptd.log").open("ab")
        self._daemon = subprocess.Popen(
            [sys.executable, "-m", "wxgptd", "--config", str(self.config)],
            stderr=log,
            start_new_session=True,
        )
        log.close()

    def stop_daemon(self) -> None:
        """Stop the daemon as systemd does."""
        assert self._daemon is not None
        self._daemon.send_signal(signal.SIGTERM)
        self._daemon.wait(20)

    def kill_daemon(self) -> None:
        """Kill the daemon, to simulate a crash."""
        assert self._daemon is not None
        self._daemon.kill()
        self._daemon.wait()

    def wait_until_ready(self, path: str = "/readyz") -> None:
        """Wait up to 20 s until the daemon answers 200 at `path`.

        Raises:
            Unreachable: it exited, or is still not ready.
        """
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if self._daemon is None or self._daemon.poll() is not None:
                break
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as peer:
                    peer.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
                    if b" 200 " in peer.recv(64):
                        return
            except OSError:
                pass
            time.sleep(0.05)
        output = (self._directory / "wxgptd.log").read_text("utf-8", "replace").strip()
        last = output.splitlines()[-1] if output else say("nothing was logged")
        raise Unreachable(say("the daemon did not start: {last}", last=last))

    def wait(self) -> None:
        """Wait until ^C, or until the daemon exits."""
        assert self._daemon is not None
        self._daemon.wait()

    def end(self) -> None:
        """Stop everything."""
        for process in (self._daemon, self._model):
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in (self._daemon, self._model):
            if process is not None:
                try:
                    process.wait(15)
                except subprocess.TimeoutExpired:
                    process.kill()
                if process.stdout is not None:
                    process.stdout.close()


def free_port() -> int:
    """Return a port that nothing listens at, and that this process has not been given before.

    It lies below the ports that Linux gives to outgoing connections (32768 and up): one of those
    could be taken by another program's connection before anybody listens at it.
    """
    while True:
        port = random.SystemRandom().randrange(20_000, 32_768)
        if port in _given_ports:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given_ports.add(port)
        return port


_given_ports: set[int] = set()
