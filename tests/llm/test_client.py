"""Requests to a model server: what can go wrong on the wire, and how it is handled."""

from __future__ import annotations

import gzip
import json
import re
import tracemalloc
import zlib
from typing import Any

import pytest
from treq.client import HTTPClient
from treq.testing import RequestTraversalAgent, _SynchronousProducer
from twisted.internet.task import Clock

from tests.support.model_server import (
    DONE,
    USAGE,
    ModelServer,
    Script,
    Step,
    answer_at,
    chunk,
    error,
    streamed,
)
from wxgptd.domain.model.values import FailureReason, Finish
from wxgptd.domain.prompt.context import Message
from wxgptd.llm.call import MAX_ANSWER_CHARS
from wxgptd.llm.client import Model, key_headers, retry_delay
from wxgptd.llm.probing import Endpoint
from wxgptd.llm.server import Server
from wxgptd.outbound.client import IdentityAgent
from wxgptd.ports.models import Completion, ModelFailure, Prompt

URL = "http://model.test/v1/chat/completions"
KEY = "sk-very-secret"
PROBED = "1"
"""The question that a probe asks."""
PARAMETERS = {"max_tokens": 100, "stream_options": {"include_usage": True}}


class Exchange:
    """A model client, and the scripted server that it talks to on a virtual clock."""

    def __init__(
        self, *scripts: Script, prompt: Any = None, probe: Script | None = None, **limits: Any
    ) -> None:
        self.prompt = prompt or {}
        self.probe = probe
        self.clock = Clock()
        self._scripts = list(scripts)
        self.server = ModelServer(self.clock, self._next)
        self.agent = RequestTraversalAgent(self.server)
        configured = {
            "name": "chatgpt",
            "url": URL,
            "model": "m-1",
            "secrets": (KEY,),
            "parameters": dict(PARAMETERS),
            "headers": key_headers("bearer", KEY),
            "first_text_timeout_s": 60.0,
            "idle_timeout_s": 30.0,
            "total_timeout_s": 120.0,
            **limits,
        }
        http = HTTPClient(IdentityAgent(self.agent), data_to_body_producer=_SynchronousProducer)
        self.endpoint = Endpoint(URL, self.clock)
        self.model = Model(
            Server(**configured), http, self.clock, self.endpoint, jitter=lambda: 0.5
        )
        self.pieces: list[str] = []
        self.result = None
        self.ask()

    def _next(self, messages) -> Script:
        if self.probe is not None and messages[-1]["content"] == PROBED:
            return self.probe
        return self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]

    def ask(self, words: str = "为什么？", asker: int = 1) -> None:
        self.result = None
        options = {"retry_for_s": 12.0, "asker": asker, **self.prompt}
        prompt = Prompt(messages=[Message("user", words)], **options)
        self.deferred = self.model.ask(prompt, self.pieces.append)
        self.deferred.addBoth(self._done)
        self.agent.flush()

    def _done(self, result) -> None:
        self.result = result

    def advance(self, seconds: float):
        for _ in range(round(seconds / 0.1)):
            self.clock.advance(0.1)
            for _ in range(4):
                self.agent.flush()
        return self.result

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def calls(self) -> int:
        """The number of requests from users, excluding probes."""
        return len(self.server.calls) - self.probes

    @property
    def probes(self) -> int:
        return sum(call["messages"][-1]["content"] == PROBED for call in self.server.calls)


def failed(result, reason=FailureReason.UNAVAILABLE) -> ModelFailure:
    assert isinstance(result, ModelFailure), result
    assert result.reason is reason, result
    assert KEY not in result.detail
    return result


def test_each_retry_waits_longer_than_the_last_whatever_the_jitter():
    longest_first, shortest_second = retry_delay(0, 1.0), retry_delay(1, 0.0)
    assert shortest_second > 1.3 * longest_first
    assert retry_delay(0, 0.0) < retry_delay(0, 1.0), "the jitter must spread the retries"


def test_a_streamed_answer_arrives_in_pieces_and_reports_usage():
    exchange = Exchange(streamed(2.0, ["天", "是", "蓝的。"]))
    exchange.advance(1.4)
    assert exchange.pieces == ["天", "是"]
    result = exchange.advance(2)
    assert isinstance(result, Completion)
    assert "".join(exchange.pieces) == result.text == "天是蓝的。"
    assert (result.finish, result.model) == (Finish.STOP, "m-1")
    assert (result.prompt_tokens, result.completion_tokens) == (7, 5)
    assert 0.4 < result.first_text_s < 0.7
    assert 1.9 < result.took_s < 2.2


def test_the_request_sends_the_key_and_asks_for_no_compression():
    exchange = Exchange(answer_at(0.1, "天"))
    exchange.advance(1)
    headers = exchange.server.headers[0]
    assert headers.getRawHeaders("authorization") == [f"Bearer {KEY}"]
    assert headers.getRawHeaders("accept-encoding") == ["identity"]


def test_an_unstreamed_answer_is_accepted():
    body = json.dumps(
        {"model": "m", "choices": [{"message": {"content": "天"}, "finish_reason": "stop"}]}
    )
    result = Exchange(Script([Step(0.1, b"\n\n" + body.encode(), end=True)])).advance(1)
    assert result.text == "天"


