"""Requests to a model server, and the chunks of its responses."""

from __future__ import annotations

import copy
import json
import random

import pytest

from wxgptd.domain.prompt.context import Message
from wxgptd.llm import wire
from wxgptd.llm.model_errors import ModelError
from wxgptd.llm.wire import Chunk, InvalidChunk

PARAMETERS = {"max_tokens": 100, "stream_options": {"include_usage": True}}


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        ("https://api.openai.com/v1", "https://api.openai.com/v1/chat/completions"),
        ("https://api.deepseek.com/", "https://api.deepseek.com/chat/completions"),
        ("http://h:3000/v1/chat/completions", "http://h:3000/v1/chat/completions"),
        (
            "https://r.openai.azure.com/openai/deployments/d?api-version=2024-10-21",
            "https://r.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21",
        ),
        (
            "https://open.bigmodel.cn/api/paas/v4",
            "https://open.bigmodel.cn/api/paas/v4/chat/completions",
        ),
    ],
)
def test_the_path_is_appended_to_the_base_url_if_missing(base_url, url):
    assert wire.completions_url(base_url) == url


def test_a_request_asks_for_a_stream_with_usage():
    body = json.loads(wire.request_body("m", [Message("user", "天")], PARAMETERS))
    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "天"}],
        "stream": True,
        "max_tokens": 100,
        "stream_options": {"include_usage": True},
    }


def test_any_user_text_can_be_sent():
    wire.request_body("m", [Message("user", "\ud83d")], {})


@pytest.mark.parametrize(
    ("data", "chunk"),
    [
        ({"choices": []}, Chunk()),
        ({"choices": [{}]}, Chunk()),
        ({"choices": [{"delta": None}]}, Chunk()),
        ({"choices": [{"delta": {"content": None}}]}, Chunk()),
        ({"choices": [{"delta": {"content": "天"}}], "model": "m"}, Chunk("天", model="m")),
        ({"choices": [{"delta": {"reasoning_content": "想"}}]}, Chunk(thoughts="想")),
        ({"choices": [{"delta": {"reasoning": "想"}}]}, Chunk(thoughts="想")),
        ({"choices": [{"delta": {"reasoning": "想", "content": ""}}]}, Chunk(thoughts="想")),
        ({"choices": [{"delta": {}, "finish_reason": "stop"}]}, Chunk(finish="stop")),
        (
            {"choices": [{"message": {"content": "全"}, "finish_reason": "stop"}]},
            Chunk("全", "stop", is_total=True, is_whole=True),
        ),
        ({"choices": [{"delta": {"content": [{"type": "text", "text": "块"}]}}]}, Chunk("块")),
        (
            {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}},
            Chunk(prompt_tokens=3, completion_tokens=4, has_usage=True),
        ),
        (
            {"choices": [{"delta": {}, "finish_reason": "stop", "usage": {"prompt_tokens": 3}}]},
            Chunk(finish="stop", prompt_tokens=3),
        ),
        ({"choices": [], "usage": {"prompt_tokens": 10**30}}, Chunk()),
        ({"choices": [], "usage": {"prompt_tokens": True, "completion_tokens": -1}}, Chunk()),
        ({"choices": "none"}, Chunk()),
    ],
)
def test_chunks_are_parsed_leniently(data, chunk):
    assert wire.parse_chunk(json.dumps(data)) == chunk


@pytest.mark.parametrize("data", ["", "{", "[]", "null", "3", "[" * 100_000])
def test_data_that_is_not_a_chunk_is_rejected(data):
    with pytest.raises(InvalidChunk):
        wire.parse_chunk(data)


def test_an_error_inside_a_stream_is_not_a_chunk():
    assert isinstance(wire.parse_chunk('{"error": {"message": "x"}}'), ModelError)
    assert isinstance(wire.parse_chunk('{"code": 20012, "message": "x"}'), ModelError)


def mutated(source: random.Random) -> object:
    """Return a chunk as most servers send it, with up to three things that some send."""
    values = [
        None, "", "text", "null", "stop", 0, 1, "0", True, [], {}, ["a"], {"a": 1}, {"message": "no"},
        {"content": "x"}, [{"type": "text", "text": "y"}], [{"index": 0, "delta": {"content": "z"}}],
        {"completion_tokens": 3}, {"code": 1, "message": "no"},
    ]  # fmt: skip
    chunk: dict = {
        "id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{"index": 0, "delta": {"content": "天空"}, "finish_reason": None}],
    }  # fmt: skip
    choice, names = chunk["choices"][0], {
        0: ["usage", "model", "error", "errors", "code", "message", "base_resp", "choices", "errmsg",
            "system_fingerprint", "object", "prompt_eval_count", "done", "status", "type"],
        1: ["index", "delta", "message", "finish_reason", "finishReason", "text", "logprobs", "error", "usage"],
        2: ["role", "content", "refusal", "reasoning", "reasoning_content", "tool_calls", "images", "audio"],
    }  # fmt: skip
    for _ in range(source.randrange(4)):
        level = source.randrange(3)
        place = (chunk, choice, choice["delta"])[level]
        if isinstance(place, dict):
            name = source.choice(names[level])
            if source.random() < 0.2:
                place.pop(name, None)
            else:
                place[name] = copy.deepcopy(source.choice(values))
        if not isinstance(choice.get("delta"), dict):
            break
    return source.choice([chunk, chunk, chunk, [chunk]])


@pytest.mark.parametrize("seed", range(40))
def test_the_shortcut_for_usual_chunks_changes_nothing(seed):
    source, taken = random.Random(seed), 0
    for _ in range(500):
        chunk = mutated(source)
        taken += wire._usual_chunk(chunk) is not None
        # A field that only the liberal parser accepts, and ignores.
        first = chunk[0] if isinstance(chunk, list) else chunk
        unusual = {**first, "obfuscation": "x"}
        assert wire._usual_chunk(unusual) is None
        assert parsed(chunk) == parsed([unusual] if isinstance(chunk, list) else unusual), chunk
    assert taken > 50


def parsed(chunk: object) -> object:
    """Return what is read of `chunk`; of an error, all but the excerpt of what was received."""
    read = wire.parse_chunk(json.dumps(chunk, ensure_ascii=False))
    return read.reason if isinstance(read, ModelError) else read
