"""ModelRouter a model server: what can go wrong on the wire, and what is made of it."""

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
from wxgptd.llm.client import Model, key_headers
from wxgptd.llm.probing import Endpoint
from wxgptd.llm.server import Server
from wxgptd.outbound.client import IdentityAgent
from wxgptd.ports.models import Breakdown, Completion, Prompt

URL = "http://model.test/v1/chat/completions"
KEY = "sk-very-secret"
PROBED = "1"
"""What the daemon itself asks."""
PARAMETERS = {"max_tokens": 100, "stream_options": {"include_usage": True}}


class Asked:
    """A question on its way to a scripted server."""

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
        given = {"retry_for_s": 12.0, "asker": asker, **self.prompt}
        prompt = Prompt(messages=[Message("user", words)], **given)
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
        """How often the server was asked for users."""
        return len(self.server.calls) - self.probes

    @property
    def probes(self) -> int:
        return sum(call["messages"][-1]["content"] == PROBED for call in self.server.calls)


def failed(result, reason=FailureReason.UNAVAILABLE) -> Breakdown:
    assert isinstance(result, Breakdown), result
    assert result.reason is reason, result
    assert KEY not in result.detail
    return result


def test_an_answer_comes_piece_by_piece_with_its_usage():
    asked = Asked(streamed(2.0, ["天", "是", "蓝的。"]))
    asked.advance(1.4)
    assert asked.pieces == ["天", "是"]
    result = asked.advance(2)
    assert isinstance(result, Completion)
    assert "".join(asked.pieces) == result.text == "天是蓝的。"
    assert (result.finish, result.model) == (Finish.STOP, "m-1")
    assert (result.prompt_tokens, result.completion_tokens) == (7, 5)
    assert 0.4 < result.first_text_s < 0.7
    assert 1.9 < result.took_s < 2.2


def test_the_key_goes_into_the_header_and_nothing_is_compressed():
    asked = Asked(answer_at(0.1, "天"))
    asked.advance(1)
    headers = asked.server.headers[0]
    assert headers.getRawHeaders("authorization") == [f"Bearer {KEY}"]
    assert headers.getRawHeaders("accept-encoding") == ["identity"]


def test_an_answer_that_is_not_streamed_is_an_answer():
    body = json.dumps(
        {"model": "m", "choices": [{"message": {"content": "天"}, "finish_reason": "stop"}]}
    )
    result = Asked(Script([Step(0.1, b"\n\n" + body.encode(), end=True)])).advance(1)
    assert result.text == "天"


def test_length_is_a_finish():
    result = Asked(answer_at(0.1, "天", finish="length")).advance(1)
    assert result.finish is Finish.LENGTH


def test_an_answer_is_complete_with_its_finish_however_long_the_connection_stays():
    steps = [Step(0.1, chunk("天") + chunk(finish="stop")), Step(50.0, end=True)]
    asked = Asked(Script(steps))
    assert asked.advance(0.5) is None, "the usage may still come"
    assert asked.advance(1.5).text == "天"


@pytest.mark.parametrize(
    "sign", [DONE, USAGE, b'data: {"choices": [], "usage": {"total_tokens": 9}}\n\n']
)
@pytest.mark.parametrize("ending", [{"end": True}, {"hang_up": True}])
def test_text_with_a_sign_of_the_end_is_whole_although_no_finish_reason_came(sign, ending):
    asked = Asked(Script([Step(0.1, chunk("天") + sign), Step(0.2, **ending)]))
    assert asked.advance(20).text == "天"
    assert asked.calls == 1


@pytest.mark.parametrize("finish", ["", 0, None, [], {}, "null", "None"])
def test_a_finish_reason_that_is_none_ends_nothing(finish):
    first, second = chunk("天", finish), chunk("是")
    asked = Asked(Script([Step(0.1, first), Step(3.0, second + DONE, end=True)]))
    assert asked.advance(5).text == "天是"


def test_usage_with_every_piece_is_no_sign_of_the_end():
    usage = {"usage": {"completion_tokens": 1}}
    asked = Asked(Script([Step(0.1, chunk("天", **usage) + chunk("是", **usage), hang_up=True)]))
    assert failed(asked.advance(20), FailureReason.INTERRUPTED).text == "天是"


