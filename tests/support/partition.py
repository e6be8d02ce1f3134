"""A way to NATS servers that a test can cut, for one node alone: a process of its own.

    python -m tests.support.partition PORT...

It prints the ports where it listens, and reads `cut` and `heal`.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


class Way:
    """Passes on connections to `ports`; `urls` is where it listens."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.partition", *map(str, ports)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="ascii",
            cwd=ROOT,
        )
        assert self._process.stdout is not None
        listening = self._process.stdout.readline().split()
        self.urls = [f"nats://127.0.0.1:{port}" for port in listening]

    def cut(self) -> None:
        """Let nothing pass from now on, without a sign."""
        self._say("cut")

    def heal(self) -> None:
        """Let everything pass again."""
        self._say("heal")

    def _say(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()

    def end(self) -> None:
        """Stop."""
        self._process.kill()
        self._process.communicate()


async def main(ports: Sequence[int]) -> None:
    """Pass on connections until standard input ends."""
    whole = asyncio.Event()
    whole.set()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                await whole.wait()
                writer.write(data)
                await writer.drain()
        writer.close()

    async def accept(port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await whole.wait()
            there, back = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(carry(reader, back), carry(there, writer))

    listening = []
    for port in ports:
        server = await asyncio.start_server(
            lambda r, w, port=port: accept(port, r, w), "127.0.0.1", 0
        )
        listening.append(server)
    print(*(server.sockets[0].getsockname()[1] for server in listening), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        (whole.clear if line.strip() == "cut" else whole.set)()


if __name__ == "__main__":
    asyncio.run(main([int(port) for port in sys.argv[1:]]))
