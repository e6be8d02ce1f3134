"""Unanswered messages are counted and shown to the operator."""

from __future__ import annotations

import json

from prometheus_client import generate_latest
from treq.testing import StubTreq

from tests.support.model_server import answer_at
from tests.support.story import Story, configuration
from wxgpt.wechat import messages
from wxgptd import config as cfg
from wxgptd.domain.model import events as e


def status(story: Story):
    http, responses = StubTreq(story.service.admin), []
    http.get("http://admin.test/status").addCallback(responses.append)
    http.flush()
    bodies = []
    http.content(responses[0]).addCallback(bodies.append)
    http.flush()
    return json.loads(bodies[0])["unanswered"]


def counts(story: Story) -> list[int]:
    return [
        event.count for event in story.store.events() if isinstance(event, e.MessagesUnanswered)
    ]


def test_counts_are_recorded_at_once_then_every_minute_without_any_text():
    story = Story(answer_at(0.1, "好。"))
    assert story.say("私房话") is None
    story.advance(2)
    assert counts(story) == [1]
    for _ in range(7):
        story.say("私房话", user="bob")
    story.advance(30)
    assert counts(story) == [1]
    story.advance(31)
    assert counts(story) == [1, 7]
    assert "私房话" not in str(story.store.events())
    assert status(story) == {"main": {"today": 8, "yesterday": 0}}
    text = generate_latest(story.service.base.metrics.registry).decode()
    assert 'wxgptd_messages_unanswered_total{account="main"} 8.0' in text


def test_only_unanswered_user_messages_are_counted():
    rule = cfg.Rule(match="keyword", words=("价格",), reply=cfg.RuleReply(text="十元"))
    story = Story(answer_at(0.1, "好。"), configuration(rule=(rule,)))
    story.say("价格")
    story.say("/help")
    story.open()
    story.send("在吗")
    story.deliver(messages.event_message("VIEW", "menu"))
    story.advance(2)
    assert counts(story) == []
    story.deliver(messages.image_message("http://mmbiz.qpic.cn/x"), user="bob")
    story.advance(2)
    assert counts(story) == [1]


def test_counts_survive_a_restart_and_last_through_the_next_day():
    story = Story(answer_at(0.1, "好。"))
    story.say("在吗")
    story.advance(2)
    story.restart()
    assert status(story)["main"]["today"] == 1
    story.advance(86_400, step=600)
    assert status(story)["main"] == {"today": 0, "yesterday": 1}
    story.advance(86_400, step=600)
    assert status(story)["main"] == {"today": 0, "yesterday": 0}


def test_pending_counts_are_recorded_at_shutdown():
    story = Story(answer_at(0.1, "好。"))
    story.say("一")
    story.advance(2)
    for _ in range(5):
        story.say("二")
    story.service.end()
    assert counts(story) == [1, 5]


def test_counts_survive_a_restart_from_a_snapshot():
    story = Story(answer_at(0.1, "好。"), configuration(log=cfg.Log(snapshot_every=5)))
    assert story.say("在吗") is None
    story.advance(2)
    story.open()
    while not story.store.snapshots:
        story.send("问题")
        story.advance(2)
    story.crash()
    story.start()
    assert status(story) == {"main": {"today": 1, "yesterday": 0}}