@pytest.mark.parametrize("finish", ["stop", "tool_calls", "STOP", "weird"])
def test_a_finish_reason_beside_text_is_not_the_end(finish):
    pieces = [Step(2.0 * n, chunk(text, finish)) for n, text in enumerate("天是蓝的")]
    asked = Asked(Script([*pieces, Step(8.0, DONE, end=True)]))
    assert asked.advance(10).text == "天是蓝的"


def test_a_finish_reason_that_something_followed_is_never_trusted_again():
    steps = [
        Step(0.1, chunk("天") + chunk(finish="stop")),
        Step(0.5, chunk("是") + chunk(finish="stop")),
        Step(4.0, chunk("蓝的") + DONE, end=True),
    ]
    assert Asked(Script(steps)).advance(6).text == "天是蓝的"


def test_a_finish_reason_of_thoughts_is_not_the_end():
    thought = chunk(
        None, "stop", choices=[{"delta": {"reasoning_content": "想"}, "finish_reason": "stop"}]
    )
    steps = [Step(0.1, thought), Step(4.0, chunk("天") + DONE, end=True)]
    assert Asked(Script(steps)).advance(6).text == "天"


def test_a_finish_reason_that_cannot_be_trusted_counts_once_nothing_more_comes():
    asked = Asked(Script([Step(0.1, chunk("天", "stop"))]), idle_timeout_s=5.0)
    assert asked.advance(3) is None
    assert asked.advance(3).text == "天"


def test_a_connection_that_is_lost_behind_a_doubtful_finish_reason_has_cut_the_answer():
    asked = Asked(Script([Step(0.1, chunk("天", "stop")), Step(0.2, hang_up=True)]))
    assert failed(asked.advance(20), FailureReason.INTERRUPTED).text == "天"


@pytest.mark.parametrize("finish", ["eos_token", "end_turn", "COMPLETE", "STOP", "null"])
def test_an_unknown_finish_reason_ends_an_answer_without_harm(finish):
    assert Asked(answer_at(0.1, "天", finish)).advance(2).text == "天"


@pytest.mark.parametrize("junk", [b"data: ping\n\n", b"data: null\n\n", b"data: 1700000000\n\n",
                                  b"data: [HEARTBEAT]\n\n", b"data: []\n\n", b"event: ping\ndata: x\n\n"])  # fmt: skip
def test_an_event_that_is_not_json_is_passed_over(junk):
    said = junk + chunk("天") + junk + chunk("是") + chunk(finish="stop") + junk + DONE
    assert Asked(Script([Step(0.1, said, end=True)])).advance(2).text == "天是"
    asked = Asked(Script([Step(0.1, junk * 3, end=True)]))
    failed(asked.advance(20))


@pytest.mark.parametrize("cut", [b'{"choices": [{"delta": {"con', b'{ "llmock": "malformed'])
@pytest.mark.parametrize("first", [b"", chunk("天")])
def test_an_event_that_began_as_a_piece_may_have_been_one(cut, first):
    rest = chunk("蓝的", "stop") + DONE
    asked = Asked(
        Script([Step(0.1, first + b"data: " + cut + b"\n\n" + rest, end=True)]),
        answer_at(0.1, "天是蓝的"),
    )
    result = asked.advance(20)
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
def test_a_total_at_the_end_is_no_piece(total):
    last = json.dumps({"choices": [{"index": 0, "finish_reason": "stop", **total}]})
    said = chunk("天是蓝的，") + chunk("因为散射。") + f"data: {last}\n\n".encode() + DONE
    assert Asked(Script([Step(0.1, said, end=True)])).advance(3).text == "天是蓝的，因为散射。"


def test_a_total_that_nothing_came_before_is_the_answer():
    last = json.dumps({"choices": [{"message": {"content": "天"}, "finish_reason": "stop"}]})
    assert (
        Asked(Script([Step(0.1, f"data: {last}\n\n".encode(), end=True)])).advance(3).text == "天"
    )


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n\n"])
def test_lines_of_json_are_a_stream(end):
    lines = [chunk(text).removeprefix(b"data: ").strip() for text in "天是蓝的"]
    asked = Asked(Script([Step(0.5 * n, line + end) for n, line in enumerate(lines)] + [
        Step(3.0, chunk(finish="stop").removeprefix(b"data: ").strip() + end, end=True)]))  # fmt: skip
    asked.advance(1.2)
    assert asked.text == "天是蓝"
    assert asked.advance(3).text == "天是蓝的"


