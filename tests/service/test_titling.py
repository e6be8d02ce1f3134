"""Titles of conversations, which a model is asked for only where the operator wants that."""

from __future__ import annotations

import re

import pytest

from tests.support.model_server import answer_at, error
from tests.support.pages import events
from tests.support.story import Story, configuration
from wxgptd import config as cfg
from wxgptd.domain.model import events as e
from wxgptd.domain.replies.texts import Texts

TEXTS = Texts()


def titled(script, max_running: int = 0) -> Story:
    """Return a story with one answer, whose model answers a request for a title with `script`."""
    assistant = cfg.Assistant(base_url="http://model.test/v1", model="m", max_running=max_running)
    config = configuration(pages=cfg.Pages(titles=True), assistant={"chatgpt": assistant})
    story = Story(answer_at(0.1, "因为散射。"), config)

    def respond(messages):
        asks_for_title = messages[-1]["content"] == TEXTS.title_request
        return script if asks_for_title else answer_at(0.1, "因为散射。")

    story.model.respond = respond
    story.open()
    story.send("天为什么是蓝的？请详细说说")
    story.advance(1)
    return story


def history_of(story: Story) -> str:
    return story.get(re.search(r"/h/[\w-]{22}", story.say("/history")).group()).body


def test_the_model_is_asked_once_after_the_first_answer():
    story = titled(answer_at(0.2, "《天空的颜色》。\n还有别的话"))
    (event,) = events(story, e.SessionTitled)
    assert (event.title, event.model) == ("天空的颜色", "m-1")
    assert event.usage.tokens
    assert "<h2>天空的颜色</h2>" in history_of(story)
    calls = len(story.model.calls)
    story.send("还有呢？")
    story.advance(1)
    assert len(story.model.calls) == calls + 1
    assert len(events(story, e.SessionTitled)) == 1


def test_no_model_is_asked_unless_the_operator_wants_titles():
    story = Story(answer_at(0.1, "因为。"))
    story.open()
    story.send("为什么？")
    story.advance(1)
    assert len(story.model.calls) == 1
    assert "<h2>为什么？</h2>" in history_of(story)


@pytest.mark.parametrize(
    "script",
    [error(500, "{}"), answer_at(0.1, "。"), answer_at(0.1, " \n ")],
    ids=["500", "dot", "blank"],
)
def test_without_a_usable_title_the_first_question_stays(script):
    story = titled(script)
    story.advance(20)
    assert not any(event.title for event in events(story, e.SessionTitled))
    assert "<h2>天为什么是蓝的？请详细说说</h2>" in history_of(story)


def test_a_long_title_is_cut_and_shown_as_text():
    story = titled(answer_at(0.1, "<b>" + "长" * 200))
    (event,) = events(story, e.SessionTitled)
    assert len(event.title) == 40
    assert "&lt;b&gt;长" in history_of(story)


def test_no_question_waits_for_a_title_that_could_wait_itself():
    story = titled(answer_at(5, "标题"), max_running=1)
    story.advance(10)
    assert len(events(story, e.SessionTitled)) == 1, "the slot was free"
    for user in ("bob", "carol"):
        story.open(user)
    story.model.respond = lambda _: answer_at(3, "答。")
    story.send("鲍勃问", "bob")
    story.send("卡罗尔问", "carol")
    story.advance(4)
    assert len(events(story, e.AnswerCompleted)) == 2
    story.advance(3)
    assert len(events(story, e.AnswerCompleted)) == 3, "without a title in between"


def test_an_unusable_title_is_paid_for_and_not_shown():
    story = titled(answer_at(0.1, "。"))
    (event,) = events(story, e.SessionTitled)
    assert event.title == ""
    assert event.usage.tokens


def test_the_first_complete_answer_is_what_the_title_is_about():
    story = Story(error(500, "{}"), configuration(pages=cfg.Pages(titles=True)))
    story.open()
    story.send("第一个没人回答")
    story.advance(20)
    story.model.respond = lambda _: answer_at(0.1, "因为散射。")
    story.send("第二个有回答")
    story.advance(2)
    sent = story.model.messages()
    assert ("user", "第二个有回答") in sent
    assert ("user", "第一个没人回答") not in sent


def test_a_restart_while_a_title_is_written_loses_only_the_title():
    story = titled(answer_at(30, "标题"))
    story.restart()
    story.advance(60)
    assert not events(story, e.SessionTitled)
    story.send("还有呢？")
    story.advance(1)
    assert len(events(story, e.AnswerCompleted)) == 2
    assert not events(story, e.SessionTitled), "it is asked for after the first answer only"


def test_a_title_counts_towards_the_budget():
    story = titled(answer_at(0.1, "标题"))
    (event,) = events(story, e.SessionTitled)
    usage = story.service.base.metrics.registry.get_sample_value(
        "wxgptd_tokens_total", {"assistant": "chatgpt", "kind": "prompt"}
    )
    answers = sum(a.usage.prompt_tokens for a in events(story, e.AnswerCompleted))
    assert usage == answers + event.usage.prompt_tokens
