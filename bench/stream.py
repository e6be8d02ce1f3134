"""CPU per chunk of a streamed answer, compared with a bare Agent and the official openai client.

    python bench/stream.py [--answers 200] [--chunks 50] [--rounds 5]

A server in a process of its own streams `answers` answers at once, `chunks` chunks each, a chunk
every 20 ms, as a model does. The clients take turns, round by round, and each reads every answer in
a process of its own; only the CPU time of that process counts. The bare Agent only counts bytes.
The openai client is measured if it is installed (`pip install openai`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import re
import statistics
import subprocess
import sys
from multiprocessing.connection import Connection

import support

GAP_S = 0.02

BARE = """
import sys, time
from twisted.internet import task
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import Protocol
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers
class Count(Protocol):
    def __init__(self): self.size, self.done = 0, Deferred()
    def dataReceived(self, data): self.size += len(data)
    def connectionLost(self, reason): self.done.callback(self.size)
async def one(agent, url):
    response = await agent.request(b"POST", url, Headers({b"content-length": [b"0"]}))
    count = Count()
    response.deliverBody(count)
    return await count.done
async def main(reactor):
    agent = Agent(reactor, pool=HTTPConnectionPool(reactor, persistent=False))
    began = time.process_time()
    sizes = await gatherResults([Deferred.fromCoroutine(one(agent, sys.argv[1].encode())) for _ in range(int(sys.argv[2]))])
    assert len(set(sizes)) == 1 and sizes[0] > 1000
    print(time.process_time() - began)
task.react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
"""
OURS = """
import sys, time
from twisted.internet import task
from twisted.internet.defer import Deferred, gatherResults
from wxgptd.domain.prompt.context import Message
from wxgptd.llm.client import Model
from wxgptd.llm.server import Server
from wxgptd.llm.probing import Endpoint
from wxgptd.outbound.model_client import ModelClient
from wxgptd.ports.models import Completion, Prompt
async def main(reactor):
    server = Server("a", sys.argv[1], "m", 60.0, 30.0, 120.0, {"max_tokens": 100}, {})
    model = Model(server, ModelClient(reactor), reactor, Endpoint(server.url, reactor))
    prompt = Prompt(messages=[Message("user", "?")])
    began = time.process_time()
    answers = await gatherResults([model.ask(prompt, lambda _: None) for _ in range(int(sys.argv[2]))])
    assert all(isinstance(one, Completion) and one.text for one in answers)
    print(time.process_time() - began)
task.react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
"""
OPENAI = """
import asyncio, sys, time
from openai import AsyncOpenAI
async def one(client):
    said = []
    stream = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "?"}], stream=True)
    async for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            said.append(chunk.choices[0].delta.content)
    return "".join(said)
async def main():
    client = AsyncOpenAI(base_url=sys.argv[1].removesuffix("/chat/completions"), api_key="x")
    began = time.process_time()
    answers = await asyncio.gather(*[one(client) for _ in range(int(sys.argv[2]))])
    assert all(answers)
    print(time.process_time() - began)
asyncio.run(main())
"""


def events(chunks: int) -> list[bytes]:
    """Return the events that the server sends for an answer, as OpenAI does."""
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    chunk_events = [
        {**head, "choices": [{"index": 0, "delta": {"content": "天空"}, "finish_reason": None}]}
        for _ in range(chunks)
    ]
    chunk_events.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    return [f"data: {json.dumps(event)}\n\n".encode() for event in chunk_events] + [
        b"data: [DONE]\n\n"
    ]


async def serve(port: int, chunks: int, control: Connection) -> None:
    """Stream an answer to every client that asks."""
    pieces = events(chunks)
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
        b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    )

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request_head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", request_head)
        await reader.readexactly(int(length.group(1)) if length else 0)
        writer.write(head)
        for piece in pieces:
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await asyncio.sleep(GAP_S)
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", port, backlog=1_000)
    control.send("listening")
    async with server:
        await server.serve_forever()


def run_server(port: int, chunks: int, control: Connection) -> None:
    """Serve in this process."""
    asyncio.run(serve(port, chunks, control))


def measure(script: str, url: str, answers: int) -> float | None:
    """Return the client's CPU in seconds, or None if it is not installed."""
    done = subprocess.run(
        [sys.executable, "-c", script, url, str(answers)],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if "ModuleNotFoundError" in done.stderr:
        return None
    if done.returncode:
        raise RuntimeError(done.stderr)
    return float(done.stdout)


def main() -> None:
    """Measure and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--answers", type=int, default=200)
    parser.add_argument("--chunks", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    support.raise_file_limit()
    port = support.free_port()
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.Process(target=run_server, args=(port, options.chunks, theirs))
    server.start()
    ours.recv()
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    clients = {"bare Agent": BARE, "wxgptd": OURS, "openai": OPENAI}
    seconds_of: dict[str, list[float]] = {name: [] for name in clients}
    try:
        for _ in range(options.rounds):
            for name, script in clients.items():
                seconds = measure(script, url, options.answers)
                if seconds is not None:
                    seconds_of[name].append(seconds)
    finally:
        server.terminate()
    chunks = options.answers * options.chunks
    print(f"{options.answers} answers of {options.chunks} chunks at once, CPU of the client:")
    bare = statistics.median(seconds_of["bare Agent"])
    for name, times in seconds_of.items():
        if not times:
            print(f"  {name:<12} not installed")
            continue
        median = statistics.median(times)
        print(
            f"  {name:<12}{1e6 * median / chunks:8.1f} µs per chunk   {median / bare:6.2f} times the bare Agent"
        )


if __name__ == "__main__":
    main()