def test_a_json_body_without_a_finish_reason_is_whole():
    body = b'{"choices": [{"message": {"content": "\xe5\xa4\xa9"}}]}'
    for written in (body, body + b"\n", b"{\n" + body[1:]):
        asked = Asked(Script([Step(0.1, written, end=True)]))
        assert asked.advance(2).text == "天"
        assert asked.calls == 1


def test_a_server_that_speaks_ollama_s_own_language_is_understood():
    lines = [
        {"model": "q", "message": {"role": "assistant", "content": "天是"}, "done": False},
        {"model": "q", "message": {"role": "assistant", "content": "蓝的"}, "done": False},
        {"model": "q", "message": {"content": ""}, "done": True, "done_reason": "stop",
         "prompt_eval_count": 3, "eval_count": 4},
    ]  # fmt: skip
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    result = Asked(Script([Step(0.1, body, end=True)])).advance(2)
    assert (result.text, result.prompt_tokens, result.completion_tokens) == ("天是蓝的", 3, 4)


@pytest.mark.parametrize("status", [201, 202])
def test_any_success_is_one(status):
    script = Script([Step(0.1, chunk("天") + chunk(finish="stop") + DONE, end=True)], status)
    assert Asked(script).advance(2).text == "天"


def said(**delta) -> Script:
    first = json.dumps({"choices": [{"delta": delta}]})
    return Script(
        [Step(0.1, f"data: {first}\n\n".encode() + chunk(finish="stop") + DONE, end=True)]
    )


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (said(reasoning_content="想"), FailureReason.ONLY_THOUGHTS),
        (said(content="<think>想</think>"), FailureReason.ONLY_THOUGHTS),
        (said(content=[{"type": "thinking", "thinking": "想"}]), FailureReason.ONLY_THOUGHTS),
        (said(tool_calls=[{"index": 0, "function": {"name": "f"}}]), FailureReason.ONLY_TOOLS),
        (said(function_call={"name": "f"}), FailureReason.ONLY_TOOLS),
        (said(images=[{"image_url": {"url": "data:"}}]), FailureReason.ONLY_MEDIA),
        (said(content=[{"type": "image_url"}]), FailureReason.ONLY_MEDIA),
        (said(content=""), FailureReason.EMPTY),
        (said(content=None), FailureReason.EMPTY),
    ],
)
def test_what_came_instead_of_text_is_told_after_one_call(script, reason):
    asked = Asked(script)
    failed(asked.advance(20), reason)
    assert asked.calls == 1


def test_a_refusal_is_shown():
    assert Asked(said(refusal="这个我不能说。")).advance(2).text == "这个我不能说。"


@pytest.mark.parametrize("place", [{"reasoning_details": [{"text": "想"}]}, {"reasoning": {"text": "想"}},
                                   {"thinking": "想"}, {"reasoning": ["x"]}])  # fmt: skip
def test_thoughts_in_other_fields_are_no_answer(place):
    first = json.dumps({"choices": [{"delta": {**place, "content": "天"}}]})
    body = f"data: {first}\n\n".encode() + chunk(finish="stop") + DONE
    assert Asked(Script([Step(0.1, body, end=True)])).advance(2).text == "天"


def test_what_turns_out_to_be_thoughts_is_taken_back():
    pieces = [chunk("想一想，"), chunk("\n</think>\n\n"), chunk("天"), chunk(finish="stop")]
    asked = Asked(
        Script([Step(0.1 * n, piece) for n, piece in enumerate(pieces)] + [Step(1, DONE, end=True)])
    )
    result = asked.advance(3)
    assert result.text == "天"
    assert result.withdrawn


@pytest.mark.parametrize("ending", [{"end": True}, {"hang_up": True}])
def test_a_stream_that_breaks_off_keeps_what_there_is(ending):
    asked = Asked(Script([Step(0.1, chunk("天是")), Step(0.2, **ending)]))
    assert failed(asked.advance(20), FailureReason.INTERRUPTED).text == "天是"


def test_an_empty_stream_means_that_the_context_is_too_long():
    failed(Asked(Script([Step(0.1, end=True)])).advance(20), FailureReason.TOO_LONG)


@pytest.mark.parametrize("finish", ["content_filter", "sensitive"])
def test_a_moderated_answer_is_taken_back(finish):
    result = failed(Asked(answer_at(0.1, "天", finish)).advance(1), FailureReason.CONTENT_FILTER)
    assert result.text == ""


