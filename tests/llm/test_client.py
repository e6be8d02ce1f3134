"""Asking a model server: what can go wrong on the wire, and what is made of it."""

from __future__ import annotations

import gzip
import json
import re

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
from wxgptd.domain.context import Message
from wxgptd.domain.values import FailureReason, Finish
from wxgptd.llm.client import MAX_ANSWER_CHARS, Model, Server
from wxgptd.outbound.client import IdentityAgent
from wxgptd.ports import Breakdown, Completion

URL = "http://model.test/v1/chat/completions"
KEY = "sk-very-secret"


class Asked:
    """A question on its way to a scripted server."""

    def __init__(self, *scripts: Script, **limits: float) -> None:
        self.clock = Clock()
        self._scripts = list(scripts)
        self.server = ModelServer(self.clock, self._next)
        self.agent = RequestTraversalAgent(self.server)
        configured = {
            "url": URL,
            "api_key": KEY,
            "model": "m-1",
            "max_tokens": 100,
            "first_text_timeout_s": 60.0,
            "idle_timeout_s": 30.0,
            "total_timeout_s": 120.0,
            **limits,
        }
        http = HTTPClient(IdentityAgent(self.agent), data_to_body_producer=_SynchronousProducer)
        self.model = Model(Server(**configured), http, self.clock, jitter=lambda: 0.5)
        self.pieces: list[str] = []
        self.result = None
        self.ask()

    def _next(self, _messages) -> Script:
        return self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]

    def ask(self) -> None:
        self.result = None
        self.deferred = self.model.ask([Message("user", "为什么？")], self.pieces.append, 12.0)
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
    def calls(self) -> int:
        return len(self.server.calls)


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


def test_done_alone_proves_nothing():
    asked = Asked(Script([Step(0.1, chunk("天") + DONE, end=True)]))
    result = failed(asked.advance(20), FailureReason.INTERRUPTED)
    assert result.text == "天"
    assert asked.calls == 1


@pytest.mark.parametrize("ending", [{"end": True}, {"hang_up": True}])
def test_a_stream_that_breaks_off_keeps_what_there_is(ending):
    asked = Asked(Script([Step(0.1, chunk("天是")), Step(0.2, **ending)]))
    assert failed(asked.advance(20), FailureReason.INTERRUPTED).text == "天是"


def test_an_empty_stream_means_that_the_context_is_too_long():
    failed(Asked(Script([Step(0.1, end=True)])).advance(20), FailureReason.TOO_LONG)


@pytest.mark.parametrize("finish", ["content_filter", "sensitive"])
def test_a_moderated_answer_is_taken_back(finish):
    result = failed(Asked(answer_at(0.1, "天", finish)).advance(1), FailureReason.REFUSED)
    assert result.text == ""


def test_an_error_in_the_stream_keeps_what_there_is():
    bad = b'data: {"error": {"message": "provider died"}}\n\n'
    asked = Asked(Script([Step(0.1, chunk("天是") + bad, end=True)]))
    assert failed(asked.advance(5), FailureReason.INTERRUPTED).text == "天是"


# Asking again.


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
        (400, "content_filter", FailureReason.REFUSED),
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


def test_a_compressed_answer_is_never_unpacked():
    bomb = gzip.compress(b"data: " + b"x" * 10_000_000)
    headers = {"content-type": "text/event-stream", "content-encoding": "gzip"}
    asked = Asked(Script([Step(0.1, bomb, end=True)], headers=headers))
    assert "encoded: gzip" in failed(asked.advance(20)).detail
    assert asked.pieces == []


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
    assert KEY not in repr(Server(URL, KEY, "m", 1, 1.0, 1.0, 1.0))