def test_the_finish_reason_length_is_reported():
    result = Exchange(answer_at(0.1, "天", finish="length")).advance(1)
    assert result.finish is Finish.LENGTH


def test_a_finish_reason_completes_the_answer_even_if_the_connection_stays_open():
    steps = [Step(0.1, chunk("天") + chunk(finish="stop")), Step(50.0, end=True)]
    exchange = Exchange(Script(steps))
    assert exchange.advance(0.5) is None, "the usage may still arrive"
    assert exchange.advance(1.5).text == "天"


@pytest.mark.parametrize(
    "sign", [DONE, USAGE, b'data: {"choices": [], "usage": {"total_tokens": 9}}\n\n']
)
@pytest.mark.parametrize("ending", [{"end": True}, {"hang_up": True}])
def test_an_end_marker_completes_the_answer_without_a_finish_reason(sign, ending):
    exchange = Exchange(Script([Step(0.1, chunk("天") + sign), Step(0.2, **ending)]))
    assert exchange.advance(20).text == "天"
    assert exchange.calls == 1


@pytest.mark.parametrize("finish", ["", 0, None, [], {}, "null", "None"])
def test_an_empty_finish_reason_does_not_end_the_answer(finish):
    first, second = chunk("天", finish), chunk("是")
    exchange = Exchange(Script([Step(0.1, first), Step(3.0, second + DONE, end=True)]))
    assert exchange.advance(5).text == "天是"


def test_usage_in_every_chunk_does_not_end_the_answer():
    usage = {"usage": {"completion_tokens": 1}}
    exchange = Exchange(
        Script([Step(0.1, chunk("天", **usage) + chunk("是", **usage), hang_up=True)])
    )
    assert failed(exchange.advance(20), FailureReason.INTERRUPTED).text == "天是"


@pytest.mark.parametrize("finish", ["stop", "tool_calls", "STOP", "weird"])
def test_a_finish_reason_in_a_chunk_with_text_does_not_end_the_answer(finish):
    pieces = [Step(2.0 * n, chunk(text, finish)) for n, text in enumerate("天是蓝的")]
    exchange = Exchange(Script([*pieces, Step(8.0, DONE, end=True)]))
    assert exchange.advance(10).text == "天是蓝的"


def test_a_finish_reason_followed_by_text_is_never_trusted_again():
    steps = [
        Step(0.1, chunk("天") + chunk(finish="stop")),
        Step(0.5, chunk("是") + chunk(finish="stop")),
        Step(4.0, chunk("蓝的") + DONE, end=True),
    ]
    assert Exchange(Script(steps)).advance(6).text == "天是蓝的"


def test_a_finish_reason_in_a_chunk_with_thoughts_does_not_end_the_answer():
    thought = chunk(
        None, "stop", choices=[{"delta": {"reasoning_content": "想"}, "finish_reason": "stop"}]
    )
    steps = [Step(0.1, thought), Step(4.0, chunk("天") + DONE, end=True)]
    assert Exchange(Script(steps)).advance(6).text == "天"


def test_an_untrusted_finish_reason_takes_effect_after_the_idle_timeout():
    exchange = Exchange(Script([Step(0.1, chunk("天", "stop"))]), idle_timeout_s=5.0)
    assert exchange.advance(3) is None
    assert exchange.advance(3).text == "天"


def test_a_connection_lost_after_an_untrusted_finish_reason_interrupts_the_answer():
    exchange = Exchange(Script([Step(0.1, chunk("天", "stop")), Step(0.2, hang_up=True)]))
    assert failed(exchange.advance(20), FailureReason.INTERRUPTED).text == "天"


@pytest.mark.parametrize("finish", ["eos_token", "end_turn", "COMPLETE", "STOP", "null"])
def test_an_unknown_finish_reason_ends_the_answer(finish):
    assert Exchange(answer_at(0.1, "天", finish)).advance(2).text == "天"


@pytest.mark.parametrize("junk", [b"data: ping\n\n", b"data: null\n\n", b"data: 1700000000\n\n",
                                  b"data: [HEARTBEAT]\n\n", b"data: []\n\n", b"event: ping\ndata: x\n\n"])  # fmt: skip
def test_an_event_that_is_not_json_is_skipped(junk):
    body = junk + chunk("天") + junk + chunk("是") + chunk(finish="stop") + junk + DONE
    assert Exchange(Script([Step(0.1, body, end=True)])).advance(2).text == "天是"
    exchange = Exchange(Script([Step(0.1, junk * 3, end=True)]))
    failed(exchange.advance(20))


@pytest.mark.parametrize("cut", [b'{"choices": [{"delta": {"con', b'{ "llmock": "malformed'])
@pytest.mark.parametrize("first", [b"", chunk("天")])
def test_truncated_json_counts_as_lost_text(cut, first):
    rest = chunk("蓝的", "stop") + DONE
    exchange = Exchange(
        Script([Step(0.1, first + b"data: " + cut + b"\n\n" + rest, end=True)]),
        answer_at(0.1, "天是蓝的"),
    )
    result = exchange.advance(20)
    if first:
        assert (result.reason, result.text) == (FailureReason.INTERRUPTED, "天")
        assert result.detail.startswith("not JSON")
    else:
        assert result.text == "天是蓝的"


