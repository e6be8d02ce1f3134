"""What is said to a model server, and what it sends back. Pure.

Chat completions in OpenAI's dialect, read liberally: servers leave out what they like.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from wxgptd.domain.context import Message
from wxgptd.llm.refusals import Refusal, classify
from wxgptd.llm.why import Why, printable

DONE = "[DONE]"
MAX_COUNT = 2**53
"""Beyond what JSON numbers hold exactly no server has counted anything."""


def completions_url(base_url: str) -> str:
    """Return where completions are asked for; never inserts a version, keeps a query."""
    parts = urlsplit(base_url)
    path = parts.path.rstrip("/")
    if not path.endswith("/chat/completions"):
        path += "/chat/completions"
    return urlunsplit(parts._replace(path=path))


def request_body(
    model: str, messages: Sequence[Message], parameters: Mapping[str, object]
) -> bytes:
    """Return the body of a request for a streamed completion."""
    asked = {
        "model": model,
        "messages": [{"role": one.role, "content": _said(one)} for one in messages],
        "stream": True,
        **parameters,
    }
    text = json.dumps(asked, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


def _said(message: Message) -> object:
    if not message.picture:
        return message.content
    picture = {"type": "image_url", "image_url": {"url": message.picture}}
    words = [{"type": "text", "text": message.content}] if message.content else []
    return [*words, picture]


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one chunk, or a whole body, says. Empty where it does not.

    `thoughts` is a piece of reasoning, which is no part of the answer.
    """

    text: str = ""
    finish: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    model: str = ""
    thoughts: str = ""


class Unintelligible(ValueError):
    """The server sent what is no chunk."""

    def __init__(self, said: str, data: str) -> None:
        super().__init__(said)
        self.why = Why(said, printable(data))


def parse_chunk(data: str, asked: str = "") -> Chunk | Refusal:
    """Return what the data of one event says, or the body of an answer that was not streamed.

    `asked` is what the user wrote; see `classify`.

    Raises:
        Unintelligible: it is not JSON, or no object.
    """
    try:
        said = json.loads(data)
    except (ValueError, RecursionError):
        raise Unintelligible("not JSON", data) from None
    if not isinstance(said, dict):
        raise Unintelligible("no object", data)
    if said.get("error") or ("choices" not in said and ("code" in said or "message" in said)):
        return classify(200, data, asked=asked)
    choices = said.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else {}
    if not isinstance(choice, dict):
        choice = {}
    delta = choice.get("delta") or choice.get("message") or {}
    text = delta.get("content") if isinstance(delta, dict) else None
    usage = said.get("usage") or choice.get("usage") or {}
    model = said.get("model")
    thoughts = (
        (delta.get("reasoning_content") or delta.get("reasoning"))
        if isinstance(delta, dict)
        else None
    )
    return Chunk(
        text=_content(text),
        thoughts=_content(thoughts),
        finish=finish if isinstance(finish := choice.get("finish_reason"), str) else "",
        prompt_tokens=_count(usage, "prompt_tokens"),
        completion_tokens=_count(usage, "completion_tokens"),
        model=printable(model)[:100] if isinstance(model, str) else "",
    )


def _content(said: object) -> str:
    """Return the text of a content, which some servers send as a list of parts."""
    if isinstance(said, str):
        return said
    if isinstance(said, list):
        parts = (part.get("text") for part in said if isinstance(part, dict))
        return "".join(part for part in parts if isinstance(part, str))
    return ""


def _count(usage: object, name: str) -> int:
    value = usage.get(name) if isinstance(usage, Mapping) else None
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_COUNT:
        return value
    return 0


_BROKEN_FINISHES = frozenset({"error", "network_error", "insufficient_system_resource"})
_FULL_FINISHES = frozenset({"length", "max_tokens", "model_context_window_exceeded"})
_MODERATED_FINISHES = frozenset({"content_filter", "sensitive"})


def broken(finish: str) -> bool:
    """Tell whether a finish reason means that the answer broke off."""
    return finish in _BROKEN_FINISHES


def cut_short(finish: str) -> bool:
    """Tell whether a finish reason means that there was no room for the rest."""
    return finish in _FULL_FINISHES


def moderated(finish: str) -> bool:
    """Tell whether a finish reason means that the provider suppressed the answer."""
    return finish in _MODERATED_FINISHES