def test_an_error_in_the_stream_keeps_what_there_is():
    bad = b'data: {"error": {"message": "provider died"}}\n\n'
    asked = Asked(Script([Step(0.1, chunk("天是") + bad, end=True)]))
    assert failed(asked.advance(5), FailureReason.INTERRUPTED).text == "天是"


# ModelRouter again.


@pytest.mark.parametrize("status", [408, 409, 500, 502, 503, 529])
def test_a_server_that_is_down_is_asked_again_twice(status):
    asked = Asked(error(status, "down"))
    failed(asked.advance(20))
    assert asked.calls == 3


def test_asking_again_can_help():
    asked = Asked(error(503, "down"), answer_at(0.1, "天"))
    assert asked.advance(5).text == "天"
    assert asked.pieces == ["天"]


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
def test_a_good_refusal_is_never_asked_again(status, body, reason):
    asked = Asked(error(status, body, location="http://elsewhere.test/"))
    failed(asked.advance(20), reason)
    assert asked.calls == 1


def test_a_404_names_the_address_that_was_asked():
    assert URL in failed(Asked(error(404, "no")).advance(1)).detail


def test_a_busy_server_s_wish_is_obeyed_where_it_fits():
    asked = Asked(error(429, "slow down", retry_after="3"), answer_at(0.1, "天"))
    asked.advance(2.8)
    assert asked.calls == 1
    assert asked.advance(1).text == "天"


def test_a_busy_server_s_wish_that_does_not_fit_is_told_to_the_user():
    asked = Asked(error(429, "slow down", retry_after="40"))
    assert failed(asked.advance(1), FailureReason.BUSY).retry_after_s == 40.0
    assert asked.calls == 1


def test_a_server_that_does_not_know_stream_options_is_asked_without_and_that_is_remembered():
    asked = Asked(error(422, "extra field: stream_options"), answer_at(0.1, "天"))
    assert asked.advance(1).text == "天"
    asked.ask()
    asked.advance(1)
    assert ["stream_options" in call for call in asked.server.calls] == [True, False, False]


def test_nothing_is_asked_again_once_words_have_come():
    asked = Asked(Script([Step(0.1, chunk("天")), Step(0.2, hang_up=True)]), answer_at(0.1, "x"))
    failed(asked.advance(20), FailureReason.INTERRUPTED)
    assert asked.calls == 1


# Bounds.


def test_no_response_at_all():
    asked = Asked(Script([]))
    assert asked.advance(59) is None
    failed(asked.advance(2))
    assert asked.calls == 1


def test_words_and_then_silence():
    asked = Asked(Script([Step(1.0, chunk("天是"))]))
    assert asked.advance(30) is None
    assert failed(asked.advance(2), FailureReason.INTERRUPTED).text == "天是"
    assert asked.server.hung_up == 1


def test_comments_are_no_sign_of_life():
    asked = Asked(
        Script([Step(0.1, chunk("天")), *[Step(n, b": alive\n\n") for n in range(1, 90)]])
    )
    failed(asked.advance(32), FailureReason.INTERRUPTED)


def test_an_answer_without_end():
    asked = Asked(Script([Step(0.1 * n, chunk("字")) for n in range(1, 2_000)]))
    assert failed(asked.advance(121), FailureReason.INTERRUPTED).text.startswith("字字")
    assert asked.server.hung_up == 1


def test_more_words_than_anybody_reads():
    piece = chunk("字" * 10_000)
    result = Asked(Script([Step(0.1, piece * 30)])).advance(1)
    assert result.finish is Finish.LENGTH
    assert len(result.text) <= MAX_ANSWER_CHARS + 10_000


@pytest.mark.parametrize(
    "junk", [b"x" * 300_000, b"data: not json\n\n", b'{"choices": [', b"<html>no</html>"]
)
def test_a_200_that_is_no_answer(junk):
    asked = Asked(Script([Step(0.1, junk, end=True)]))
    result = failed(asked.advance(20))
    assert re.search(r"\S", result.detail)


def test_an_endless_body_is_cut():
    asked = Asked(Script([Step(0.01 * n, b'{"a": "' + b"x" * 60_000) for n in range(1, 200)]))
    assert "longer than" in failed(asked.advance(20)).detail


# Bodies that come compressed although nobody asked for that.


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
def test_a_compressed_answer_is_read_however_it_is_cut(encoding, size):
    headers, body = compressed(encoding, ANSWER)
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    steps = [Step(0.1 + 0.001 * n, piece) for n, piece in enumerate(pieces)]
    asked = Asked(Script([*steps, Step(2.0, end=True)], headers=headers))
    assert asked.advance(3).text == "天是蓝的。"


