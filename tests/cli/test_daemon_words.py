"""What the daemon says is shown in the operator's language."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

import wxgptd
from wxgpt import language
from wxgpt.daemon_words import SAYINGS, heard
from wxgptd.domain.model.values import FailureReason
from wxgptd.llm.breaker import Breaker
from wxgptd.service.operations.health import STUCK_AFTER_S, Health

SOURCES = Path(wxgptd.__file__).parent


@pytest.fixture
def chinese():
    language.choose("zh")
    yield
    language.choose("en")


def test_the_state_of_a_circuit_breaker_is_translated(chinese):
    clock = Clock()
    breaker = Breaker("chatgpt", clock)
    assert heard(breaker.state) == "正常"
    breaker.trip(FailureReason.UNAVAILABLE, "HTTP 502")
    assert heard(breaker.state) == "熔断中，30 秒后再试：HTTP 502"
    clock.advance(31)
    assert heard(breaker.state) == "熔断中，下一个问题来时再试：HTTP 502"
    assert heard(f"{breaker.state}; {breaker.state}").count("熔断中") == 2


def test_why_the_daemon_is_unhealthy_is_translated(chinese):
    class Stuck:
        def figures(self):
            return type("Figures", (), {"pending": 1, "commits": 0})()

        def full(self):
            return False

    clock = Clock()
    health = Health(Stuck(), lambda _: Deferred(), clock)
    health.look()
    clock.advance(STUCK_AFTER_S + 1)
    health.look()
    assert heard(health.unhealthy_reason) == f"{STUCK_AFTER_S + 1:.0f} 秒没有写进日志"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("unavailable: no response within 30 s, 5 s ago", "5 秒前，不可用：30 秒没有响应"),
        ("quota: HTTP 402: No Balance, 61 s ago", "61 秒前，余额用完：HTTP 402: No Balance"),
        ("last call failed", "上一次调用失败"),
        ("paused for 5 min", "暂停 5 分钟"),
        ("what only a newer daemon says", "what only a newer daemon says"),
        ("", ""),
        ("{n} {why}", "{n} {why}"),
    ],
)
def test_what_is_known_is_translated_and_the_words_of_others_stay(said, shown, chinese):
    assert heard(said) == shown


def test_english_stays_as_it_was_said():
    for said in ("unavailable: no response within 30 s, 5 s ago", "ok", "paused for 5 min"):
        assert heard(said) == said


def test_no_english_is_left_in_a_failure_that_the_daemon_words_itself(chinese):
    assert not re.search("[a-z]{3}", heard("unavailable: the stream was empty, 5 s ago"))


def test_the_daemon_says_every_saying():
    """So that a text that is reworded there is noticed here."""
    said = {
        shape
        for path in (*SOURCES.glob("*/*.py"), *SOURCES.glob("service/*/*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        for shape in shapes(node)
    }
    joined = "\n".join(said)
    for saying in SAYINGS:
        pieces = re.split(r"\{\w+\}|[:,]", saying.template)
        for piece in filter(None, (piece.strip(" :,") for piece in pieces)):
            assert piece in joined, f"nothing in the daemon says {piece!r}"


def shapes(node: ast.AST) -> list[str]:
    """Return the literal parts of a text in the code."""
    match node:
        case ast.JoinedStr(values=values):
            texts = [part.value for part in values if isinstance(part, ast.Constant)]
            return [str(text) for text in texts]
        case ast.Constant(value=str() as text):
            return [text]
    return []
