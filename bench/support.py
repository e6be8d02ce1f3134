"""Shared by the benchmarks: the daemon as a process, and WeChat's messages as bytes."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from pathlib import Path
from types import TracebackType

from wxgpt.demo_stage import free_port
from wxgptd.wechat import crypto, signature

OTHERS = Path(__file__).parent.parent / "build" / "bench-venv"

TOKEN = "benchtoken"
AES_KEY = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
APP_ID = "wx0123456789abcdef"

_CONFIG = """
[server]
listen = "tcp:{port}:interface=127.0.0.1"
public_url = "http://127.0.0.1:{port}"
state_dir = "{state}"
timestamp_tolerance = 0
max_connections = 30000
[account.main]
token = "{token}"
[account.safe]
token = "{token}"
app_id = "{app_id}"
aes_key = "{aes_key}"
[assistant.chatgpt]
base_url = "{model}"
model = "bench"
{extra}
"""


class Daemon:
    """The real daemon, with a state directory of its own, from `checkout` or this one."""

    def __init__(
        self,
        model: str = "http://127.0.0.1:9/v1",
        extra: str = "",
        listening: socket.socket | None = None,
        state_dir: Path | None = None,
        checkout: Path | None = None,
    ) -> None:
        self._checkout = checkout
        self._directory = tempfile.TemporaryDirectory(prefix="wxgptd-bench-")
        self._listening = listening
        self.port = free_port() if listening is None else listening.getsockname()[1]
        root = Path(self._directory.name)
        config = root / "wxgptd.toml"
        text = _CONFIG.format(
            port=self.port, state=state_dir or root / "state", token=TOKEN, app_id=APP_ID, aes_key=AES_KEY,
            model=model, extra=extra,
        )  # fmt: skip
        config.write_text(text)
        config.chmod(0o600)
        self._config = config
        self.log = root / "log.txt"
        self.start()

    def start(self) -> None:
        """Start the daemon; pass it the listening socket, if there is one, as systemd does."""
        command = [sys.executable, "-m", "wxgptd", "--config", str(self._config)]
        with self.log.open("ab") as log:
            if self._listening is None:
                environ = dict(os.environ)
                if self._checkout is not None:
                    environ["PYTHONPATH"] = f"{self._checkout}:{self._checkout / 'cli'}"
                self._process = subprocess.Popen(
                    command, stderr=log, cwd=self._checkout, env=environ
                )
                return
            passed = f'exec 3<&{self._listening.fileno()}; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"'
            self._process = subprocess.Popen(
                ["bash", "-c", passed, "bash", *command],
                stderr=log,
                pass_fds=[self._listening.fileno()],
            )

    def kill(self) -> None:
        """Kill the daemon without warning."""
        self._process.kill()
        self._process.wait()

    @property
    def config(self) -> Path:
        """The daemon's configuration file."""
        return self._config

    @property
    def pid(self) -> int:
        """The daemon's process id."""
        return self._process.pid

    def rss_bytes(self) -> int:
        """Return the daemon's resident memory, in bytes."""
        return rss_bytes(self.pid)

    def __enter__(self) -> Daemon:
        wait_for(self.port, "/readyz")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.wait(30)
        output = self.log.read_text("utf-8", "replace")
        if "Traceback" in output or "error:" in output:
            print(output[-4_000:], file=sys.stderr)
        self._directory.cleanup()


def wait_for(port: int, path: str) -> None:
    """Wait until the server on `port` answers, for at most 60 s."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"no server answers on port {port}")


def raise_file_limit() -> None:
    """Raise the limit on open files to its hard limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def text_xml(user: str, number: int, text: str, sent_at: int) -> str:
    """Return a text message in the form that WeChat documents."""
    return (
        "<xml><ToUserName><![CDATA[gh_bench]]></ToUserName>"
        f"<FromUserName><![CDATA[{user}]]></FromUserName><CreateTime>{sent_at}</CreateTime>"
        f"<MsgType><![CDATA[text]]></MsgType><Content><![CDATA[{text}]]></Content>"
        f"<MsgId>{7_000_000_000_000_000_000 + number}</MsgId></xml>"
    )


def text_request(
    user: str,
    number: int,
    text: str,
    port: int,
    *,
    path: str = "/wx/main",
    keep_alive: bool = False,
    key: crypto.Key | None = None,
    sent_at: int = 0,
    xml: str = "",
) -> tuple[bytes, bytes]:
    """Return the head and body of a signed request; its nonce is the message's number.

    It was sent now, unless `sent_at` (seconds since the epoch) says otherwise: a message that seems
    late is answered early. `xml` is the message if it is not a text message.
    """
    timestamp, nonce = "1700000000", str(number)
    body = xml or text_xml(user, number, text, sent_at or int(time.time()))
    query = (
        f"signature={signature.sign(TOKEN, timestamp, nonce)}&timestamp={timestamp}&nonce={nonce}"
    )
    if key is not None:
        sealed = key.encrypt(body, APP_ID)
        signed = signature.sign(TOKEN, timestamp, nonce, sealed)
        query += f"&encrypt_type=aes&msg_signature={signed}"
        body = f"<xml><ToUserName>gh_bench</ToUserName><Encrypt>{sealed}</Encrypt></xml>"
    encoded = body.encode()
    head = (
        f"POST {path}?{query}&openid={user} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        "User-Agent: Mozilla/4.0\r\nContent-Type: text/xml\r\n"
        f"Connection: {'keep-alive' if keep_alive else 'close'}\r\n"
        f"Content-Length: {len(encoded)}\r\n\r\n"
    )
    return head.encode(), encoded


def rss_bytes(pid: int) -> int:
    """Return the resident memory of a process, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"process {pid} has no VmRSS")


def wait_for_port(port: int) -> None:
    """Wait until a process listens on `port`, for at most 60 s."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"no process listens on port {port}")


def cpu_ns(pid: int) -> int:
    """Return the CPU time of all threads of a process, in nanoseconds, as the scheduler counts it."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[0])
        except FileNotFoundError:
            continue
    return total


def others() -> str | None:
    """Return a Python interpreter with WeRoBot and Flask, or None if they cannot be installed."""
    python = OTHERS / "bin" / "python"
    if not (OTHERS / "ready").exists():
        venv.create(OTHERS, with_pip=True, clear=True)
        packages = ["werobot", "flask", "wechatpy[cryptography]==1.8.18", "setuptools<81"]
        done = subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=False)
        if done.returncode:
            print("WeRoBot and Flask cannot be installed here: skipping them", file=sys.stderr)
            return None
        (OTHERS / "ready").touch()
    return str(python)