def test_a_compressed_answer_is_read_as_it_comes():
    packer = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    first = packer.compress(chunk("天")) + packer.flush(zlib.Z_SYNC_FLUSH)
    rest = packer.compress(chunk("是", "stop") + DONE) + packer.flush()
    headers, _ = compressed("gzip", b"")
    asked = Asked(Script([Step(0.1, first), Step(5.0, rest, end=True)], headers=headers))
    asked.advance(1)
    assert asked.pieces == ["天"]
    assert asked.advance(5).text == "天是"


def test_several_compressed_members_are_one_body():
    headers, body = compressed("gzip", chunk("天"))
    body += gzip.compress(chunk("是", "stop") + DONE)
    asked = Asked(Script([Step(0.1, body, end=True)], headers=headers))
    assert asked.advance(3).text == "天是"


@pytest.mark.parametrize("encoding", COMPRESSIONS)
@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"data: " + b"x" * 60_000_000, "a line that is too long"),
        ((b":" + b" " * 4_000 + b"\n") * 15_000, "longer than"),
    ],
    ids=["a line", "lines"],
)
def test_of_a_compressed_bomb_no_more_is_unpacked_than_a_body_may_have(encoding, said, why):
    headers, bomb = compressed(encoding, said)
    tracemalloc.start()
    asked = Asked(Script([Step(0.1, bomb, end=True)], headers=headers))
    result = failed(asked.advance(20))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert why in result.detail
    assert asked.pieces == []
    assert peak < 20_000_000


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, gzip", "nonsense"])
def test_an_encoding_that_is_not_known_is_named(encoding):
    headers = {"content-type": "text/event-stream", "content-encoding": encoding}
    asked = Asked(Script([Step(0.1, b"\x8b\x08packed", end=True)], headers=headers))
    assert f"unsupported Content-Encoding: {encoding}" in failed(asked.advance(20)).detail


@pytest.mark.parametrize(
    "body", [b"no gzip", gzip.compress(ANSWER)[:9] + b"\xff" * 50], ids=["text", "half gzip"]
)
def test_a_body_that_is_not_compressed_as_it_says_is_named(body):
    headers, _ = compressed("gzip", b"")
    asked = Asked(Script([Step(0.1, body, end=True)], headers=headers))
    assert "does not match its Content-Encoding" in failed(asked.advance(20)).detail


@pytest.mark.parametrize("encoding", ["gzip", "br"])
def test_the_status_is_read_before_the_encoding(encoding):
    body = gzip.compress(b'{"error": {"message": "Incorrect API key provided"}}')
    headers = {"content-type": "application/json", "content-encoding": encoding}
    asked = Asked(Script([Step(0.1, body, end=True)], 401, headers))
    result = failed(asked.advance(20), FailureReason.MISCONFIGURED)
    assert result.detail.startswith("HTTP 401")
    assert ("Incorrect API key" in result.detail) == (encoding == "gzip")


def test_cancelling_ends_the_call():
    asked = Asked(streamed(9.0, ["天", "是", "蓝的。"]))
    asked.advance(1)
    asked.deferred.cancel()
    asked.advance(1)
    assert asked.server.hung_up == 1


def test_usage_that_comes_after_the_finish_is_waited_for():
    steps = [Step(0.1, chunk("天") + chunk(finish="stop")), Step(0.5, USAGE + DONE, end=True)]
    assert Asked(Script(steps)).advance(1).prompt_tokens == 7


def test_a_server_shows_its_key_to_nobody():
    headers = key_headers("bearer", KEY)
    assert KEY not in repr(Server("a", URL, "m", 1.0, 1.0, 1.0, PARAMETERS, headers, (KEY,)))


def test_azure_s_key_has_a_header_of_its_own():
    asked = Asked(answer_at(0.1, "天"), headers=key_headers("api-key", KEY))
    asked.advance(1)
    headers = asked.server.headers[0]
    assert headers.getRawHeaders("api-key") == [KEY]
    assert not headers.hasHeader("authorization")


# Parameters that a server does not take.