@pytest.mark.parametrize("total", [
    {"message": {"content": "天是蓝的，因为散射。"}},
    {"delta": {"content": ""}, "message": {"content": "天是蓝的，因为散射。"}},
    {"delta": {"content": "天是蓝的，因为散射。"}},
    {"delta": {}, "message": {"content": [{"type": "text", "text": "天是蓝的，因为散射。"}]}},
])  # fmt: skip
def test_final_full_text_is_not_appended_to_the_answer(total):
    last = json.dumps({"choices": [{"index": 0, "finish_reason": "stop", **total}]})
    body = chunk("天是蓝的，") + chunk("因为散射。") + f"data: {last}\n\n".encode() + DONE
    assert Exchange(Script([Step(0.1, body, end=True)])).advance(3).text == "天是蓝的，因为散射。"


def test_full_text_without_earlier_pieces_is_the_answer():
    last = json.dumps({"choices": [{"message": {"content": "天"}, "finish_reason": "stop"}]})
    assert (
        Exchange(Script([Step(0.1, f"data: {last}\n\n".encode(), end=True)])).advance(3).text
        == "天"
    )


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n\n"])
def test_json_lines_are_read_as_a_stream(end):
    lines = [chunk(text).removeprefix(b"data: ").strip() for text in "天是蓝的"]
    exchange = Exchange(Script([Step(0.5 * n, line + end) for n, line in enumerate(lines)] + [
        Step(3.0, chunk(finish="stop").removeprefix(b"data: ").strip() + end, end=True)]))  # fmt: skip
    exchange.advance(1.2)
    assert exchange.text == "天是蓝"
    assert exchange.advance(3).text == "天是蓝的"


def test_a_json_body_without_a_finish_reason_is_complete():
    body = b'{"choices": [{"message": {"content": "\xe5\xa4\xa9"}}]}'
    for written in (body, body + b"\n", b"{\n" + body[1:]):
        exchange = Exchange(Script([Step(0.1, written, end=True)]))
        assert exchange.advance(2).text == "天"
        assert exchange.calls == 1


def test_ollama_s_native_format_is_understood():
    lines = [
        {"model": "q", "message": {"role": "assistant", "content": "天是"}, "done": False},
        {"model": "q", "message": {"role": "assistant", "content": "蓝的"}, "done": False},
        {"model": "q", "message": {"content": ""}, "done": True, "done_reason": "stop",
         "prompt_eval_count": 3, "eval_count": 4},
    ]  # fmt: skip
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    result = Exchange(Script([Step(0.1, body, end=True)])).advance(2)
    assert (result.text, result.prompt_tokens, result.completion_tokens) == ("天是蓝的", 3, 4)


@pytest.mark.parametrize("status", [201, 202])
def test_every_2xx_status_is_a_success(status):
    script = Script([Step(0.1, chunk("天") + chunk(finish="stop") + DONE, end=True)], status)
    assert Exchange(script).advance(2).text == "天"


def delta_script(**delta) -> Script:
    first = json.dumps({"choices": [{"delta": delta}]})
    return Script(
        [Step(0.1, f"data: {first}\n\n".encode() + chunk(finish="stop") + DONE, end=True)]
    )


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (delta_script(reasoning_content="想"), FailureReason.ONLY_THOUGHTS),
        (delta_script(content="<think>想</think>"), FailureReason.ONLY_THOUGHTS),
        (
            delta_script(content=[{"type": "thinking", "thinking": "想"}]),
            FailureReason.ONLY_THOUGHTS,
        ),
        (
            delta_script(tool_calls=[{"index": 0, "function": {"name": "f"}}]),
            FailureReason.ONLY_TOOLS,
        ),
        (delta_script(function_call={"name": "f"}), FailureReason.ONLY_TOOLS),
        (delta_script(images=[{"image_url": {"url": "data:"}}]), FailureReason.ONLY_MEDIA),
        (delta_script(content=[{"type": "image_url"}]), FailureReason.ONLY_MEDIA),
        (delta_script(content=""), FailureReason.EMPTY),
        (delta_script(content=None), FailureReason.EMPTY),
    ],
)
def test_an_answer_without_text_is_reported_after_one_call(script, reason):
    exchange = Exchange(script)
    failed(exchange.advance(20), reason)
    assert exchange.calls == 1


def test_a_model_s_refusal_is_shown():
    assert Exchange(delta_script(refusal="这个我不能说。")).advance(2).text == "这个我不能说。"


@pytest.mark.parametrize("place", [{"reasoning_details": [{"text": "想"}]}, {"reasoning": {"text": "想"}},
                                   {"thinking": "想"}, {"reasoning": ["x"]}])  # fmt: skip
def test_thoughts_in_other_fields_are_not_shown(place):
    first = json.dumps({"choices": [{"delta": {**place, "content": "天"}}]})
    body = f"data: {first}\n\n".encode() + chunk(finish="stop") + DONE
    assert Exchange(Script([Step(0.1, body, end=True)])).advance(2).text == "天"


def test_text_that_turns_out_to_be_thoughts_is_withdrawn():
    pieces = [chunk("想一想，"), chunk("\n</think>\n\n"), chunk("天"), chunk(finish="stop")]
    exchange = Exchange(
        Script([Step(0.1 * n, piece) for n, piece in enumerate(pieces)] + [Step(1, DONE, end=True)])
    )
    result = exchange.advance(3)
    assert result.text == "天"
    assert result.withdrawn


