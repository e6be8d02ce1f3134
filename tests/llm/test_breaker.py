"""What opens a circuit breaker, and what closes it."""

from __future__ import annotations

import pytest
from treq.client import HTTPClient
from treq.testing import _SynchronousProducer

from tests.llm.test_client import PARAMETERS, URL, Exchange, failed
from tests.support.model_server import DONE, Script, Step, answer_at, chunk, error, streamed
from wxgptd.domain.model.values import FailureReason
from wxgptd.domain.prompt.context import Message
from wxgptd.llm.breaker import FAILURES_TO_OPEN, OPEN_S
from wxgptd.llm.client import Model
from wxgptd.llm.probing import PATIENCE_S, PROBE_EVERY_S
from wxgptd.llm.server import Server
from wxgptd.outbound.client import IdentityAgent
from wxgptd.ports.models import Completion, ModelFailure, Prompt

OK = answer_at(0.1, "天")
DOWN = error(503, "down")
HALF_A_SENTENCE = Script(
    [Step(0.1, chunk("天")), Step(0.2, b'data: {"error": {"message": "no"}}\n\n', end=True)]
)


def fail_by(exchange: Exchange, *askers: int) -> None:
    for asker in askers:
        exchange.ask(asker=asker)
        exchange.advance(10)


# Responses that may concern only one question.

ABOUT_ONE_QUESTION = {
    "a firewall's 403": error(403, "<html>Request blocked</html>"),
    "a firewall's 405": error(405, "<html>405 Not Allowed</html>"),
    "401 to one question": error(401, "no"),
    "402 to one question": error(402, "no"),
    "413 to a picture": error(413, "<html>413 Request Entity Too Large</html>"),
    "451": error(451, "unavailable for legal reasons"),
    "404": error(404, "not found"),
    "a quoted quota": error(400, '{"error": {"message": "bad input: 余额不足"}}'),
    "a quoted quota code": error(429, '{"error": {"message": "insufficient_quota"}}'),
    "an arrearage code": error(400, '{"error": {"code": "Arrearage"}}'),
    "half a sentence and an error": HALF_A_SENTENCE,
    "a 500": error(500, "Internal Server Error"),
    "an HTML 502": error(502, "<html>Bad Gateway</html>"),
    "a hang-up": Script([Step(0.1, b"", hang_up=True)]),
}  # fmt: skip


@pytest.mark.parametrize("name", ABOUT_ONE_QUESTION)
def test_one_user_cannot_open_the_breaker_while_probes_succeed(name):
    exchange = Exchange(ABOUT_ONE_QUESTION[name], probe=OK, prompt={"asker": 7})
    exchange.advance(10)
    for _ in range(12):
        exchange.ask("<script>alert(1)</script> 余额不足 insufficient_quota")
        exchange.advance(5)
        assert exchange.model.condition() == "ok"
    assert exchange.probes <= 1 + 70 / PROBE_EVERY_S


@pytest.mark.parametrize("name", ["a firewall's 403", "401 to one question", "402 to one question"])
def test_a_rejection_of_one_user_mentions_the_successful_probe(name):
    exchange = Exchange(ABOUT_ONE_QUESTION[name], probe=OK)
    assert (
        "a probe succeeded 0 s ago" in failed(exchange.advance(1), FailureReason.UNAVAILABLE).detail
    )


# Probes decide.


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, FailureReason.MISCONFIGURED),
        (402, FailureReason.QUOTA),
        (403, FailureReason.MISCONFIGURED),
    ],
)
def test_a_key_that_also_fails_the_probe_opens_the_breaker_at_once(status, reason, logged):
    exchange = Exchange(error(status, "no"))
    failed(exchange.advance(1), reason)
    assert (exchange.calls, exchange.probes) == (1, 1)
    exchange.ask(asker=2)
    failed(exchange.result, reason)
    assert (exchange.calls, exchange.probes) == (1, 1)
    assert sum("circuit breaker open" in line for line in logged()) == 1
    assert exchange.model.condition().startswith(
        f"circuit breaker open, retrying in {OPEN_S:.0f} s: HTTP {status}"
    )


def test_a_single_user_s_failures_open_the_breaker_if_the_probe_fails():
    exchange = Exchange(DOWN)
    exchange.advance(10)
    fail_by(exchange, 1, 1)
    assert exchange.model.condition() != "ok", "three failures and a failed probe"
    assert exchange.probes == 1


def test_five_failures_for_two_users_open_the_breaker_without_a_probe_result():
    exchange = Exchange(DOWN, probe=HANGS)
    fail_by(exchange, 1, 2, 1, 2)
    assert "HTTP 503" in exchange.model.condition()
    exchange.ask(asker=3)
    assert "circuit breaker open" in failed(exchange.result).detail


def test_five_failures_for_one_user_do_not_open_the_breaker():
    exchange = Exchange(DOWN, probe=OK)
    fail_by(exchange, *[1] * FAILURES_TO_OPEN)
    assert exchange.model.condition() == "ok"


HANGS = Script([Step(1_000, b"")])


def test_two_users_cannot_open_the_breaker_while_probes_succeed():
    exchange = Exchange(DOWN, probe=OK, prompt={"retry_for_s": 0.0})
    for _ in range(20):
        fail_by(exchange, 1, 2)
    assert exchange.model.condition() == "ok"


