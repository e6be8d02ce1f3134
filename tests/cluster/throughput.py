"""How many commands a second does the node that leads handle, compared with a daemon that is alone?

    python -m tests.cluster.throughput [--seconds 5] [--rounds 4]

Both run at the same time, and are asked in turns: 32 connections, each asking again as soon as it has
its reply. A command is recorded before it is answered, so each reply waits for a commit.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tests.support.cluster_stage import ClusterStage
from tests.support.processes import TOKEN, Stage
from tests.support.scripted_model import ScriptedModel
from wxgptd.wechat import signature

CONNECTIONS = 32


class Asking:
    """Asks one daemon."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._number = 0
        self.waits_s: list[float] = []

    async def round(self, seconds: float) -> float:
        """Return how many commands were answered a second."""
        until = time.monotonic() + seconds
        counts = await asyncio.gather(*(self._ask(user, until) for user in range(CONNECTIONS)))
        return sum(counts) / seconds

    async def _ask(self, user: int, until: float) -> int:
        count = 0
        while time.monotonic() < until:
            self._number += 1
            began = time.monotonic()
            await self.say(f"user{user}", "/chatgpt" if count % 2 else "/stop", self._number)
            self.waits_s.append(time.monotonic() - began)
            count += 1
        return count

    async def say(self, user: str, text: str, number: int) -> None:
        """Deliver a message, on a connection of its own."""
        timestamp, nonce = str(int(time.time())), str(number)
        signed = signature.sign(TOKEN, timestamp, nonce)
        xml = (
            f"<xml><ToUserName>gh_x</ToUserName><FromUserName>{user}</FromUserName>"
            f"<CreateTime>{timestamp}</CreateTime><MsgType>text</MsgType>"
            f"<Content>{text}</Content><MsgId>{8_000_000_000 + number}</MsgId></xml>"
        ).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(
            f"POST /wx/main?signature={signed}&timestamp={timestamp}&nonce={nonce} HTTP/1.1\r\n"
            f"Host: x\r\nContent-Type: text/xml\r\nContent-Length: {len(xml)}\r\n"
            "Connection: close\r\n\r\n".encode()
            + xml
        )
        response = await reader.read()
        writer.close()
        assert b" 200 " in response[:20], response[:200]


async def compare(plain: Asking, leading: Asking, rounds: int, seconds: float) -> list[float]:
    """Return the ratios of the rounds, each of which asks both in turns."""
    for asking in (plain, leading):
        await asking.round(1.0)
        asking.waits_s.clear()
    ratios = []
    for _ in range(rounds):
        alone, led = await plain.round(seconds), await leading.round(seconds)
        ratios.append(led / alone)
        print(
            f"  alone {alone:7.0f}/s   leading {led:7.0f}/s   ratio {led / alone:.2f}", flush=True
        )
    return ratios


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wxgptd-throughput-") as directory:
        root = Path(directory)
        model = ScriptedModel()
        alone = Stage(root)
        alone.configure(model.base_url)
        alone.start_daemon()
        cluster = ClusterStage(root / "cluster")
        try:
            cluster.start()
            leading = Asking(cluster.nodes[0].port)
            ratios = asyncio.run(
                compare(Asking(alone.port), leading, options.rounds, options.seconds)
            )
            waits = sorted(leading.waits_s)
            print(
                f"{CONNECTIONS} connections, ratio of the medians: {statistics.median(ratios):.2f}"
            )
            print(f"a reply of the leader: p99 {waits[int(len(waits) * 0.99)] * 1000:.0f} ms")
        finally:
            cluster.end()
            alone.end()
            model.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
