"""Start workloads by forking a process that has imported everything: 10 ms instead of 300 ms.

The injury tests start a workload a thousand times, and starting an interpreter would take longer
than the injury. A zygote is a process that runs this module: a test sends it a request over a
socket, it forks, and the child becomes the workload.
"""

from __future__ import annotations

import atexit
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from functools import cache
from typing import Any

MAX_REQUEST_BYTES = 65_536
NICENESS = 5
"""The many injury tests keep the CPU busy, so time-sensitive tests take precedence."""


class Zygote:
    """The client side, used by a test."""

    def __init__(self, environ: dict[str, str]) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.zygote", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={**environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
        self._connection = ours
        self._turn = threading.Lock()
        atexit.register(self.close)

    def start(self, arguments: Sequence[str], environ: dict[str, str], stdout: int) -> int:
        """Start a workload that writes to the descriptor `stdout`; return its process id."""
        with self._turn:
            request = {"arguments": arguments, "environ": environ}
            socket.send_fds(self._connection, [json.dumps(request).encode()], [stdout])
            return self._reply()

    def wait(self, pid: int) -> int:
        """Return the exit status of a workload that has ended, or -9 if it was killed."""
        with self._turn:
            self._connection.send(json.dumps({"wait": pid}).encode())
            return self._reply()

    def _reply(self) -> int:
        return int(self._connection.recv(MAX_REQUEST_BYTES))

    def close(self) -> None:
        self._connection.close()
        self._process.wait(10)


@cache
def zygote(preloaded: str = "") -> Zygote:
    """Return this process's zygote, whose children preload the library `preloaded`."""
    # Coverage's own system calls would be injured too.
    environ = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}
    return Zygote({**environ, "LD_PRELOAD": preloaded} if preloaded else environ)


def _serve(connection: socket.socket) -> None:
    """Fork for each request and return in the child; exit when the connection closes."""
    while True:
        data, descriptors, _, _ = socket.recv_fds(connection, MAX_REQUEST_BYTES, 1)
        if not data:
            sys.exit(0)
        request: dict[str, Any] = json.loads(data)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            connection.send(str(os.waitstatus_to_exitcode(status)).encode())
            continue
        (stdout,) = descriptors
        pid = os.fork()
        if pid == 0:
            connection.close()
            os.dup2(stdout, 1)
            os.close(stdout)
            os.environ.update(request["environ"])
            sys.argv[1:] = request["arguments"]
            return
        os.close(stdout)
        connection.send(str(pid).encode())


if __name__ == "__main__":
    from tests.support import workload

    os.nice(NICENESS)
    _serve(socket.socket(fileno=int(sys.argv[1])))
    workload.main()