@pytest.mark.parametrize("ending", [{"end": True}, {"hang_up": True}])
def test_an_interrupted_stream_keeps_its_partial_text(ending):
    exchange = Exchange(Script([Step(0.1, chunk("天是")), Step(0.2, **ending)]))
    assert failed(exchange.advance(20), FailureReason.INTERRUPTED).text == "天是"


def test_an_empty_stream_means_that_the_context_is_too_long():
    failed(Exchange(Script([Step(0.1, end=True)])).advance(20), FailureReason.TOO_LONG)


@pytest.mark.parametrize("finish", ["content_filter", "sensitive"])
def test_a_filtered_answer_is_withdrawn(finish):
    result = failed(Exchange(answer_at(0.1, "天", finish)).advance(1), FailureReason.CONTENT_FILTER)
    assert result.text == ""


def test_an_error_in_the_stream_keeps_the_partial_text():
    bad = b'data: {"error": {"message": "provider died"}}\n\n'
    exchange = Exchange(Script([Step(0.1, chunk("天是") + bad, end=True)]))
    assert failed(exchange.advance(5), FailureReason.INTERRUPTED).text == "天是"


# Retries.


@pytest.mark.parametrize("status", [408, 409, 500, 502, 503, 529])
def test_a_server_that_is_down_is_retried_twice(status):
    exchange = Exchange(error(status, "down"))
    failed(exchange.advance(20))
    assert exchange.calls == 3


def test_a_retry_can_succeed():
    exchange = Exchange(error(503, "down"), answer_at(0.1, "天"))
    assert exchange.advance(5).text == "天"
    assert exchange.pieces == ["天"]


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (400, '{"error": "what?"}', FailureReason.UNAVAILABLE),
        (401, "", FailureReason.MISCONFIGURED),
        (403, "", FailureReason.MISCONFIGURED),
        (402, "", FailureReason.QUOTA),
        (429, "insufficient_quota", FailureReason.QUOTA),
        (400, "context_length_exceeded", FailureReason.TOO_LONG),
        (400, "content_filter", FailureReason.CONTENT_FILTER),
        (404, "no such path", FailureReason.UNAVAILABLE),
        (307, "", FailureReason.UNAVAILABLE),
    ],
)
def test_a_permanent_error_is_never_retried(status, body, reason):
    exchange = Exchange(error(status, body, location="http://elsewhere.test/"))
    failed(exchange.advance(20), reason)
    assert exchange.calls == 1


def test_a_404_names_the_requested_url():
    assert URL in failed(Exchange(error(404, "no")).advance(1)).detail


def test_retry_after_is_obeyed_if_time_allows():
    exchange = Exchange(error(429, "slow down", retry_after="3"), answer_at(0.1, "天"))
    exchange.advance(2.8)
    assert exchange.calls == 1
    assert exchange.advance(1).text == "天"


def test_a_retry_after_that_is_too_long_is_reported_to_the_user():
    exchange = Exchange(error(429, "slow down", retry_after="40"))
    assert failed(exchange.advance(1), FailureReason.BUSY).retry_after_s == 40.0
    assert exchange.calls == 1


def test_unsupported_stream_options_are_omitted_from_then_on():
    exchange = Exchange(error(422, "extra field: stream_options"), answer_at(0.1, "天"))
    assert exchange.advance(1).text == "天"
    exchange.ask()
    exchange.advance(1)
    assert ["stream_options" in call for call in exchange.server.calls] == [True, False, False]


def test_no_request_is_retried_once_text_has_arrived():
    exchange = Exchange(
        Script([Step(0.1, chunk("天")), Step(0.2, hang_up=True)]), answer_at(0.1, "x")
    )
    failed(exchange.advance(20), FailureReason.INTERRUPTED)
    assert exchange.calls == 1


# Limits.


def test_a_server_that_never_responds_times_out():
    exchange = Exchange(Script([]))
    assert exchange.advance(59) is None
    failed(exchange.advance(2))
    assert exchange.calls == 1


def test_a_stream_that_falls_silent_times_out():
    exchange = Exchange(Script([Step(1.0, chunk("天是"))]))
    assert exchange.advance(30) is None
    assert failed(exchange.advance(2), FailureReason.INTERRUPTED).text == "天是"
    assert exchange.server.hung_up == 1


def test_comments_do_not_reset_the_idle_timeout():
    exchange = Exchange(
        Script([Step(0.1, chunk("天")), *[Step(n, b": alive\n\n") for n in range(1, 90)]])
    )
    failed(exchange.advance(32), FailureReason.INTERRUPTED)


def test_an_endless_answer_hits_the_total_timeout():
    exchange = Exchange(Script([Step(0.1 * n, chunk("字")) for n in range(1, 2_000)]))
    assert failed(exchange.advance(121), FailureReason.INTERRUPTED).text.startswith("字字")
    assert exchange.server.hung_up == 1


def test_an_overlong_answer_is_cut():
    piece = chunk("字" * 10_000)
    result = Exchange(Script([Step(0.1, piece * 30)])).advance(1)
    assert result.finish is Finish.LENGTH
    assert len(result.text) <= MAX_ANSWER_CHARS + 10_000