def test_a_successful_answer_resets_the_failure_count():
    exchange = Exchange(OK, probe=HANGS)
    exchange._scripts = [DOWN]
    fail_by(exchange, 1, 2)
    exchange._scripts = [OK]
    fail_by(exchange, 3)
    exchange._scripts = [DOWN]
    fail_by(exchange, 1, 2, 1, 2)
    assert exchange.model.condition() == "ok"
    fail_by(exchange, 1)
    assert exchange.model.condition() != "ok"


@pytest.mark.parametrize(
    "rejection", [error(413, "too large"), error(400, "what?"), error(429, "slow")]
)
def test_one_user_s_rejected_questions_do_not_reset_the_failure_count(rejection):
    exchange = Exchange(OK, probe=HANGS)
    for asker in (1, 2, 3, 4, 5):
        exchange._scripts = [DOWN]
        fail_by(exchange, asker)
        exchange._scripts = [rejection]
        fail_by(exchange, 9)
    assert exchange.model.condition() != "ok"


def test_a_probe_s_transient_failure_does_not_open_the_breaker():
    exchange = Exchange(error(403, "no"), probe=DOWN)
    exchange.advance(10)
    assert exchange.model.condition() == "ok"


def test_a_model_is_probed_at_most_once_per_interval():
    exchange = Exchange(error(403, "no"), probe=OK)
    for asker in range(40):
        exchange.ask(asker=asker)
    exchange.advance(PROBE_EVERY_S - 1)
    assert exchange.probes == 1
    exchange.advance(2)
    exchange.ask()
    exchange.advance(1)
    assert exchange.probes == 2


# An open breaker.


def after_pause(probe=OK) -> Exchange:
    """Return an exchange whose breaker's pause is over and whose server has recovered."""
    exchange = Exchange(error(404, "no such model"))
    exchange.advance(1)
    assert exchange.model.condition() != "ok"
    exchange._scripts, exchange.probe = [OK], probe
    exchange.advance(OPEN_S + 1)
    return exchange


def test_the_first_question_after_the_pause_is_answered_after_a_probe():
    exchange = after_pause()
    exchange.ask()
    assert exchange.advance(1).text == "天"
    assert exchange.model.condition() == "ok"
    assert exchange.probes == 2


def test_no_question_is_used_as_the_trial_request():
    exchange = after_pause(probe=error(404, "no such model"))
    exchange.ask("<script>", asker=7)
    failed(exchange.advance(1), FailureReason.MISCONFIGURED)
    assert exchange.calls == 1, "only the call before the breaker opened"
    assert "retrying in" in exchange.model.condition()


def test_a_slow_probe_delays_no_question_for_long():
    exchange = after_pause(probe=answer_at(10, "天"))
    exchange.ask()
    failed(exchange.advance(PATIENCE_S + 0.2), FailureReason.MISCONFIGURED)
    exchange.advance(10)
    exchange.ask()
    assert exchange.advance(1).text == "天"


def test_cancelling_one_question_does_not_cancel_the_shared_probe():
    exchange = after_pause(probe=answer_at(1, "天"))
    exchange.ask(asker=1)
    leaving = exchange.deferred
    exchange.ask(asker=2)
    leaving.cancel()
    assert exchange.advance(2).text == "天"


def neighbour(exchange: Exchange, model: str) -> Model:
    """Return another model at the same endpoint."""
    configured = Server("other", URL, model, 60.0, 30.0, 120.0, dict(PARAMETERS), {})
    http = HTTPClient(IdentityAgent(exchange.agent), data_to_body_producer=_SynchronousProducer)
    return Model(configured, http, exchange.clock, exchange.endpoint, jitter=lambda: 0.5)


@pytest.mark.parametrize(
    ("script", "shared"),
    [
        (error(401, "no"), True),
        (error(402, "no"), True),
        (error(403, "no access to this model"), False),
        (error(404, "no such model"), False),
    ],
)
def test_models_at_one_endpoint_share_key_failures_but_not_model_failures(script, shared):
    exchange = Exchange(script, script, OK)
    exchange.advance(1)
    results = []
    prompt = Prompt(messages=[Message("user", "?")])
    neighbour(exchange, "m-2").ask(prompt, lambda _: None).addBoth(results.append)
    exchange.advance(1)
    assert isinstance(results[0], ModelFailure if shared else Completion)


@pytest.mark.parametrize(
    ("script", "prompt"),
    [
        (error(400, "what?"), {}),
        (error(429, "slow", retry_after="60"), {}),
        (error(400, "content_filter"), {}),
        (streamed(9.0, ["天"], first_s=8.0), {"first_token_within_s": 1.0}),
        (Script([Step(0.1, chunk("") + chunk(finish="length") + DONE, end=True)]), {}),
    ],
)
def test_a_failure_unrelated_to_the_server_is_not_counted(script, prompt):
    exchange = Exchange(script, prompt=prompt)
    for asker in range(8):
        exchange.ask(asker=asker)
        exchange.advance(2)
    assert exchange.model.condition() == "ok"
    assert exchange.probes == 0


def test_the_operator_s_probe_bypasses_an_open_breaker():
    exchange = Exchange(error(401, "no"))
    exchange.advance(1)
    assert exchange.model.condition() != "ok"
    exchange._scripts = [OK]
    exchange.prompt = {"probe": True}
    exchange.ask()
    assert exchange.advance(1).text == "天"
    assert exchange.model.condition() == "ok"
