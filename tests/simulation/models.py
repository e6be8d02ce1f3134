"""Model servers that answer in every way that real ones do, as a seed decides."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from random import Random

from tests.support.model_server import DONE, USAGE, Script, Step, answer_at, chunk, error, streamed

TAG = re.compile(r"【(\w+#\d+)】")


def sentences(tag: str, count: int) -> list[str]:
    """Return the sentences of an answer; each names its question, its call and its number."""
    return [f"〔{tag}〕第{number:03}句话在这里说完了。" for number in range(count)]


class Models:
    """Answers each call in a way drawn from the seed, and remembers how."""

    def __init__(self, seed: int, tell: Callable[[str], None]) -> None:
        self._seed = seed
        self._tell = tell
        self.calls: dict[str, list[str]] = {}
        """How each call for a question was answered, by the question's tag."""
        self.on_call: Callable[[str], None] = lambda tag: None

    def respond(self, messages: list[dict[str, str]]) -> Script:
        found = TAG.findall(messages[-1]["content"]) if messages else []
        if not found:
            return answer_at(0.2, "好")  # a probe
        tag = found[-1]
        ways = self.calls.setdefault(tag, [])
        random = Random(f"model {self._seed} {tag} {len(ways)}")
        way = random.choices(list(WAYS), [weight for weight, _ in WAYS.values()])[0]
        ways.append(way)
        self._tell(f"model call {len(ways)} for {tag}: {way}")
        self.on_call(tag)
        return WAYS[way][1](random, f"{tag}.{len(ways)}")


def _late(random: Random, tag: str) -> Script:
    return answer_at(random.uniform(15, 40), "".join(sentences(tag, random.randrange(1, 60))))


def _quick(random: Random, tag: str) -> Script:
    return answer_at(random.uniform(0.1, 14), "".join(sentences(tag, random.randrange(1, 8))))


def _streamed(random: Random, tag: str) -> Script:
    return streamed(random.uniform(1, 14), sentences(tag, random.randrange(2, 30)))


def _long(random: Random, tag: str) -> Script:
    return streamed(random.uniform(16, 45), sentences(tag, random.randrange(60, 200)))


def _cut(random: Random, tag: str) -> Script:
    parts = sentences(tag, random.randrange(2, 30))
    at = random.uniform(0.5, 20)
    steps = [Step(at * n / len(parts), chunk(part)) for n, part in enumerate(parts)]
    return Script([*steps, Step(at, hang_up=True)])


def _thoughts(random: Random, tag: str) -> Script:
    thought = json.dumps({"choices": [{"delta": {"reasoning_content": f"想{tag}"}}]})
    steps = [Step(0.3, f"data: {thought}\n\n".encode())]
    parts = sentences(tag, random.randrange(1, 20))
    at = random.uniform(4, 25)
    text = [Step(2 + at * n / len(parts), chunk(part)) for n, part in enumerate(parts)]
    return Script([*steps, *text, Step(at + 2, chunk(finish="stop") + USAGE + DONE, end=True)])


def _filtered(random: Random, tag: str) -> Script:
    end = Step(1.0, chunk(finish="content_filter") + DONE, end=True)
    return Script([Step(0.5, chunk(sentences(tag, 1)[0])), end])


def _truncated(random: Random, tag: str) -> Script:
    return streamed_with(random, tag, "length")


def streamed_with(random: Random, tag: str, finish: str) -> Script:
    parts = sentences(tag, random.randrange(2, 20))
    steps = [Step(0.2 * n, chunk(part)) for n, part in enumerate(parts)]
    return Script([*steps, Step(0.2 * len(parts), chunk(finish=finish) + DONE, end=True)])


def _no_reason(random: Random, tag: str) -> Script:
    parts = sentences(tag, random.randrange(2, 20))
    steps = [Step(0.2 * n, chunk(part)) for n, part in enumerate(parts)]
    return Script([*steps, Step(0.2 * len(parts), DONE, end=True)])


def _error_inside(random: Random, tag: str) -> Script:
    body = b'data: {"error": {"message": "overloaded", "code": 503}}\n\n'
    return Script([Step(0.5, chunk(sentences(tag, 1)[0])), Step(1.0, body, end=True)])


WAYS: dict[str, tuple[int, Callable[[Random, str], Script]]] = {
    "quick": (30, _quick),
    "streamed": (25, _streamed),
    "late": (12, _late),
    "long": (15, _long),
    "cut off": (6, _cut),
    "after thoughts": (5, _thoughts),
    "filtered": (2, _filtered),
    "truncated": (3, _truncated),
    "without a finish reason": (3, _no_reason),
    "an error in the stream": (2, _error_inside),
    "empty": (2, lambda random, tag: streamed(1.0, [""])),
    "silent": (2, lambda random, tag: Script([Step(500.0, end=True)])),
    "429": (3, lambda random, tag: error(429, "{}", 0.3, retry_after="2")),
    "500": (3, lambda random, tag: error(500, "oops", 0.3)),
    "502 page": (1, lambda random, tag: error(502, "<html>bad gateway</html>", 0.3)),
    "401": (1, lambda random, tag: error(401, '{"error": {"message": "bad key"}}', 0.2)),
    "402": (1, lambda random, tag: error(402, "{}", 0.2)),
    "not JSON": (1, lambda random, tag: Script([Step(0.3, b"data: nonsense\n\n", end=True)])),
}

GOOD = frozenset({"quick", "streamed", "late", "long", "after thoughts", "truncated"})
"""Ways that end in an answer, so that nothing but a crash has a question asked again."""