@pytest.mark.parametrize(
    "junk", [b"x" * 300_000, b"data: not json\n\n", b'{"choices": [', b"<html>no</html>"]
)
def test_a_200_response_that_is_not_an_answer_is_a_failure(junk):
    exchange = Exchange(Script([Step(0.1, junk, end=True)]))
    result = failed(exchange.advance(20))
    assert re.search(r"\S", result.detail)


def test_an_endless_body_is_aborted():
    exchange = Exchange(Script([Step(0.01 * n, b'{"a": "' + b"x" * 60_000) for n in range(1, 200)]))
    assert "longer than" in failed(exchange.advance(20)).detail


# Bodies that arrive compressed although the request did not allow it.


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


COMPRESSIONS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "GZIP": gzip.compress,
    "deflate": zlib.compress,
    "deflate ": raw_deflate,
    "identity, gzip": gzip.compress,
}


def compressed(encoding: str, data: bytes) -> tuple[dict[str, str], bytes]:
    headers = {"content-type": "text/event-stream", "content-encoding": encoding.strip()}
    return headers, COMPRESSIONS[encoding](data)


ANSWER = chunk("天是") + chunk("蓝的。") + chunk(finish="stop") + DONE


@pytest.mark.parametrize("encoding", COMPRESSIONS)
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_compressed_answer_is_read_in_pieces_of_any_size(encoding, size):
    headers, body = compressed(encoding, ANSWER)
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    steps = [Step(0.1 + 0.001 * n, piece) for n, piece in enumerate(pieces)]
    exchange = Exchange(Script([*steps, Step(2.0, end=True)], headers=headers))
    assert exchange.advance(3).text == "天是蓝的。"


def test_a_compressed_answer_is_streamed():
    packer = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    first = packer.compress(chunk("天")) + packer.flush(zlib.Z_SYNC_FLUSH)
    rest = packer.compress(chunk("是", "stop") + DONE) + packer.flush()
    headers, _ = compressed("gzip", b"")
    exchange = Exchange(Script([Step(0.1, first), Step(5.0, rest, end=True)], headers=headers))
    exchange.advance(1)
    assert exchange.pieces == ["天"]
    assert exchange.advance(5).text == "天是"


def test_several_gzip_members_are_read_as_one_body():
    headers, body = compressed("gzip", chunk("天"))
    body += gzip.compress(chunk("是", "stop") + DONE)
    exchange = Exchange(Script([Step(0.1, body, end=True)], headers=headers))
    assert exchange.advance(3).text == "天是"


@pytest.mark.parametrize("encoding", COMPRESSIONS)
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"data: " + b"x" * 60_000_000, "a line that is too long"),
        ((b":" + b" " * 4_000 + b"\n") * 15_000, "longer than"),
    ],
    ids=["a line", "lines"],
)
def test_a_compression_bomb_is_decompressed_only_up_to_the_limit(encoding, content, reason):
    headers, bomb = compressed(encoding, content)
    tracemalloc.start()
    exchange = Exchange(Script([Step(0.1, bomb, end=True)], headers=headers))
    result = failed(exchange.advance(20))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert reason in result.detail
    assert exchange.pieces == []
    assert peak < 20_000_000


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, gzip", "nonsense"])
def test_the_error_names_an_unknown_content_encoding(encoding):
    headers = {"content-type": "text/event-stream", "content-encoding": encoding}
    exchange = Exchange(Script([Step(0.1, b"\x8b\x08packed", end=True)], headers=headers))
    assert f"unsupported Content-Encoding: {encoding}" in failed(exchange.advance(20)).detail


@pytest.mark.parametrize(
    "body", [b"no gzip", gzip.compress(ANSWER)[:9] + b"\xff" * 50], ids=["text", "half gzip"]
)
def test_a_body_that_does_not_match_its_encoding_is_reported(body):
    headers, _ = compressed("gzip", b"")
    exchange = Exchange(Script([Step(0.1, body, end=True)], headers=headers))
    assert "does not match its Content-Encoding" in failed(exchange.advance(20)).detail


@pytest.mark.parametrize("encoding", ["gzip", "br"])
def test_the_status_takes_precedence_over_the_encoding(encoding):
    body = gzip.compress(b'{"error": {"message": "Incorrect API key provided"}}')
    headers = {"content-type": "application/json", "content-encoding": encoding}
    exchange = Exchange(Script([Step(0.1, body, end=True)], 401, headers))
    result = failed(exchange.advance(20), FailureReason.MISCONFIGURED)
    assert result.detail.startswith("HTTP 401")
    assert ("Incorrect API key" in result.detail) == (encoding == "gzip")


def test_cancelling_closes_the_connection():
    exchange = Exchange(streamed(9.0, ["天", "是", "蓝的。"]))
    exchange.advance(1)
    exchange.deferred.cancel()
    exchange.advance(1)
    assert exchange.server.hung_up == 1


def test_usage_after_the_finish_reason_is_awaited():
    steps = [Step(0.1, chunk("天") + chunk(finish="stop")), Step(0.5, USAGE + DONE, end=True)]
    assert Exchange(Script(steps)).advance(1).prompt_tokens == 7


