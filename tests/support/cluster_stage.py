"""A cluster of real processes: NATS servers, and daemons that share one log."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.machines import Machines
from tests.support.nats_servers import NatsServers
from tests.support.partition import Way
from tests.support.processes import Stage
from tests.support.scripted_model import ScriptedModel
from wxgptd.eventlog import key_file

PATIENCE_S = 30.0

STREAMS = """
import json, sys
from wxgptd.replication import creating
from wxgptd.replication.connection import Access
with creating.reached(Access(sys.argv[1:]), "main") as servers:
    print(json.dumps([stream._asdict() for stream in servers.streams()]))
"""
"""Prints the facts about the streams; in a process of its own, whose sockets are of no concern."""

HAND_OVER = """
import asyncio, sys, nats
async def main():
    client = await nats.connect(sys.argv[1:])
    await client.request("$JS.API.STREAM.LEADER.STEPDOWN.wxgptd-main-log", timeout=5)
    await client.close()
asyncio.run(main())
"""
"""Lets the log's stream be led by another server."""


class ClusterStage:
    """Some nodes named a, b and so on, one model and three NATS servers.

    With `machines`, node a and one NATS server run on the first of them, and so on. Without, each
    node reaches the servers by a way of its own, which a test can cut.
    """

    def __init__(
        self,
        directory: Path,
        *,
        nodes: int = 2,
        servers: int = 3,
        extra: str = "",
        model: ScriptedModel | None = None,
        machines: Machines | None = None,
    ) -> None:
        self.directory = directory
        self.model = model or ScriptedModel(machines.gateway if machines else "127.0.0.1")
        self.nats = NatsServers(directory / "nats", servers, machines)
        self.ways = [] if machines else [Way(self.nats.ports) for _ in range(nodes)]
        self.nodes = [self._node(number, machines) for number in range(nodes)]
        self._extra = extra
        first = self.nodes[0]
        self.public_url = first.url
        first.configure(self.model.base_url)
        first.start_daemon()
        first.stop()
        for number, node in enumerate(self.nodes):
            node.configure(self.model.base_url, extra=self._table(number) + extra)
            node.configure_server(f'public_url = "{self.public_url}"')
            text = node.config.read_text("utf-8")
            own = f'public_url = "{node.url}"\n'
            node.config.write_text(text.replace(own, "", 1), encoding="utf-8")
        copies = str(3 if servers >= 3 else 1)
        deadline = time.monotonic() + PATIENCE_S  # the servers elect a leader first
        while (created := first.wxgpt("cluster", "init", "--copies", copies)).returncode:
            assert time.monotonic() < deadline, created.stderr
            time.sleep(0.2)
        for node in self.nodes[1:]:
            shutil.copytree(first.state, node.state)

    def _node(self, number: int, machines: Machines | None) -> Stage:
        directory = self.directory / "abcde"[number]
        directory.mkdir(parents=True)
        if machines is None:
            return Stage(directory)
        return Stage(directory, machines.host(number), machines.prefix(number))

    def _table(self, number: int) -> str:
        urls = self.ways[number].urls if self.ways else self.nats.urls
        servers = ", ".join(f'"{url}"' for url in urls)
        return (
            f'\n[cluster]\nname = "main"\nnode = "{"abcde"[number]}"\nservers = [{servers}]\n'
            f'url = "{self.nodes[number].url}"\n'
        )

    def start(self) -> None:
        """Start all nodes, the first of which leads."""
        for node in self.nodes:
            node.start_daemon(ready=False)
            if node is self.nodes[0]:
                self.await_leader(node)
        for node in self.nodes[1:]:
            self.until(lambda node=node: self.summary(node)["role"] == "following")

    def summary(self, node: Stage) -> dict[str, Any]:
        """Return what `wxgpt cluster status` shows on a node, or an empty role while it starts."""
        done = node.wxgpt("cluster", "status", "--json")
        return json.loads(done.stdout) if done.stdout else {"role": "", "leader": "", "lag": 0}

    def until(self, holds: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
        """Wait until `holds` returns true."""
        deadline = time.monotonic() + patience_s
        while not holds():
            if time.monotonic() > deadline:
                said = "\n\n".join(node.said()[-3_000:] for node in self.nodes)
                raise AssertionError(f"it did not come true; the nodes said:\n{said}")
            time.sleep(0.05)

    def await_leader(self, node: Stage) -> None:
        """Wait until `node` leads."""
        self.until(lambda: node.get("/readyz")[0] == 200)

    def events(self, node: Stage) -> list[dict[str, Any]]:
        """Return the events in a node's log."""
        done = node.wxgpt("tail", "-n", "100000", "-o", "ndjson")
        assert not done.returncode, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def nats_leader(self) -> int:
        """Return the number of the NATS server that leads the log's stream."""
        return int(self._streams()[0]["servers"][0].removeprefix("n"))

    def let_lead(self, number: int) -> None:
        """Let a certain NATS server lead the log's stream."""

        def leads() -> bool:
            if self.nats_leader() == number:
                return True
            subprocess.run([sys.executable, "-c", HAND_OVER, *self.nats.urls], check=True)
            return False

        self.until(leads)

    def servers_are_current(self) -> bool:
        """Return whether all NATS servers have everything."""
        return all(stream["current"] == len(self.nats.ports) for stream in self._streams())

    def _streams(self) -> list[dict[str, Any]]:
        done = subprocess.run(
            [sys.executable, "-c", STREAMS, *self.nats.urls], stdout=subprocess.PIPE, check=True
        )
        return json.loads(done.stdout)

    def key_records(self, node: Stage) -> dict[int, bytes]:
        """Return the records of the users' keys in a node's keyring, by number."""
        data = (node.state / "keys" / "users").read_bytes()
        scan = key_file.Scan(data)
        places = zip(scan.offsets, scan.numbers, strict=True)
        return {
            number: data[offset : offset + key_file.size_of(data[offset : offset + 12])]
            for offset, number in places
            if number
        }

    def on_disks(self, record: bytes) -> list[str]:
        """Return the files below the stage's directory with the encrypted part of that record."""
        part = record[-40:-8]
        found = []
        for path in self.directory.rglob("*"):
            with contextlib.suppress(OSError):
                if path.is_file() and part in path.read_bytes():
                    found.append(str(path))
        return found

    def end(self) -> None:
        """End everything."""
        for node in self.nodes:
            with contextlib.suppress(Exception):
                node.end()
        self.model.close()
        for way in self.ways:
            way.end()
        self.nats.end()
