"""The metrics that Prometheus scrapes."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from prometheus_client import generate_latest

from tests.support.model_server import answer_at, error
from tests.support.story import Story, configuration
from wxgptd import config as cfg
from wxgptd.eventlog.unavailable import StoreUnavailable


def value(story: Story, name: str, **labels: str) -> float:
    sample = story.service.base.metrics.registry.get_sample_value(f"wxgptd_{name}", labels)
    return 0.0 if sample is None else sample


@pytest.fixture
def story():
    return Story(answer_at(8, "好的。"))


def test_windows_are_counted_by_outcome_and_attempt(story):
    story.open()
    sent = story.send("问题")
    story.advance(10)
    assert sent.reply == "好的。"
    assert value(story, "windows_total", account="main", outcome="notice", attempt="1") == 1
    assert value(story, "windows_total", account="main", outcome="answer", attempt="2") == 1


def test_attempts_are_counted_and_their_hold_times_are_recorded(story):
    story.open()
    story.send("问题")
    story.advance(10)
    story.say("路过", user="stranger")
    assert value(story, "attempts_total", account="main", outcome="success") == 1
    assert value(story, "attempts_total", account="main", outcome="hung_up") == 1
    assert value(story, "attempts_total", account="main", outcome="reply") == 2
    assert value(story, "hold_seconds_count", account="main") == 2  # the command was not held
    assert 7.9 < value(story, "hold_seconds_sum", account="main") < 8.5


def test_answer_times_tokens_and_costs_are_recorded():
    priced = cfg.Assistant(
        base_url="http://model.test/v1", model="m-1", price_per_million=cfg.Price(output=1e6)
    )
    story = Story(answer_at(2, "好的。"), configuration(assistant={"chatgpt": priced}))
    story.open()
    story.send("问题")
    story.advance(3)
    assert value(story, "answers_total", assistant="chatgpt", outcome="completed") == 1
    assert value(story, "model_answer_seconds_sum", assistant="chatgpt") == pytest.approx(
        2, abs=0.2
    )
    tokens = value(story, "tokens_total", assistant="chatgpt", kind="completion")
    assert tokens > 0
    assert value(story, "cost_total", assistant="chatgpt") == pytest.approx(tokens, rel=0.01)
    assert value(story, "cost_today", assistant="chatgpt") == pytest.approx(tokens, rel=0.01)


def test_failures_are_counted_by_reason():
    story = Story(error(401, '{"error": {"message": "no"}}'))
    story.open()
    story.send("问题")
    story.advance(3)
    assert value(story, "answers_total", assistant="chatgpt", outcome="misconfigured") == 1
    assert value(story, "circuit_breaker_open", assistant="chatgpt") == 1
    story.advance(40, step=1.0)
    assert value(story, "circuit_breaker_open", assistant="chatgpt") == 1, (
        "until a probe is answered"
    )
    story.model.respond = lambda _: answer_at(0.1, "好的。")
    story.send("问题")
    story.advance(3)
    assert value(story, "circuit_breaker_open", assistant="chatgpt") == 0


def test_rule_matches_and_forwards_are_counted():
    rules = (
        cfg.Rule(match="keyword", words=cfg.Words(("价格",)), reply=cfg.RuleReply(text="十元")),
        cfg.Rule(match="any", forward="http://nobody.test/wx"),
    )
    story = Story(answer_at(1, "好的。"), configuration(rule=rules))
    assert story.say("价格") == "十元"
    story.send("别的")
    story.advance(6)
    assert value(story, "rule_matches_total", account="main", rule="1") == 1
    assert value(story, "rule_matches_total", account="main", rule="2") == 1
    assert value(story, "forward_seconds_count", result="failed") == 1
    assert value(story, "attempts_total", account="main", outcome="rule") == 1
    assert value(story, "attempts_total", account="main", outcome="forward") == 1
    assert value(story, "attempts_total", account="main", outcome="hung_up") == 0


def test_rejected_requests_are_counted_by_reason(story):
    story.get("/wx/main?signature=" + "0" * 40 + "&timestamp=1700000000&nonce=1&echostr=x")
    assert value(story, "rejected_requests_total", account="main", reason="signature") == 1


def test_running_and_waiting_work_is_exported_as_gauges(story):
    story.open()
    story.send("一")
    story.send("二")
    story.advance(1)
    assert value(story, "running_answers") == 1
    assert value(story, "waiting_questions") == 1
    assert value(story, "held_attempts") == 2
    assert value(story, "open_sessions") == 1


def test_replaying_a_log_counts_nothing(story):
    story.open()
    story.send("问题")
    story.advance(10)
    story.restart()
    assert value(story, "questions_total", account="main") == 0
    assert value(story, "sessions_opened_total", account="main", assistant="chatgpt") == 0
    assert value(story, "replay_events") > 0


def test_no_label_contains_a_user_id_or_message_text(story):
    story.open(user="oCanaryUser")
    story.send("canary text", user="oCanaryUser")
    story.advance(10)
    metrics = generate_latest(story.service.base.metrics.registry).decode()
    assert "anary" not in metrics


@pytest.mark.processes
def test_the_metrics_pass_the_prometheus_linter(story):
    """Check the metrics with promtool, Prometheus's own linter."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    story.open()
    story.send("问题")
    story.advance(10)
    metrics = generate_latest(story.service.base.metrics.registry)
    result = subprocess.run([promtool, "check", "metrics"], input=metrics, capture_output=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_failed_attempt_is_not_counted_as_a_hang_up(story):
    story.open()
    story.store.stalled = True
    story.send("/help")
    story.advance(1)
    story.store.fail(StoreUnavailable("the disk is gone"))
    story.advance(1)
    assert value(story, "attempts_total", account="main", outcome="failed") >= 1


def test_an_account_without_deliberate_timeouts_has_no_budget_gauge():
    story = Story(
        answer_at(1, "好的。"), configuration(window=cfg.Window(deliberate_timeouts_per_5min=0))
    )
    metrics = generate_latest(story.service.base.metrics.registry).decode()
    assert "wxgptd_deliberate_timeouts_left{" not in metrics
