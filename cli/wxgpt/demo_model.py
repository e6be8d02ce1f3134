"""The demo model: an OpenAI-compatible server that needs no model.

It streams filler in the question's language (Chinese or English), for as many seconds or characters
as the question asks for (`8 秒`, `8s`, `600 字`). Each answer states that it is from the demo
model, how many turns of context it received, and the question.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from wxgptd.domain.text.answer_length import limit_in
from wxgptd.untyped import Packed

NAME = "demo"
MAX_SECONDS = 600.0
MAX_CHARS = 100_000
PIECE_EVERY_S = 0.1

_SECONDS = re.compile(r"(\d+(?:\.\d+)?)\s*(?:秒|seconds?\b|s\b)", re.IGNORECASE)
_CHARS = re.compile(r"(\d+)\s*(?:个?字|chars\b|characters\b)", re.IGNORECASE)


class _Words(NamedTuple):
    """The model's texts in one language; `head` is a template for `question` and `turns`."""

    head: str
    sentences: tuple[str, ...]
    end: str
    offer: str
    stop: str
    """What ends a sentence."""


_CHINESE = _Words(
    head="我是演示模型，不是真正的 AI。收到了 {turns} 轮上下文。\n\n你问的是：{question}\n\n",
    sentences=(
        "微信只等五秒，然后挂断，再问一次，一共三次。",
        "大模型写完一个像样的回答，往往要半分钟。",
        "wxgptd 把这三次请求接到同一个回答上，模型只被调用一次。",
        "十五秒以内写完的，直接出现在聊天里。",
        "写不完的，先给出已经写好的部分，再附上一个链接。",
        "点开链接，剩下的文字会一边写一边出现。",
        "每一个事件都先写进日志，落盘之后才会发出去。",
        "所以进程崩溃也不要紧，重启之后会重新回答。",
    ),
    end="（演示结束）",
    offer="\n\n想看更多，回复“继续”。",
    stop="。",
)

_ENGLISH = _Words(
    head=(
        "I am the demonstration model, not a real AI. Turns of context received: {turns}.\n\n"
        "You asked: {question}\n\n"
    ),
    sentences=(
        "WeChat waits five seconds, hangs up and tries again, three times in all.",
        "A model often needs half a minute for a decent answer.",
        "wxgptd serves all three requests from one answer, with one model call.",
        "What is written within fifteen seconds appears in the chat.",
        "For the rest, the reply links to a page.",
        "On that page the answer appears as it is written.",
        "Every event is on disk before anything leaves the machine.",
        "So a crash loses nothing: the answer is written again after a restart.",
    ),
    end="(end of the demonstration)",
    offer="\n\nReply “继续” for more.",
    stop=".",
)

_CHINESE_CHARACTER = re.compile("[\u4e00-\u9fff]")


def plan(messages: Packed) -> tuple[str, float]:
    """Return the answer to `messages`, and how many seconds it takes to write."""
    conversation = [message for message in messages if isinstance(message, dict)]
    questions = (message for message in reversed(conversation) if message.get("role") == "user")
    question = next((str(message.get("content")) for message in questions), "")
    turns = sum(message.get("role") == "assistant" for message in conversation)
    question, limit = limit_in(question)
    words = _ENGLISH if question and not _CHINESE_CHARACTER.search(question) else _CHINESE
    seconds = _SECONDS.search(question)
    chars = _CHARS.search(question)
    duration_s = min(float(seconds.group(1)), MAX_SECONDS) if seconds else 0.8
    length = min(int(chars.group(1)), MAX_CHARS) if chars else (240 if duration_s > 2 else 60)
    body, number = "", 0
    while len(body) < length:
        body += f"{number + 1}. {words.sentences[number % len(words.sentences)]}\n"
        number += 1
    answer = f"{words.head.format(turns=turns, question=question)}{body}\n{words.end}"
    if not 0 < limit < len(answer):
        return answer, duration_s
    # Complete sentences and an offer of more: the request that sets the limit asks for both.
    short = answer[: max(limit - len(words.offer), 0)].rpartition(words.stop)[0]
    short = f"{short}{words.stop}{words.offer}" if short else words.offer
    return short, duration_s * len(short) / len(answer)


class DemoModel(Resource):
    """`POST .../chat/completions` and `GET .../models`, below any path."""

    def __init__(self, clock: IReactorTime) -> None:
        super().__init__()
        self._clock = clock
        self.calls = 0

    def getChild(self, path: bytes, request: Request) -> Resource:
        return self

    def render_GET(self, request: Request) -> bytes:
        if request.path.endswith(b"/models"):
            request.setHeader("content-type", "application/json")
            return json.dumps(
                {"object": "list", "data": [{"id": NAME, "object": "model"}]}
            ).encode()
        request.setHeader("content-type", "text/plain; charset=utf-8")
        calls = f"{self.calls} {'call' if self.calls == 1 else 'calls'}"
        return f"the demo model: POST to /v1/chat/completions\n{calls}\n".encode()

    def render_POST(self, request: Request) -> bytes | int:
        assert request.content is not None
        try:
            query = json.loads(request.content.read())
            answer, took_s = plan(query["messages"])
        except (ValueError, KeyError, TypeError):
            request.setResponseCode(400)
            request.setHeader("content-type", "application/json")
            return b'{"error": {"message": "not a chat completion request"}}'
        self.calls += 1
        if not query.get("stream"):
            return self._respond_at_once(request, answer)
        request.setHeader("content-type", "text/event-stream; charset=utf-8")
        writing = Deferred.fromCoroutine(self._stream(request, answer, took_s))
        request.notifyFinish().addErrback(lambda _: writing.cancel())
        writing.addErrback(_unless_cancelled)
        return NOT_DONE_YET

    def _respond_at_once(self, request: Request, answer: str) -> bytes:
        request.setHeader("content-type", "application/json; charset=utf-8")
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": answer},
            "finish_reason": "stop",
        }
        return json.dumps({"model": NAME, "choices": [choice]}).encode()

    async def _stream(self, request: Request, answer: str, took_s: float) -> None:
        pieces = max(1, min(len(answer), round(took_s / PIECE_EVERY_S)))
        began = self._clock.seconds()
        for piece in range(pieces):
            due = began + took_s * (piece + 1) / pieces
            await deferLater(self._clock, max(0.0, due - self._clock.seconds()))
            begin, end = (len(answer) * n // pieces for n in (piece, piece + 1))
            _send(request, {"delta": {"content": answer[begin:end]}})
        _send(request, {"delta": {}, "finish_reason": "stop"})
        usage = {"prompt_tokens": 0, "completion_tokens": len(answer)}
        _write(request, json.dumps({"model": NAME, "choices": [], "usage": usage}))
        _write(request, "[DONE]")
        request.finish()


def _send(request: Request, choice: dict[str, object]) -> None:
    chunk = {"model": NAME, "choices": [{"index": 0, "finish_reason": None, **choice}]}
    _write(request, json.dumps(chunk, ensure_ascii=False))


def _write(request: Request, data: str) -> None:
    request.write(f"data: {data}\n\n".encode("utf-8", "replace"))


def _unless_cancelled(failure: Failure) -> None:
    failure.trap(CancelledError)
