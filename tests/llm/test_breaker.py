"""Who can open a circuit breaker, and who can close it."""

from __future__ import annotations

import pytest
from treq.client import HTTPClient
from treq.testing import _SynchronousProducer

from tests.llm.test_client import PARAMETERS, URL, Asked, failed
from tests.support.model_server import DONE, Script, Step, answer_at, chunk, error, streamed
from wxgptd.domain.model.values import FailureReason
from wxgptd.domain.prompt.context import Message
from wxgptd.llm.breaker import FAILURES_TO_OPEN, OPEN_S
from wxgptd.llm.client import Model
from wxgptd.llm.probing import PATIENCE_S, PROBE_EVERY_S
from wxgptd.llm.server import Server
from wxgptd.outbound.client import IdentityAgent
from wxgptd.ports.models import Breakdown, Completion, Prompt

WELL = answer_at(0.1, "天")
DOWN = error(503, "down")
HALF_A_SENTENCE = Script(
    [Step(0.1, chunk("天")), Step(0.2, b'data: {"error": {"message": "no"}}\n\n', end=True)]
)


def fail_by(asked: Asked, *askers: int) -> None:
    for asker in askers:
        asked.ask(asker=asker)
        asked.advance(10)


# What a server says to one person's words.

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
    "a balance that is not there": error(400, '{"error": {"code": "Arrearage"}}'),
    "half a sentence and an error": HALF_A_SENTENCE,
    "a 500": error(500, "Internal Server Error"),
    "an HTML 502": error(502, "<html>Bad Gateway</html>"),
    "a hang-up": Script([Step(0.1, b"", hang_up=True)]),
}  # fmt: skip


@pytest.mark.parametrize("name", ABOUT_ONE_QUESTION)
def test_one_person_s_messages_never_open_a_breaker_while_a_probe_is_answered(name):
    asked = Asked(ABOUT_ONE_QUESTION[name], probe=WELL, prompt={"asker": 7})
    asked.advance(10)
    for _ in range(12):
        asked.ask("<script>alert(1)</script> 余额不足 insufficient_quota")
        asked.advance(5)
        assert asked.model.condition() == "ok"
    assert asked.probes <= 1 + 70 / PROBE_EVERY_S


@pytest.mark.parametrize("name", ["a firewall's 403", "401 to one question", "402 to one question"])
def test_who_is_refused_alone_is_not_told_that_the_service_is_wrong(name):
    asked = Asked(ABOUT_ONE_QUESTION[name], probe=WELL)
    assert "a probe succeeded 0 s ago" in failed(asked.advance(1), FailureReason.UNAVAILABLE).detail


# The probe decides.


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, FailureReason.MISCONFIGURED),
        (402, FailureReason.QUOTA),
        (403, FailureReason.MISCONFIGURED),
    ],
)
def test_a_key_that_is_refused_to_the_daemon_as_well_opens_it_at_once(status, reason, logged):
    asked = Asked(error(status, "no"))
    failed(asked.advance(1), reason)
    assert (asked.calls, asked.probes) == (1, 1)
    asked.ask(asker=2)
    failed(asked.result, reason)
    assert (asked.calls, asked.probes) == (1, 1)
    assert sum("circuit breaker open" in line for line in logged()) == 1
    assert asked.model.condition().startswith(
        f"circuit breaker open, retrying in {OPEN_S:.0f} s: HTTP {status}"
    )


def test_the_account_of_a_single_user_is_protected_as_well():
    asked = Asked(DOWN)
    asked.advance(10)
    fail_by(asked, 1, 1)
    assert asked.model.condition() != "ok", "three failures and a failed probe"
    assert asked.probes == 1


def test_five_failures_of_two_users_open_it_without_waiting_for_a_probe():
    asked = Asked(DOWN, probe=HANGS)
    fail_by(asked, 1, 2, 1, 2)
    assert "HTTP 503" in asked.model.condition()
    asked.ask(asker=3)
    assert "circuit breaker open" in failed(asked.result).detail


def test_five_failures_of_one_user_do_not():
    asked = Asked(DOWN, probe=WELL)
    fail_by(asked, *[1] * FAILURES_TO_OPEN)
    assert asked.model.condition() == "ok"


HANGS = Script([Step(1_000, b"")])


def test_two_users_cannot_open_it_either_while_a_probe_is_answered():
    asked = Asked(DOWN, probe=WELL, prompt={"retry_for_s": 0.0})
    for _ in range(20):
        fail_by(asked, 1, 2)
    assert asked.model.condition() == "ok"