@pytest.mark.parametrize(
    ("complaint", "left"),
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
def test_what_an_error_names_is_left_out_from_then_on(complaint, left):
    parameters = {"max_tokens": 9, "temperature": 1.0, "seed": 1, "enable_search": True}
    refused = error(400, json.dumps({"error": {"message": complaint}}))
    asked = Asked(refused, answer_at(0.1, "天"), parameters=parameters)
    assert asked.advance(1).text == "天"
    asked.ask()
    asked.advance(1)
    for call in asked.server.calls[1:]:
        assert call.keys() - {"model", "messages", "stream"} == left


def test_an_error_that_names_nothing_of_ours_is_no_reason_to_ask_again():
    asked = Asked(error(400, '{"error": {"message": "temperatures are high"}}'))
    failed(asked.advance(5))
    assert asked.calls == 1


def test_a_server_that_complains_about_everything_is_given_up():
    said = "unknown parameters: max_tokens, unknown parameter stream_options"
    asked = Asked(error(400, said))
    failed(asked.advance(5))
    assert asked.calls == 3


def test_a_word_that_stands_there_by_chance_is_no_parameter():
    parameters = {"stop": ["x"], "seed": 1}
    asked = Asked(error(400, "please stop and check your messages"), parameters=parameters)
    failed(asked.advance(5))
    assert asked.calls == 1


def test_the_most_that_a_server_takes_is_asked_for_from_then_on():
    said = "max_tokens is too large: 4096. This model supports at most 1,024 completion tokens"
    asked = Asked(error(400, said), answer_at(0.1, "天"), parameters={"max_tokens": 4096})
    assert asked.advance(1).text == "天"
    assert asked.server.calls[1]["max_tokens"] == 1024


def test_two_questions_that_find_out_at_once_are_both_answered():
    said = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    asked = Asked(error(400, said, at_s=0.1), error(400, said, at_s=0.1), answer_at(0.1, "天"))
    found = []
    prompt = Prompt(messages=[Message("user", "二？")], retry_for_s=12.0)
    asked.model.ask(prompt, lambda _: None).addBoth(found.append)
    assert asked.advance(2).text == "天"
    assert found[0].text == "天"
    assert [call.get("max_completion_tokens") for call in asked.server.calls[2:]] == [100, 100]


# The first token.


def test_a_model_that_has_not_begun_in_time_is_given_up():
    asked = Asked(streamed(9.0, ["天", "地"], first_s=8.0), prompt={"first_token_within_s": 3.0})
    assert asked.advance(2.9) is None
    assert "no first token within 3.0 s" in failed(asked.advance(0.3)).detail
    assert asked.calls == 1
    asked.advance(1)
    assert asked.server.hung_up == 1


def test_a_server_that_does_not_respond_in_time_is_given_up():
    asked = Asked(Script([]), prompt={"first_token_within_s": 3.0})
    assert "no first token" in failed(asked.advance(3.2)).detail


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_thinking_is_a_beginning(name):
    thought = {"choices": [{"delta": {name: "想"}}]}
    steps = [
        Step(1.0, f"data: {json.dumps(thought)}\n\n".encode()),
        Step(9.0, chunk("天") + chunk(finish="stop") + DONE, end=True),
    ]
    asked = Asked(Script(steps), prompt={"first_token_within_s": 3.0})
    assert asked.advance(10).text == "天"


def test_a_comment_is_no_beginning():
    asked = Asked(
        Script([Step(n, b": alive\n\n") for n in range(1, 9)]),
        prompt={"first_token_within_s": 3.0},
    )
    failed(asked.advance(3.2))


def test_what_is_cancelled_by_its_asker_is_no_failure_of_the_server():
    asked = Asked(streamed(9.0, ["天"], first_s=8.0), prompt={"first_token_within_s": 3.0})
    asked.advance(1)
    asked.deferred.cancel()
    asked.advance(5)
    assert asked.model.condition() == "ok"
    assert asked.server.hung_up == 1


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
def test_a_key_that_a_server_repeats_gets_into_no_detail(script):
    asked = Asked(script)
    asked.advance(20)
    assert KEY[:9] not in asked.result.detail


# Endings.


@pytest.mark.parametrize("finish", ["error", "network_error", "insufficient_system_resource"])
def test_a_finish_that_means_a_failure_is_no_answer(finish):
    result = failed(Asked(answer_at(0.1, "天", finish)).advance(1), FailureReason.INTERRUPTED)
    assert result.text == "天"


def test_a_window_that_is_full_cuts_an_answer_short_or_is_too_long_for_one():
    full = "model_context_window_exceeded"
    assert Asked(answer_at(0.1, "天", full)).advance(1).finish is Finish.LENGTH
    failed(Asked(answer_at(0.1, "", full)).advance(1), FailureReason.TOO_LONG)


def test_what_keeps_a_connection_open_behind_the_finish_puts_nothing_off():
    steps = [Step(0.1, chunk("天") + chunk(finish="stop"))]
    steps += [Step(0.2 * n, b": alive\n\n" + chunk("")) for n in range(2, 600)]
    assert Asked(Script(steps)).advance(3).text == "天"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (DONE, FailureReason.EMPTY),
        (b": hello\n\n", FailureReason.UNAVAILABLE),
        (b"upstream connect error", FailureReason.UNAVAILABLE),
    ],
)
def test_what_is_no_answer_is_not_taken_for_too_long_a_context(body, reason):
    failed(Asked(Script([Step(0.1, body, end=True)])).advance(20), reason)