def test_the_repr_of_a_server_hides_its_key():
    headers = key_headers("bearer", KEY)
    assert KEY not in repr(Server("a", URL, "m", 1.0, 1.0, 1.0, PARAMETERS, headers, (KEY,)))


def test_azure_s_key_is_sent_in_its_own_header():
    exchange = Exchange(answer_at(0.1, "天"), headers=key_headers("api-key", KEY))
    exchange.advance(1)
    headers = exchange.server.headers[0]
    assert headers.getRawHeaders("api-key") == [KEY]
    assert not headers.hasHeader("authorization")


# Parameters that a server does not support.


@pytest.mark.parametrize(
    ("complaint", "remaining"),
    [
        ("Unsupported parameter: 'temperature'", {"max_tokens", "seed", "enable_search"}),
        ("extra inputs: body.seed", {"max_tokens", "temperature", "enable_search"}),
        ("unknown field enable_search", {"max_tokens", "temperature", "seed"}),
        (
            "'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
            {"max_completion_tokens", "temperature", "seed", "enable_search"},
        ),
        ("max_tokens is too large: 4096", {"temperature", "seed", "enable_search"}),
    ],
)
def test_a_rejected_parameter_is_omitted_from_then_on(complaint, remaining):
    parameters = {"max_tokens": 9, "temperature": 1.0, "seed": 1, "enable_search": True}
    rejection = error(400, json.dumps({"error": {"message": complaint}}))
    exchange = Exchange(rejection, answer_at(0.1, "天"), parameters=parameters)
    assert exchange.advance(1).text == "天"
    exchange.ask()
    exchange.advance(1)
    for call in exchange.server.calls[1:]:
        assert call.keys() - {"model", "messages", "stream"} == remaining


def test_an_error_that_names_none_of_our_parameters_is_not_retried():
    exchange = Exchange(error(400, '{"error": {"message": "temperatures are high"}}'))
    failed(exchange.advance(5))
    assert exchange.calls == 1


def test_a_server_that_rejects_every_parameter_is_abandoned():
    complaint = "unknown parameters: max_tokens, unknown parameter stream_options"
    exchange = Exchange(error(400, complaint))
    failed(exchange.advance(5))
    assert exchange.calls == 3


def test_a_parameter_name_used_as_a_word_is_not_a_complaint():
    parameters = {"stop": ["x"], "seed": 1}
    exchange = Exchange(error(400, "please stop and check your messages"), parameters=parameters)
    failed(exchange.advance(5))
    assert exchange.calls == 1


def test_a_server_s_token_limit_is_used_from_then_on():
    complaint = "max_tokens is too large: 4096. This model supports at most 1,024 completion tokens"
    exchange = Exchange(
        error(400, complaint), answer_at(0.1, "天"), parameters={"max_tokens": 4096}
    )
    assert exchange.advance(1).text == "天"
    assert exchange.server.calls[1]["max_tokens"] == 1024


def test_two_concurrent_questions_survive_the_same_rejected_parameter():
    complaint = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    exchange = Exchange(
        error(400, complaint, at_s=0.1), error(400, complaint, at_s=0.1), answer_at(0.1, "天")
    )
    results = []
    prompt = Prompt(messages=[Message("user", "二？")], retry_for_s=12.0)
    exchange.model.ask(prompt, lambda _: None).addBoth(results.append)
    assert exchange.advance(2).text == "天"
    assert results[0].text == "天"
    assert [call.get("max_completion_tokens") for call in exchange.server.calls[2:]] == [100, 100]


# The first token.


def test_a_model_without_a_first_token_in_time_is_abandoned():
    exchange = Exchange(
        streamed(9.0, ["天", "地"], first_s=8.0), prompt={"first_token_within_s": 3.0}
    )
    assert exchange.advance(2.9) is None
    assert "no first token within 3.0 s" in failed(exchange.advance(0.3)).detail
    assert exchange.calls == 1
    exchange.advance(1)
    assert exchange.server.hung_up == 1


def test_a_server_that_does_not_respond_in_time_is_abandoned():
    exchange = Exchange(Script([]), prompt={"first_token_within_s": 3.0})
    assert "no first token" in failed(exchange.advance(3.2)).detail


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_thinking_counts_as_a_first_token(name):
    thought = {"choices": [{"delta": {name: "想"}}]}
    steps = [
        Step(1.0, f"data: {json.dumps(thought)}\n\n".encode()),
        Step(9.0, chunk("天") + chunk(finish="stop") + DONE, end=True),
    ]
    exchange = Exchange(Script(steps), prompt={"first_token_within_s": 3.0})
    assert exchange.advance(10).text == "天"


def test_a_comment_does_not_count_as_a_first_token():
    exchange = Exchange(
        Script([Step(n, b": alive\n\n") for n in range(1, 9)]),
        prompt={"first_token_within_s": 3.0},
    )
    failed(exchange.advance(3.2))


def test_a_cancelled_question_is_not_a_server_failure():
    exchange = Exchange(streamed(9.0, ["天"], first_s=8.0), prompt={"first_token_within_s": 3.0})
    exchange.advance(1)
    exchange.deferred.cancel()
    exchange.advance(5)
    assert exchange.model.condition() == "ok"
    assert exchange.server.hung_up == 1


# Secrets.