def test_a_good_answer_begins_the_count_again():
    asked = Asked(WELL, probe=HANGS)
    asked._scripts = [DOWN]
    fail_by(asked, 1, 2)
    asked._scripts = [WELL]
    fail_by(asked, 3)
    asked._scripts = [DOWN]
    fail_by(asked, 1, 2, 1, 2)
    assert asked.model.condition() == "ok"
    fail_by(asked, 1)
    assert asked.model.condition() != "ok"


@pytest.mark.parametrize(
    "refused", [error(413, "too large"), error(400, "what?"), error(429, "slow")]
)
def test_one_person_s_refused_questions_hide_nothing_from_the_count(refused):
    asked = Asked(WELL, probe=HANGS)
    for asker in (1, 2, 3, 4, 5):
        asked._scripts = [DOWN]
        fail_by(asked, asker)
        asked._scripts = [refused]
        fail_by(asked, 9)
    assert asked.model.condition() != "ok"


def test_a_probe_that_fails_once_for_a_passing_reason_is_no_verdict():
    asked = Asked(error(403, "no"), probe=DOWN)
    asked.advance(10)
    assert asked.model.condition() == "ok"


def test_each_model_is_probed_at_most_once_in_its_time():
    asked = Asked(error(403, "no"), probe=WELL)
    for asker in range(40):
        asked.ask(asker=asker)
    asked.advance(PROBE_EVERY_S - 1)
    assert asked.probes == 1
    asked.advance(2)
    asked.ask()
    asked.advance(1)
    assert asked.probes == 2


# An open breaker.


def shut(probe=WELL) -> Asked:
    """A server that refused everybody, as long ago as a breaker is open, and is well again."""
    asked = Asked(error(404, "no such model"))
    asked.advance(1)
    assert asked.model.condition() != "ok"
    asked._scripts, asked.probe = [WELL], probe
    asked.advance(OPEN_S + 1)
    return asked


def test_the_first_question_after_the_pause_is_answered_after_a_probe():
    asked = shut()
    asked.ask()
    assert asked.advance(1).text == "天"
    assert asked.model.condition() == "ok"
    assert asked.probes == 2


def test_nobody_s_question_is_the_trial():
    asked = shut(probe=error(404, "no such model"))
    asked.ask("<script>", asker=7)
    failed(asked.advance(1), FailureReason.MISCONFIGURED)
    assert asked.calls == 1, "that of before"
    assert "retrying in" in asked.model.condition()


def test_a_probe_that_takes_long_holds_up_no_question_for_long():
    asked = shut(probe=answer_at(10, "天"))
    asked.ask()
    failed(asked.advance(PATIENCE_S + 0.2), FailureReason.MISCONFIGURED)
    asked.advance(10)
    asked.ask()
    assert asked.advance(1).text == "天"


def test_who_leaves_while_a_probe_runs_leaves_it_to_the_others():
    asked = shut(probe=answer_at(1, "天"))
    asked.ask(asker=1)
    leaving = asked.deferred
    asked.ask(asker=2)
    leaving.cancel()
    assert asked.advance(2).text == "天"


def neighbour(asked: Asked, model: str) -> Model:
    """Another model at the same endpoint."""
    configured = Server("other", URL, model, 60.0, 30.0, 120.0, dict(PARAMETERS), {})
    http = HTTPClient(IdentityAgent(asked.agent), data_to_body_producer=_SynchronousProducer)
    return Model(configured, http, asked.clock, asked.endpoint, jitter=lambda: 0.5)


@pytest.mark.parametrize(
    ("script", "shared"),
    [
        (error(401, "no"), True),
        (error(402, "no"), True),
        (error(403, "no access to this model"), False),
        (error(404, "no such model"), False),
    ],
)
def test_a_model_that_fails_says_nothing_about_its_neighbour_and_a_key_does(script, shared):
    asked = Asked(script, script, WELL)
    asked.advance(1)
    found = []
    prompt = Prompt(messages=[Message("user", "?")])
    neighbour(asked, "m-2").ask(prompt, lambda _: None).addBoth(found.append)
    asked.advance(1)
    assert isinstance(found[0], Breakdown if shared else Completion)


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
def test_what_says_nothing_about_the_server_is_no_failure_of_it(script, prompt):
    asked = Asked(script, prompt=prompt)
    for asker in range(8):
        asked.ask(asker=asker)
        asked.advance(2)
    assert asked.model.condition() == "ok"
    assert asked.probes == 0


def test_the_operator_s_probe_finds_out_although_the_breaker_is_open():
    asked = Asked(error(401, "no"))
    asked.advance(1)
    assert asked.model.condition() != "ok"
    asked._scripts = [WELL]
    asked.prompt = {"probe": True}
    asked.ask()
    assert asked.advance(1).text == "天"
    assert asked.model.condition() == "ok"