def test_json_with_a_mark_at_its_beginning_is_an_answer():
    body = '{"choices": [{"message": {"content": "天"}, "finish_reason": "stop"}]}'
    asked = Asked(Script([Step(0.1, b"\xef\xbb\xbf" + body.encode(), end=True)]))
    assert asked.advance(1).text == "天"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (401, FailureReason.MISCONFIGURED),
        (402, FailureReason.QUOTA),
        (429, FailureReason.BUSY),
        (502, FailureReason.UNAVAILABLE),
    ],
)
def test_a_status_inside_a_stream_means_what_it_would_before_it(code, reason):
    said = json.dumps({"error": {"code": code, "message": "no"}}).encode()
    asked = Asked(Script([Step(0.1, b"data: " + said + b"\n\n", end=True)]))
    failed(asked.advance(20), reason)


@pytest.mark.parametrize("name", ["retry_after", "location"])
def test_a_header_that_is_no_text_is_no_reason_to_fall_over(name):
    script = error(302 if name == "location" else 503, "down", **{name: "x\u00ff"})
    failed(Asked(script).advance(20))


# Probes.


def test_a_probe_asks_for_one_token_and_is_content_with_none():
    asked = Asked(
        Script([Step(0.1, chunk("") + chunk(finish="length") + DONE, end=True)]),
        prompt={"probe": True},
    )
    assert asked.advance(1).finish is Finish.LENGTH
    assert asked.server.calls[0]["max_tokens"] == 1


def test_the_limit_that_a_server_names_is_told():
    said = "This model's maximum context length is 8192 tokens. However, you requested 9000"
    body = json.dumps({"error": {"code": "context_length_exceeded", "message": said}})
    assert failed(Asked(error(400, body)).advance(1), FailureReason.TOO_LONG).context_limit == 8192


@pytest.mark.parametrize(
    "words",
    ["unknown parameter: temperature", "max_tokens is at most 1", "use max_completion_tokens",
     "stream_options is not supported"],
)  # fmt: skip
def test_what_a_server_only_quotes_changes_nothing_for_others(words):
    asked = Asked(answer_at(0.1, "天"), parameters={**PARAMETERS, "temperature": 1})
    asked.advance(1)
    before = asked.server.calls[0]
    asked._scripts = [error(400, f"cannot parse the prompt: {words}")]
    asked.ask(f"请解释：{words}")
    failed(asked.advance(1))
    asked._scripts = [answer_at(0.1, "天")]
    asked.ask("别的问题")
    asked.advance(1)
    assert {**asked.server.calls[-1], "messages": 0} == {**before, "messages": 0}


# Found by readers of the code.


@pytest.mark.parametrize("junk", [b"data: ping\n", b"data: [HEARTBEAT]\n\n", b"[HEARTBEAT]\n\n"])
def test_a_heartbeat_does_not_take_what_follows_with_it(junk):
    pieces = b"".join(one.replace(b"\n\n", b"\n") for one in (chunk("天"), chunk("是", "stop")))
    asked = Asked(Script([Step(0.1, junk + pieces + b"data: [DONE]\n", end=True)]))
    assert asked.advance(5).text == "天是"


def test_done_needs_no_empty_line_behind_it():
    asked = Asked(Script([Step(0.1, chunk("天") + b"data: [DONE]\n"), Step(60.0, end=True)]))
    assert asked.advance(0.5).text == "天"


@pytest.mark.parametrize("held", ["[1, 2]", "太好了!", "d", "[图"])
def test_text_that_may_become_a_picture_is_text_for_the_finish(held):
    asked = Asked(Script([Step(0.1, chunk(held) + chunk(finish="stop")), Step(60.0, end=True)]))
    assert asked.advance(1.5).text == held