@pytest.mark.parametrize(
    "script",
    [
        error(500, f"the key {KEY} is no good"),
        error(500, "x" * 280 + KEY),
        Script(
            [
                Step(
                    0.1,
                    chunk("天") + b'data: {"error": {"message": "%s"}}\n\n' % KEY.encode(),
                    end=True,
                )
            ]
        ),
    ],
)
def test_an_echoed_key_never_reaches_the_failure_detail(script):
    exchange = Exchange(script)
    exchange.advance(20)
    assert KEY[:9] not in exchange.result.detail


# Finish reasons.


@pytest.mark.parametrize("finish", ["error", "network_error", "insufficient_system_resource"])
def test_a_finish_reason_that_means_failure_interrupts_the_answer(finish):
    result = failed(Exchange(answer_at(0.1, "天", finish)).advance(1), FailureReason.INTERRUPTED)
    assert result.text == "天"


def test_a_full_context_window_cuts_the_answer_short_or_fails():
    full = "model_context_window_exceeded"
    assert Exchange(answer_at(0.1, "天", full)).advance(1).finish is Finish.LENGTH
    failed(Exchange(answer_at(0.1, "", full)).advance(1), FailureReason.TOO_LONG)


def test_keep_alives_after_the_finish_reason_do_not_delay_the_answer():
    steps = [Step(0.1, chunk("天") + chunk(finish="stop"))]
    steps += [Step(0.2 * n, b": alive\n\n" + chunk("")) for n in range(2, 600)]
    assert Exchange(Script(steps)).advance(3).text == "天"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (DONE, FailureReason.EMPTY),
        (b": hello\n\n", FailureReason.UNAVAILABLE),
        (b"upstream connect error", FailureReason.UNAVAILABLE),
    ],
)
def test_a_body_without_an_answer_does_not_mean_the_context_is_too_long(body, reason):
    failed(Exchange(Script([Step(0.1, body, end=True)])).advance(20), reason)


def test_json_with_a_byte_order_mark_is_an_answer():
    body = '{"choices": [{"message": {"content": "天"}, "finish_reason": "stop"}]}'
    exchange = Exchange(Script([Step(0.1, b"\xef\xbb\xbf" + body.encode(), end=True)]))
    assert exchange.advance(1).text == "天"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (401, FailureReason.MISCONFIGURED),
        (402, FailureReason.QUOTA),
        (429, FailureReason.BUSY),
        (502, FailureReason.UNAVAILABLE),
    ],
)
def test_an_error_code_inside_a_stream_is_treated_like_an_http_status(code, reason):
    body = json.dumps({"error": {"code": code, "message": "no"}}).encode()
    exchange = Exchange(Script([Step(0.1, b"data: " + body + b"\n\n", end=True)]))
    failed(exchange.advance(20), reason)


@pytest.mark.parametrize("name", ["retry_after", "location"])
def test_a_header_that_is_not_ascii_is_tolerated(name):
    script = error(302 if name == "location" else 503, "down", **{name: "x\u00ff"})
    failed(Exchange(script).advance(20))


# Probes.


def test_a_probe_asks_for_one_token_and_accepts_an_empty_answer():
    exchange = Exchange(
        Script([Step(0.1, chunk("") + chunk(finish="length") + DONE, end=True)]),
        prompt={"probe": True},
    )
    assert exchange.advance(1).finish is Finish.LENGTH
    assert exchange.server.calls[0]["max_tokens"] == 1


def test_a_context_limit_named_by_the_server_is_reported():
    complaint = "This model's maximum context length is 8192 tokens. However, you requested 9000"
    body = json.dumps({"error": {"code": "context_length_exceeded", "message": complaint}})
    assert (
        failed(Exchange(error(400, body)).advance(1), FailureReason.TOO_LONG).context_limit == 8192
    )


@pytest.mark.parametrize(
    "words",
    ["unknown parameter: temperature", "max_tokens is at most 1", "use max_completion_tokens",
     "stream_options is not supported"],
)  # fmt: skip
def test_an_error_that_quotes_the_question_changes_no_parameters(words):
    exchange = Exchange(answer_at(0.1, "天"), parameters={**PARAMETERS, "temperature": 1})
    exchange.advance(1)
    before = exchange.server.calls[0]
    exchange._scripts = [error(400, f"cannot parse the prompt: {words}")]
    exchange.ask(f"请解释：{words}")
    failed(exchange.advance(1))
    exchange._scripts = [answer_at(0.1, "天")]
    exchange.ask("别的问题")
    exchange.advance(1)
    assert {**exchange.server.calls[-1], "messages": 0} == {**before, "messages": 0}


# Bugs found in code review.


@pytest.mark.parametrize("junk", [b"data: ping\n", b"data: [HEARTBEAT]\n\n", b"[HEARTBEAT]\n\n"])
def test_the_event_after_a_heartbeat_is_not_lost(junk):
    pieces = b"".join(event.replace(b"\n\n", b"\n") for event in (chunk("天"), chunk("是", "stop")))
    exchange = Exchange(Script([Step(0.1, junk + pieces + b"data: [DONE]\n", end=True)]))
    assert exchange.advance(5).text == "天是"


def test_done_needs_no_blank_line_after_it():
    exchange = Exchange(Script([Step(0.1, chunk("天") + b"data: [DONE]\n"), Step(60.0, end=True)]))
    assert exchange.advance(0.5).text == "天"


