"""Real processes on real sockets: the daemon, the demo model, the command line."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock

from wxgpt.demo_stage import free_port
from wxgpt.wechat import messages, peer
from wxgptd.wechat import envelope

TOKEN = "canarytoken"
API_KEY = "sk-canary-key"
AES_KEY = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
CONFIG = """
[server]
listen = "tcp:{port}:interface={host}"
public_url = "http://{host}:{port}"
state_dir = "{state}"
[account.main]
token = "{token}"
[assistant.chatgpt]
base_url = "{model}"
api_key = "{key}"
model = "demo"
"""


class Stage:
    """A directory with a configuration, and the processes that use it.

    The daemon listens at `host`. `prefix` is put before its command, `program` is its module.
    """

    def __init__(
        self, directory: Path, host: str = "127.0.0.1", prefix: Sequence[str] = ()
    ) -> None:
        self.directory = directory
        self.host = host
        self.program = "wxgptd"
        self._prefix = prefix
        self.state = directory / "state"
        self.port = free_port()
        self.config = directory / "wxgptd.toml"
        self.log = directory / "wxgptd.log"
        self._model: subprocess.Popen[str] | None = None
        self.daemon: subprocess.Popen[bytes] | None = None
        self.configure("http://127.0.0.1:9/v1")

    def configure(self, model: str, extra: str = "", account: str = "") -> None:
        text = CONFIG.format(
            host=self.host,
            port=self.port,
            state=self.state,
            token=TOKEN,
            model=model,
            key=API_KEY,
        )
        self.config.write_text(
            text.replace("[assistant", f"{account}\n[assistant") + extra, encoding="utf-8"
        )
        self.config.chmod(0o600)

    @property
    def url(self) -> str:
        """Where the daemon listens."""
        return f"http://{self.host}:{self.port}"

    def start_model(self, **config: str) -> None:
        self._model = subprocess.Popen(
            [sys.executable, "-m", "wxgpt", "demo-model", "--port", "0"],
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        assert self._model.stdout is not None
        self.configure(self._model.stdout.readline().split('"')[1], **config)

    def configure_server(self, line: str) -> None:
        """Add a key to the `[server]` table of the configuration."""
        text = self.config.read_text("utf-8").replace("[server]", f"[server]\n{line}", 1)
        self.config.write_text(text, encoding="utf-8")

    def configure_log(self, table: str) -> None:
        """Add a `[log]` table to the configuration."""
        with self.config.open("a", encoding="utf-8") as config:
            config.write(f"\n[log]\n{table}\n")

    def start_daemon(
        self,
        *,
        max_file_bytes: int | None = None,
        max_files: int | None = None,
        ready: bool = True,
        environ: dict[str, str] | None = None,
    ) -> None:
        def limit() -> None:
            if max_file_bytes is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (max_file_bytes, max_file_bytes))
            if max_files is not None:
                resource.setrlimit(resource.RLIMIT_NOFILE, (max_files, max_files))

        environ = dict(environ or os.environ)
        if max_file_bytes is not None:
            # Coverage could not write its data either.
            environ = {k: v for k, v in environ.items() if not k.startswith("COVERAGE")}
        with self.log.open("ab") as log:
            self.daemon = subprocess.Popen(
                [*self._prefix, sys.executable, "-m", self.program, "--config", str(self.config)],
                stdin=subprocess.DEVNULL,
                stderr=log,
                stdout=log,
                preexec_fn=limit,
                env=environ,
            )
        if ready:
            self.wait_until_ready()

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            assert self.daemon is not None
            assert self.daemon.poll() is None, self.said()
            if self.get("/readyz")[0] == 200:
                return
            time.sleep(0.05)
        raise AssertionError(f"not ready: {self.said()}")

    def get(self, path: str) -> tuple[int, str]:
        url = path if path.startswith("http") else f"{self.url}{path}"
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def said(self) -> str:
        return self.log.read_text("utf-8", "replace") if self.log.exists() else ""

    def kill(self) -> None:
        assert self.daemon is not None
        self.daemon.kill()
        self.daemon.wait()

    def stop(self, patience_s: float = 20.0) -> int:
        assert self.daemon is not None
        self.daemon.send_signal(signal.SIGTERM)
        return self.daemon.wait(patience_s)

    def wxgpt(self, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            **more,
        )

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "wxgpt", "--config", str(self.config), *arguments]

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command that runs while the test continues."""
        return subprocess.Popen(
            self.command(*arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )

    def send(self, text: str, *options: str) -> dict[str, Any]:
        done = self.wxgpt("send", text, "-o", "json", *options)
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def say(self, text: str, user: str) -> str:
        """Deliver `text` as WeChat does, in one attempt and without a command; return the reply.

        Returns "" for an empty reply or "success". Raises OSError if no reply comes in time.
        """
        return self._deliver(messages.text_message(text), user)

    def show(self, url: str, user: str) -> str:
        """Deliver a picture as WeChat does, in up to `peer.ATTEMPTS` attempts; return the reply."""
        fields = messages.image_message(url)
        for _ in range(peer.ATTEMPTS):
            with contextlib.suppress(OSError):
                return self._deliver(fields, user)
        return ""

    def _deliver(self, fields: dict[str, str], user: str) -> str:
        webhook = peer.Webhook(url=f"{self.url}/wx/main", token=TOKEN)
        wechat = peer.Peer(webhook, http=None, clock=Clock(), wall=time.time)
        url, body = wechat.request(user, fields)
        request = urllib.request.Request(url, body, {"Content-Type": "text/xml"})
        with urllib.request.urlopen(request, timeout=peer.PATIENCE_S) as response:
            reply = response.read()
        return "" if reply in (b"", b"success") else envelope.parse(reply)["Content"]

    def end(self) -> None:
        for process in (self.daemon, self._model):
            if process is None:
                continue
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(10)
            if process.poll() is None:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
