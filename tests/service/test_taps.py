"""Taps, from the message to its effect."""

from __future__ import annotations

import pytest

from tests.domain.test_taps import Client
from tests.support.model_server import answer_at
from tests.support.story import Story, configuration
from wxgpt.wechat import messages
from wxgptd import config as cfg

LONG = "很长的回答。" * 500


def tap(story: Story, words: str, user: str = "alice") -> str | None:
    return story.deliver(messages.text_message(words, tapped=True), user).reply


def test_a_tap_acts_like_the_typed_text():
    story = Story(answer_at(0.5, LONG))
    [command] = Client(story.say("/help")).sends[:1]
    assert "我是 AI 助手" in tap(story, command)
    sent = story.send("为什么？")
    story.advance(1)
    client = Client(sent.reply)
    assert client.sends == ["继续"]
    assert "发送“继续”看下一段" in client.shown
    assert "很长的回答" in tap(story, client.sends[0])
    assert [event.tapped for event in story.store.events() if hasattr(event, "tapped")] == [
        False, True, False, True,
    ]  # fmt: skip


@pytest.mark.parametrize("with_id", [True, False])
def test_a_tap_works_with_or_without_an_id(with_id):
    story = Story(answer_at(0.5, LONG))
    story.open()
    story.send("为什么？")
    story.advance(1)
    fields = messages.text_message("继续", tapped=with_id)
    assert "很长的回答" in story.deliver(fields).reply


def test_a_tapped_clear_asks_for_confirmation():
    story = Story(answer_at(0.5, "好的。"))
    story.open()
    story.send("为什么？")
    story.advance(1)
    confirmation = Client(tap(story, "/clear"))
    assert confirmation.sends == ["/clear"]
    assert "确定清空（或再发送一次 /clear）" in confirmation.shown
    assert "已清空" in tap(story, "/clear")


def test_a_reply_with_a_link_also_offers_continue_as_a_tap():
    story = Story(answer_at(60, "好的。"))
    story.open()
    sent = story.send("为什么？")
    story.advance(16)
    client = Client(sent.reply.split("http", maxsplit=1)[0])
    assert client.sends == ["继续"]


def test_replies_contain_no_tap_links_when_taps_are_off():
    story = Story(answer_at(0.5, LONG), configuration(reply=cfg.Reply(taps=False)))
    replies = [story.say("/help"), story.say("/chatgpt")]
    sent = story.send("为什么？")
    story.advance(1)
    for reply in (*replies, sent.reply):
        assert "<" not in reply
        assert "weixin:" not in reply
    assert "发送“继续”看下一段" in sent.reply
    assert "已清空" not in (tap(story, "/clear") or ""), "older replies may still contain taps"


def test_a_welcome_can_contain_taps():
    welcome = "你好！{tap:/chatgpt|开始对话}，或看看{tap:/help|帮助}。"
    account = cfg.Account(token=cfg.Secret("storytoken"), welcome=welcome)
    story = Story(answer_at(1, "好"), configuration(account={"main": account}))
    assert Client(story.deliver(messages.event_message("subscribe")).reply).sends == [
        "/chatgpt", "/help",
    ]  # fmt: skip