@pytest.mark.parametrize("held", ["[1, 2]", "太好了!", "d", "[图"])
def test_text_held_back_as_a_possible_picture_is_released_at_the_end(held):
    exchange = Exchange(
        Script([Step(0.1, chunk(held) + chunk(finish="stop")), Step(60.0, end=True)])
    )
    assert exchange.advance(1.5).text == held


def test_full_text_with_thoughts_repeats_nothing():
    thought = b'data: {"choices": [{"delta": {"reasoning_content": "T"}}]}\n\n'
    total = {"reasoning_content": "T", "content": "天是蓝的"}
    body = {"choices": [{"message": total, "finish_reason": "stop"}]}
    last = b"data: " + json.dumps(body).encode() + b"\n\n"
    exchange = Exchange(
        Script([Step(0.1, thought + chunk("天是蓝的") + last), Step(60.0, end=True)])
    )
    assert exchange.advance(2).text == "天是蓝的"


def test_short_full_text_in_a_delta_is_not_appended_to_earlier_pieces():
    steps = [Step(0.1, chunk("答案") + chunk("是42") + chunk("答案是42", "stop") + DONE, end=True)]
    assert Exchange(Script(steps)).advance(2).text == "答案是42"


def test_usage_in_the_only_chunk_does_not_end_the_answer():
    piece = b'data: {"choices": [{"delta": {"content": "%s"}}], "usage": {"total_tokens": 9}}\n\n'
    steps = [Step(0.1, piece % "天".encode()), Step(0.2, end=True)]
    assert failed(
        Exchange(Script(steps), Script(steps), Script(steps)).advance(20), FailureReason.INTERRUPTED
    )


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ({"error": {"type": "overloaded_error"}}, "overloaded_error"),
        ({"choices": [{"delta": {}}], "error_message": "out of order"}, "out of order"),
        (
            {"choices": [{"delta": {}}], "base_resp": {"status_code": 1999, "status_msg": "bad"}},
            "1999",
        ),
        ({"errors": [{"message": "too deep"}]}, "too deep"),
        ({"choices": [{"error": {"message": "worker died", "code": 502}}]}, "worker died"),
    ],
)
def test_the_reason_for_an_error_is_found_in_every_format(event, reason):
    body = b"data: " + json.dumps(event).encode() + b"\n\n"
    script = Script([Step(0.1, body, end=True)])
    result = Exchange(script, script, script).advance(20)
    assert reason in result.detail


def test_raw_deflate_is_read_completely_and_gzip_padding_is_ignored():
    answer = chunk("天") + b": " + b"a" * 65_600 + b"\n" + chunk("是", "stop") + DONE
    for encoding, body in (
        ("deflate", raw_deflate(answer)),
        ("gzip", gzip.compress(answer) + b"\0" * 9),
    ):
        headers = {"content-type": "text/event-stream", "content-encoding": encoding}
        exchange = Exchange(Script([Step(0.1, body, end=True)], headers=headers))
        assert exchange.advance(3).text == "天是"


def test_a_truncated_compressed_body_interrupts_the_answer():
    headers, body = compressed("gzip", chunk("天"))
    script = Script([Step(0.1, body[:-4], end=True)], headers=headers)
    result = failed(Exchange(script, script, script).advance(20), FailureReason.INTERRUPTED)
    assert "truncated data" in result.detail


@pytest.mark.parametrize("before", [b"[HEARTBEAT]\n\n", b'{"status": "queued"}\n', b"[1]\n\n"])
def test_events_are_read_after_leading_junk(before):
    exchange = Exchange(
        Script([Step(0.1, before), Step(0.2, chunk("天", "stop") + DONE, end=True)])
    )
    assert exchange.advance(3).text == "天"


def test_json_lines_are_read_after_leading_junk():
    line = json.dumps({"choices": [{"delta": {"content": "天"}, "finish_reason": "stop"}]}).encode()
    exchange = Exchange(Script([Step(0.1, b"ping\n" + line + b"\n", end=True)]))
    assert exchange.advance(3).text == "天"


@pytest.mark.parametrize("error", ["none", "null", {"code": "200", "message": "请求成功"}, {}, ""])
def test_an_error_field_that_reports_success_is_ignored(error):
    event = {"error": error, "choices": [{"delta": {"content": "a\tb"}, "finish_reason": "stop"}]}
    body = b"data: " + json.dumps(event).encode().replace(b"\\t", b"\t") + b"\n\n"
    assert Exchange(Script([Step(0.1, body, end=True)])).advance(3).text == "a\tb"


def test_long_full_text_is_never_appended_to_the_answer():
    total = "春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。"
    pieces = [chunk(total[:12]), chunk(total[12:]), chunk(total), chunk(finish="stop"), DONE]
    assert Exchange(Script([Step(0.1, b"".join(pieces), end=True)])).advance(3).text == total


def test_only_the_first_of_several_choices_is_read():
    other = (
        b'data: {"choices": [{"index": 1, "delta": {"content": "B"}, "finish_reason": "stop"}]}\n\n'
    )
    body = chunk("天") + other + chunk("是", "stop") + DONE
    assert Exchange(Script([Step(0.1, body, end=True)])).advance(3).text == "天是"
