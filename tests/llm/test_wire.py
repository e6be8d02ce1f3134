"""What is said to a model server, and what its answers mean."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wxgptd.domain.context import Message
from wxgptd.domain.values import FailureReason
from wxgptd.llm import wire
from wxgptd.llm.wire import Chunk, Cleaner, Refusal, Unintelligible

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
def test_the_address_is_the_configured_one_and_what_is_missing(base_url, url):
    assert wire.completions_url(base_url) == url


def test_a_request_asks_for_a_stream_and_its_usage():
    body = json.loads(wire.request_body("m", [Message("user", "天")], PARAMETERS))
    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "天"}],
        "stream": True,
        "max_tokens": 100,
        "stream_options": {"include_usage": True},
    }


def test_what_a_user_says_can_always_be_sent():
    wire.request_body("m", [Message("user", "\ud83d")], {})


@pytest.mark.parametrize(
    ("said", "chunk"),
    [
        ({"choices": []}, Chunk()),
        ({"choices": [{}]}, Chunk()),
        ({"choices": [{"delta": None}]}, Chunk()),
        ({"choices": [{"delta": {"content": None}}]}, Chunk()),
        ({"choices": [{"delta": {"content": "天"}}], "model": "m"}, Chunk("天", model="m")),
        ({"choices": [{"delta": {"reasoning_content": "想"}}]}, Chunk(thinking=True)),
        ({"choices": [{"delta": {"reasoning": "想"}}]}, Chunk(thinking=True)),
        ({"choices": [{"delta": {"reasoning": "想", "content": ""}}]}, Chunk(thinking=True)),
        ({"choices": [{"delta": {}, "finish_reason": "stop"}]}, Chunk(finish="stop")),
        (
            {"choices": [{"message": {"content": "全"}, "finish_reason": "stop"}]},
            Chunk("全", "stop"),
        ),
        ({"choices": [{"delta": {"content": [{"type": "text", "text": "块"}]}}]}, Chunk("块")),
        (
            {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}},
            Chunk(prompt_tokens=3, completion_tokens=4),
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
def test_chunks_are_read_liberally(said, chunk):
    assert wire.parse_chunk(json.dumps(said)) == chunk


@pytest.mark.parametrize("data", ["", "{", "[]", "null", "3", "[" * 100_000])
def test_what_is_no_chunk_is_told_apart(data):
    with pytest.raises(Unintelligible):
        wire.parse_chunk(data)


QUOTA, LONG, NO = FailureReason.QUOTA, FailureReason.TOO_LONG, FailureReason.REFUSED
DOWN, WRONG, BUSY = FailureReason.UNAVAILABLE, FailureReason.MISCONFIGURED, FailureReason.BUSY


@pytest.mark.parametrize(
    ("status", "body", "reason", "transient"),
    [
        (401, '{"error": {"message": "Incorrect API key"}}', WRONG, False),
        (403, "", WRONG, False),
        (402, '{"error": {"message": "Insufficient Balance"}}', QUOTA, False),
        (429, '{"error": {"code": "insufficient_quota", "message": "billing"}}', QUOTA, False),
        (400, '{"code": "Arrearage", "message": "overdue"}', QUOTA, False),
        (429, '{"error": {"code": "1113", "message": "余额不足"}}', QUOTA, False),
        (429, '{"error": {"message": "Rate limit reached"}}', BUSY, True),
        (400, '{"error": {"code": "context_length_exceeded"}}', LONG, False),
        (
            400,
            '{"error": {"message": "This model\'s maximum context length is 4096"}}',
            LONG,
            False,
        ),
        (400, '{"error": {"type": "exceed_context_size_error"}}', LONG, False),
        (400, '{"error": {"code": "tokens_too_long"}}', LONG, False),
        (400, '{"error": {"code": "model_context_window_exceeded"}}', LONG, False),
        (400, "the context length is only 4096 tokens", LONG, False),
        (400, "the request exceeds the available context size", LONG, False),
        (400, "Range of input length should be [1, 30720]", LONG, False),
        (400, "input token length too long", LONG, False),
        (400, "exceeded model token limit: 8192", LONG, False),
        (400, "prompt is too long: 210000 tokens", LONG, False),
        (400, "litellm.ContextWindowExceededError: ...", LONG, False),
        (
            400,
            '{"error": {"message": "No connected db.", "type": "no_db_connection"}}',
            WRONG,
            False,
        ),
        (400, '{"error": {"code": "invalid_api_key"}}', WRONG, False),
        (403, '{"error": {"code": "AccountOverdueError"}}', WRONG, False),
        (400, '{"error": {"code": "AccountOverdueError"}}', QUOTA, False),
        (400, '{"error": {"code": "SensitiveContentRiskDetection"}}', NO, False),
        (400, "Content Exists Risk: high risk", NO, False),
        (400, '{"error": {"code": "content_filter"}}', NO, False),
        (400, '{"code": "data_inspection_failed", "message": "inappropriate"}', NO, False),
        (400, '{"error": {"code": "1301", "message": "敏感"}}', NO, False),
        (400, '{"error": "bad parameter"}', DOWN, False),
        (404, "not found", DOWN, False),
        (408, "", DOWN, True),
        (
            429,
            '{"error": {"code": "rate_limit_exceeded", "message": "add a payment method: billing"}}',
            BUSY,
            True,
        ),
        (429, '{"error": {"code": "1302", "message": "并发过高"}}', BUSY, True),
        (400, '{"error": {"code": 1261, "message": "too long"}}', LONG, False),
        (403, '{"error": {"code": "Arrearage"}}', WRONG, False),
        (502, "<html>request id 1301 upstream, insufficient_quota</html>", DOWN, True),
        (500, '{"error": {"message": "oops"}}', DOWN, True),
        (502, "<html>Bad Gateway</html>", DOWN, True),
        (529, '{"error": {"type": "overloaded_error"}}', DOWN, True),
        (200, '{"error": {"message": "provider failed"}}', DOWN, True),
    ],
)
def test_an_error_means_what_its_body_and_its_status_say(status, body, reason, transient):
    refusal = wire.classify(status, body)
    assert (refusal.reason, refusal.transient) == (reason, transient)


@pytest.mark.parametrize(
    "body",
    ['{"error": {"message": "why"}}', '{"message": "why"}', '{"msg": "why"}', '{"detail": "why"}',
     '{"error": "why"}', '[{"error": {"message": "why"}}]', "why", '{"error_msg": "w\\u0000hy"}'],
)  # fmt: skip
def test_an_error_s_message_is_found_wherever_servers_put_it(body):
    assert wire.error_text(body).replace(" ", "") == "why"


def test_an_error_inside_a_stream_is_no_chunk():
    assert isinstance(wire.parse_chunk('{"error": {"message": "x"}}'), Refusal)
    assert isinstance(wire.parse_chunk('{"code": 20012, "message": "x"}'), Refusal)


# The text itself.


def clean(*pieces: str) -> str:
    cleaner = Cleaner()
    return "".join(cleaner.feed(piece) for piece in pieces) + cleaner.close()


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("<think>嗯</think>天是蓝的", "天是蓝的"),
        ("\n<think>\n嗯\n</think>\n\n天是蓝的", "天是蓝的"),
        ("天<think>嗯</think>是蓝的", "天是蓝的"),
        ("<think>没想完", ""),
        ("a < b 而且 b <th", "a < b 而且 b <th"),
        ("用 <think> 标记思考", "用 <think> 标记思考"),
        ("用 `<think>` 和 `</think>` 标记", "用 `<think>` 和 `</think>` 标记"),
        ("</think>天", "</think>天"),
    ],
)
def test_thoughts_are_left_out_and_words_are_not(written, shown):
    assert clean(written) == shown
    assert clean(*written) == shown, "split after every character"


def test_the_halves_of_a_character_are_joined():
    assert clean("天\ud83d", "\ude80空") == "天🚀空"


@given(st.lists(st.text(st.characters(), max_size=20), max_size=10))
def test_what_is_shown_can_always_be_encoded(pieces):
    shown = clean(*pieces)
    shown.encode()
    assert "\x00" not in shown


@given(st.text(st.sampled_from("ab<think>/`天\n"), max_size=60), st.integers(1, 5))
def test_how_it_is_split_makes_no_difference(text, size):
    pieces = [text[n : n + size] for n in range(0, len(text), size)]
    assert clean(*pieces) == clean(text)


@pytest.mark.parametrize(
    ("body", "limit"),
    [
        ("This model's maximum context length is 8192 tokens. However, you requested 9000", 8192),
        ("the context length is only 4096 tokens", 4096),
        ("request (700 tokens) exceeds the available context size (512 tokens)", 512),
        ("Range of input length should be [1, 30720]", 30720),
        ("prompt is too long", 0),
    ],
)
def test_the_limit_is_read_where_a_server_names_it(body, limit):
    assert wire.context_limit(body) == limit


def test_thoughts_without_end_take_no_time():
    cleaner, began = Cleaner(), time.process_time()
    cleaner.feed("<think>")
    for _ in range(200_000):
        assert cleaner.feed("想一想" * 5) == ""
    assert cleaner.feed("</think>天") == "天"
    assert time.process_time() - began < 10
