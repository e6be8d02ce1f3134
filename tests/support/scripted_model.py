"""A model server that sends what a test writes, when the test writes it."""

from __future__ import annotations

import contextlib
import json
import queue
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Answer:
    """The answer to one question, piece by piece: the test writes it, a connection sends it."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.sent: queue.Queue[dict[str, Any] | None] = queue.Queue()

    def write(self, text: str) -> Answer:
        self.sent.put({"delta": {"content": text}})
        return self

    def think(self, text: str) -> Answer:
        self.sent.put({"delta": {"reasoning_content": text}})
        return self

    def end(self, reason: str = "stop") -> Answer:
        self.sent.put({"delta": {}, "finish_reason": reason})
        self.sent.put(None)
        return self

    def refuse(self) -> None:
        """Cut off the answer, which fails if nothing was written."""
        self.sent.put(None)


class _Server(ThreadingHTTPServer):
    request_queue_size = 1_024  # or a burst of calls would wait for the kernel to try again


class ScriptedModel:
    """An OpenAI-compatible server on a free port of `host`, in threads of its own."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._answers: dict[str, list[Answer]] = {}
        self.refuses: Callable[[str], tuple[int, str] | None] = lambda _: None
        """Returns the status and the body to reject a question with, or None."""
        self.offers: list[str] | None = None
        """The names of its models; None: it does not list them."""
        self.rejects_keys: set[str] = set()
        self.asked: list[str] = []
        self.delay_s = 0.0
        """How long the model takes to respond."""
        model = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle(self) -> None:
                with contextlib.suppress(ConnectionError):  # the daemon was killed
                    super().handle()

            def do_GET(self) -> None:
                if (self.headers["Authorization"] or "").removeprefix(
                    "Bearer "
                ) in model.rejects_keys:
                    self._send_whole(401, '{"error": {"message": "invalid key"}}')
                    return
                if model.offers is None:
                    self._send_whole(404, "no such page")
                    return
                names = [{"id": name} for name in model.offers]
                self._send_whole(200, json.dumps({"object": "list", "data": names}))

            def do_POST(self) -> None:
                size = int(self.headers["Content-Length"])
                question = _words(json.loads(self.rfile.read(size))["messages"][-1]["content"])
                model.asked.append(question)
                if rejection := model.refuses(question):
                    self._send_whole(*rejection)
                    return
                time.sleep(model.delay_s)
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Connection", "close")
                self.end_headers()
                self.close_connection = True
                answer = model._next(question)
                answer.asked.set()
                try:
                    finish = None
                    while (choice := answer.sent.get()) is not None:
                        self._send(json.dumps({"choices": [choice]}))
                        finish = choice.get("finish_reason")
                    if finish:
                        self._send("[DONE]")
                except OSError:
                    pass  # the daemon hung up

            def _send_whole(self, status: int, body: str) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body.encode())))
                self.end_headers()
                self.wfile.write(body.encode())

            def _send(self, data: str) -> None:
                self.wfile.write(f"data: {data}\n\n".encode())
                self.wfile.flush()

            def log_message(self, *_: object) -> None:
                pass

        self._server = _Server((host, 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.base_url = f"http://{host}:{self._server.server_address[1]}/v1"

    def expect(self, question: str) -> Answer:
        """Return the answer to the next call that asks `question`, for the test to write."""
        answer = Answer()
        self._answers.setdefault(question, []).append(answer)
        return answer

    def _next(self, question: str) -> Answer:
        expected = self._answers.get(question)
        return expected.pop(0) if expected else Answer().write("没有准备。").end()

    def close(self) -> None:
        for answers in self._answers.values():
            for answer in answers:
                answer.sent.put(None)
        self._server.shutdown()
        self._server.server_close()


def _words(content: Any) -> str:
    """Return the text of a message, without its pictures."""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)
