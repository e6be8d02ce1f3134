"""A fake chat model on a virtual clock: it gets real HTTP requests and streams its answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request


@dataclass
class Step:
    """At `at_s` after the request, send `data`, and optionally end the response or hang up."""

    at_s: float
    data: bytes = b""
    end: bool = False
    hang_up: bool = False


@dataclass
class Script:
    """One response."""

    steps: Sequence[Step]
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "text/event-stream"})


def chunk(text: str | None = None, finish: str | None = None, **more: Any) -> bytes:
    delta = {} if text is None else {"content": text}
    event = {
        "model": "m-1",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        **more,
    }
    return f"data: {json.dumps(event)}\n\n".encode()


USAGE = b'data: {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 5}}\n\n'
DONE = b"data: [DONE]\n\n"


def answer_at(seconds: float, text: str, finish: str = "stop") -> Script:
    """Return a script that sends the whole answer at once, `seconds` after the question."""
    return Script([Step(seconds, chunk(text) + chunk(finish=finish) + USAGE + DONE, end=True)])


def streamed(seconds: float, sentences: Sequence[str], first_s: float = 0.5) -> Script:
    """Return a script that spreads the sentences evenly; the last comes after `seconds`."""
    gap = (seconds - first_s) / max(1, len(sentences) - 1)
    steps = [Step(min(first_s + gap * n, seconds), chunk(text)) for n, text in enumerate(sentences)]
    return Script([*steps, Step(seconds, chunk(finish="stop") + USAGE + DONE, end=True)])


def error(status: int, body: str, at_s: float = 0.0, **headers: str) -> Script:
    """Return a script for an error response."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Script([Step(at_s, body.encode(), end=True)], status, named)


class ModelServer(Resource):
    """Answers each request with `respond(messages)`, and records the requests."""

    isLeaf = True

    def __init__(
        self, clock: IReactorTime, respond: Callable[[list[dict[str, str]]], Script]
    ) -> None:
        super().__init__()
        self._clock = clock
        self.respond = respond
        self.calls: list[dict[str, Any]] = []
        self.headers: list[Any] = []
        self.hung_up = 0
        self.running = 0
        """The number of calls whose connection is open."""

    def messages(self, call: int = -1) -> list[tuple[str, str]]:
        return [(message["role"], message["content"]) for message in self.calls[call]["messages"]]

    def render_POST(self, request: Request) -> int:
        payload = json.loads(request.content.read())
        self.calls.append(payload)
        self.headers.append(request.requestHeaders)
        script = self.respond(payload["messages"])
        request.setResponseCode(script.status)
        for name, value in script.headers.items():
            request.setHeader(name, value)
        timers = [
            self._clock.callLater(step.at_s, self._take, request, step) for step in script.steps
        ]

        def hang_up(_: object) -> None:
            self.hung_up += 1
            for timer in timers:
                if timer.active():
                    timer.cancel()

        request.notifyFinish().addErrback(hang_up)
        self.running += 1
        request.notifyFinish().addBoth(self._closed)
        return NOT_DONE_YET

    def _closed(self, _: object) -> None:
        self.running -= 1

    def _take(self, request: Request, step: Step) -> None:
        if step.data:
            request.write(step.data)
        if step.hang_up:
            request.loseConnection()
        elif step.end:
            request.finish()
