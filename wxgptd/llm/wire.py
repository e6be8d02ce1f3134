"""Requests to a model server, and what it sends back. Pure.

OpenAI-style chat completions, parsed leniently: servers omit all kinds of fields.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit, urlunsplit

from wxgptd.domain.prompt.context import Message
from wxgptd.llm import model_errors
from wxgptd.llm.failure_detail import FailureDetail, printable
from wxgptd.llm.model_errors import ModelError, classify
from wxgptd.untyped import JsonView

DONE = "[DONE]"
MAX_COUNT = 2**53
"""JSON numbers are not exact beyond this, so a larger count is ignored."""


def completions_url(base_url: str) -> str:
    """Return the chat completions URL, without inserting a version or dropping the query."""
    parts = urlsplit(base_url)
    path = parts.path.rstrip("/")
    if not path.endswith("/chat/completions"):
        path += "/chat/completions"
    return urlunsplit(parts._replace(path=path))


def request_body(
    model: str, messages: Sequence[Message], parameters: Mapping[str, object]
) -> bytes:
    """Return the body of a request for a streamed completion."""
    body = {
        "model": model,
        "messages": [{"role": message.role, "content": _content(message)} for message in messages],
        "stream": True,
        **parameters,
    }
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


def _content(message: Message) -> object:
    if not message.picture:
        return message.content
    picture = {"type": "image_url", "image_url": {"url": message.picture}}
    text = [{"type": "text", "text": message.content}] if message.content else []
    return [*text, picture]


@dataclass(frozen=True, slots=True)
class Chunk:
    """The contents of one chunk, or of a whole body. Fields that it lacks are empty.

    `text` is a piece of the answer, or all of it if `is_total`: some servers repeat it at the end.
    `thoughts` is a piece of reasoning, which is not part of the answer. `finish` is in lower case.
    `has_usage` indicates whether token usage is included; `is_whole`, whether this is a body that
    was not streamed, or an event marked as the last. `elsewhere` names what came instead of text.
    """

    text: str = ""
    finish: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    model: str = ""
    thoughts: str = ""
    is_total: bool = False
    has_usage: bool = False
    is_whole: bool = False
    elsewhere: str = ""


_DECODER = json.JSONDecoder(strict=False)
_OBJECT_BEGINS = re.compile(r'\s*\{\s*"')


class InvalidChunk(ValueError):
    """The server sent something that is not a chunk.

    `is_damaged` is set if it began like one, in which case a piece of the answer may be lost.
    """

    def __init__(self, said: str, data: str, *, is_damaged: bool = False) -> None:
        super().__init__(said)
        self.why = FailureDetail(said, printable(data))
        self.is_damaged = is_damaged


def parse_chunk(data: str, asked: str = "") -> Chunk | ModelError:
    """Return the contents of one event, or of the body of an answer that was not streamed.

    `asked` is what the user wrote; see `classify`.

    Raises:
        InvalidChunk: `data` is not JSON, or not an object.
    """
    try:
        parsed = _DECODER.decode(data)
    except (ValueError, RecursionError):
        damaged = _OBJECT_BEGINS.match(data) is not None
        raise InvalidChunk("not JSON", data, is_damaged=damaged) from None
    usual = _usual_chunk(parsed)
    if usual is not None:
        return usual
    if isinstance(parsed, list) and len(parsed) == 1:
        parsed = parsed[0]
    if not isinstance(parsed, dict):
        raise InvalidChunk("not a JSON object", data)
    choices = parsed.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else {}
    if not isinstance(choice, dict) or choice.get("index") not in (None, 0, "0"):
        choice = {}  # only the first of several choices is used
    if model_errors.is_error(parsed, has_answer=bool(choice) or _is_native(parsed)):
        return classify(200, data, asked=asked)
    delta, message = _object(choice.get("delta")), _object(choice.get("message"))
    is_native = not choice and _is_native(parsed)
    if is_native:  # Ollama's own API
        delta = _object(parsed.get("message"))
    is_total = bool(message) and not _split_parts(delta.get("content"))[0]
    place = message if is_total else delta
    text, thoughts = _split_parts(place.get("content"))
    legacy = choice.get("text")
    usage = parsed.get("usage") or choice.get("usage") or {}
    model = parsed.get("model")
    return Chunk(
        text=text or _string(place.get("refusal")) or _string(legacy),
        thoughts=_thoughts(delta or place) or thoughts,
        finish=_finish(choice) or (_native_finish(parsed) if is_native else ""),
        prompt_tokens=_count(usage, "prompt_tokens") or _count(parsed, "prompt_eval_count"),
        completion_tokens=_count(usage, "completion_tokens") or _count(parsed, "eval_count"),
        model=_printable_name(model) if isinstance(model, str) else "",
        is_total=is_total,
        has_usage=any(_count(usage, name) for name in ("completion_tokens", "total_tokens")),
        is_whole=is_total or (is_native and parsed.get("done") is True),
        elsewhere=_non_text(place),
    )


_USUAL_FIELDS = frozenset(
    {"id", "object", "created", "model", "choices", "system_fingerprint", "service_tier", "usage"}
)
_USUAL_CHOICE_FIELDS = frozenset({"index", "delta", "finish_reason", "logprobs"})
_USUAL_DELTA_FIELDS = frozenset({"role", "content"})


def _usual_chunk(parsed: object) -> Chunk | None:
    """Return the contents of a chunk that has a piece of text and nothing unusual.

    Nearly all are like that, and for them `parse_chunk` need not look for anything else.
    """
    if type(parsed) is not dict or not parsed.keys() <= _USUAL_FIELDS or parsed.get("usage"):
        return None
    choices, model = parsed.get("choices"), parsed.get("model", "")
    if type(choices) is not list or len(choices) != 1 or type(model) is not str:
        return None
    choice = choices[0]
    if (
        type(choice) is not dict
        or not choice.keys() <= _USUAL_CHOICE_FIELDS
        or choice.get("index", 0) != 0
        or choice.get("finish_reason") is not None
    ):
        return None
    delta = choice.get("delta")
    if type(delta) is not dict or not delta.keys() <= _USUAL_DELTA_FIELDS:
        return None
    text = delta.get("content")
    if type(text) is not str:
        return None
    return Chunk(text=text, model=_printable_name(model))


@lru_cache(maxsize=64)
def _printable_name(model: str) -> str:
    return printable(model)[:100]


def _is_native(parsed: Mapping[str, object]) -> bool:
    return isinstance(parsed.get("message"), dict) and "choices" not in parsed


def _object(value: object) -> JsonView:
    return value if isinstance(value, dict) else {}


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""


def _finish(choice: Mapping[str, object]) -> str:
    for name in ("finish_reason", "finishReason"):
        finish = choice.get(name)
        if isinstance(finish, str) and finish.strip().lower() not in ("", "null", "none"):
            return finish.strip().lower()
    return ""


def _native_finish(parsed: Mapping[str, object]) -> str:
    if parsed.get("done") is not True:
        return ""
    return _string(parsed.get("done_reason")).lower() or "stop"


_THOUGHT_PARTS = frozenset(
    {"reasoning", "thinking", "thought", "reasoning_text", "reasoning_content"}
)


def _split_parts(content: object) -> tuple[str, str]:
    """Return the text and the thoughts of a content field, which may be a list of parts."""
    if isinstance(content, str):
        return content, ""
    text, thoughts = "", ""
    for part in content if isinstance(content, list) else ():
        if not isinstance(part, dict):
            continue
        if part.get("type") in _THOUGHT_PARTS or part.get("thought") is True:
            thoughts += _thought_of(part)
        else:
            text += _string(part.get("text"))
    return text, thoughts


def _thought_of(part: Mapping[str, object]) -> str:
    for name in ("text", "thinking", "reasoning", "content", "summary"):
        value = part.get(name)
        if isinstance(value, str) and value:
            return value
        if isinstance(value, list):
            return "".join(_string(_object(piece).get("text")) for piece in value)
    return ""


def _thoughts(place: Mapping[str, object]) -> str:
    for name in ("reasoning_content", "reasoning", "thinking", "thought"):
        value = place.get(name)
        if isinstance(value, str) and value:
            return value
        if isinstance(value, list | dict):
            parts = value if isinstance(value, list) else [value]
            thoughts = "".join(_thought_of(part) for part in parts if isinstance(part, dict))
            if thoughts:
                return thoughts
    return ""


TOOLS, IMAGES, AUDIO = "tool calls", "images", "audio"


def _non_text(place: Mapping[str, object]) -> str:
    """Return what came instead of text, or an empty string."""
    if place.get("tool_calls") or place.get("function_call"):
        return TOOLS
    parts = place.get("content")
    kinds = {_object(part).get("type") for part in parts} if isinstance(parts, list) else set()
    if place.get("images") or kinds & {"image_url", "image", "output_image"}:
        return IMAGES
    return AUDIO if place.get("audio") or "audio" in kinds else ""


def _count(usage: object, name: str) -> int:
    value = usage.get(name) if isinstance(usage, Mapping) else None
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_COUNT:
        return value
    return 0


_BROKEN_FINISHES = frozenset(
    {"error", "network_error", "insufficient_system_resource", "abort", "aborted", "cancelled",
     "canceled", "timeout", "overloaded"}
)  # fmt: skip
_FULL_FINISHES = frozenset(
    {"length", "max_tokens", "max_output_tokens", "model_length", "token_limit",
     "model_context_window_exceeded"}
)  # fmt: skip
_MODERATED_FINISHES = frozenset(
    {"content_filter", "content_filtered", "sensitive", "safety", "prohibited_content", "blocklist",
     "recitation", "spii", "risk"}
)  # fmt: skip
_TOOL_FINISHES = frozenset({"tool_calls", "function_call", "tool_use"})


def broken(finish: str) -> bool:
    """Return whether a finish reason means that the answer was interrupted."""
    return finish in _BROKEN_FINISHES


def cut_short(finish: str) -> bool:
    """Return whether a finish reason means that the answer reached a length limit."""
    return finish in _FULL_FINISHES


def moderated(finish: str) -> bool:
    """Return whether a finish reason means that the provider suppressed the answer."""
    return finish in _MODERATED_FINISHES


def of_tools(finish: str) -> bool:
    """Return whether a finish reason is about tools; we offer none, so text may follow."""
    return finish in _TOOL_FINISHES