def test_a_total_that_repeats_thoughts_repeats_nothing():
    thought = b'data: {"choices": [{"delta": {"reasoning_content": "T"}}]}\n\n'
    total = {"reasoning_content": "T", "content": "天是蓝的"}
    body = {"choices": [{"message": total, "finish_reason": "stop"}]}
    last = b"data: " + json.dumps(body).encode() + b"\n\n"
    asked = Asked(Script([Step(0.1, thought + chunk("天是蓝的") + last), Step(60.0, end=True)]))
    assert asked.advance(2).text == "天是蓝的"


def test_a_short_total_in_a_delta_is_no_piece_where_pieces_came_before():
    steps = [Step(0.1, chunk("答案") + chunk("是42") + chunk("答案是42", "stop") + DONE, end=True)]
    assert Asked(Script(steps)).advance(2).text == "答案是42"


def test_usage_in_every_chunk_is_no_sign_of_the_end():
    piece = b'data: {"choices": [{"delta": {"content": "%s"}}], "usage": {"total_tokens": 9}}\n\n'
    steps = [Step(0.1, piece % "天".encode()), Step(0.2, end=True)]
    assert failed(
        Asked(Script(steps), Script(steps), Script(steps)).advance(20), FailureReason.INTERRUPTED
    )


@pytest.mark.parametrize(
    ("said", "why"),
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
def test_the_reason_of_an_error_is_told_wherever_it_is(said, why):
    body = b"data: " + json.dumps(said).encode() + b"\n\n"
    script = Script([Step(0.1, body, end=True)])
    result = Asked(script, script, script).advance(20)
    assert why in result.detail


def test_deflate_gives_all_there_is_and_gzip_takes_padding():
    answer = chunk("天") + b": " + b"a" * 65_600 + b"\n" + chunk("是", "stop") + DONE
    for encoding, body in (
        ("deflate", raw_deflate(answer)),
        ("gzip", gzip.compress(answer) + b"\0" * 9),
    ):
        headers = {"content-type": "text/event-stream", "content-encoding": encoding}
        asked = Asked(Script([Step(0.1, body, end=True)], headers=headers))
        assert asked.advance(3).text == "天是"


def test_a_compressed_body_that_is_cut_off_is_no_whole_one():
    headers, body = compressed("gzip", chunk("天"))
    script = Script([Step(0.1, body[:-4], end=True)], headers=headers)
    result = failed(Asked(script, script, script).advance(20), FailureReason.INTERRUPTED)
    assert "truncated data" in result.detail


@pytest.mark.parametrize("before", [b"[HEARTBEAT]\n\n", b'{"status": "queued"}\n', b"[1]\n\n"])
def test_events_are_read_whatever_comes_before_them(before):
    asked = Asked(Script([Step(0.1, before), Step(0.2, chunk("天", "stop") + DONE, end=True)]))
    assert asked.advance(3).text == "天"


def test_lines_of_json_are_read_after_a_word():
    line = json.dumps({"choices": [{"delta": {"content": "天"}, "finish_reason": "stop"}]}).encode()
    asked = Asked(Script([Step(0.1, b"ping\n" + line + b"\n", end=True)]))
    assert asked.advance(3).text == "天"


@pytest.mark.parametrize("error", ["none", "null", {"code": "200", "message": "请求成功"}, {}, ""])
def test_an_error_that_says_that_there_is_none_is_none(error):
    said = {"error": error, "choices": [{"delta": {"content": "a\tb"}, "finish_reason": "stop"}]}
    body = b"data: " + json.dumps(said).encode().replace(b"\\t", b"\t") + b"\n\n"
    assert Asked(Script([Step(0.1, body, end=True)])).advance(3).text == "a\tb"


def test_a_long_total_is_none_wherever_it_comes():
    total = "春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。"
    pieces = [chunk(total[:12]), chunk(total[12:]), chunk(total), chunk(finish="stop"), DONE]
    assert Asked(Script([Step(0.1, b"".join(pieces), end=True)])).advance(3).text == total


def test_of_several_answers_the_first_is_read():
    other = (
        b'data: {"choices": [{"index": 1, "delta": {"content": "B"}, "finish_reason": "stop"}]}\n\n'
    )
    body = chunk("天") + other + chunk("是", "stop") + DONE
    assert Asked(Script([Step(0.1, body, end=True)])).advance(3).text == "天是"
