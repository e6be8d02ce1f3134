"""Answers that came too late, and that nobody has seen, are told of once."""

from __future__ import annotations

from tests.support.model_server import answer_at, error
from tests.support.story import Story

LATE = "因为空气把蓝光散射得更多。"


def late(question: str = "天空为什么是蓝色的？") -> Story:
    """A story in which a question was answered by a link, and its answer is there by now."""
    story = Story(answer_at(20, LATE))
    story.open()
    sent = story.send(question)
    story.advance(15)
    story.link = sent.reply.split("https://chat.example.com")[1].strip()
    story.advance(10)
    return story


def test_the_next_reply_carries_its_link_once():
    story = late()
    said = story.say("/help")
    assert said.endswith(
        f"（你之前问的“天空为什么是蓝色的？”有回答了：\nhttps://chat.example.com{story.link} ）"
    )
    assert "有回答了" not in story.say("/help")


def test_an_answer_carries_it_too_and_still_fits():
    story = late("很长的问题" * 20)
    text = "".join(f"第 {n:04} 句话在这里说完了。" for n in range(500))
    story.model.respond = lambda _: answer_at(0.1, text)
    sent = story.send("再问？")
    story.advance(1)
    assert story.link in sent.reply
    assert "“很长的问题很长的问题很长的问题很长的问题…”" in sent.reply
    assert len(sent.reply.encode()) <= 2048
    assert "看下一段" in sent.reply


def test_a_late_attempt_gets_the_same_reply():
    story = late()
    wechat = story.wechat()
    from wxgpt.wechat import messages

    url, body = wechat.request("alice", messages.text_message("/help"))
    first, second = story.attempt(url, body), story.attempt(url, body, number=2)
    assert first.reply == second.reply
    assert story.link in second.reply


def test_whoever_opened_the_page_is_not_told():
    story = late()
    story.get(story.link)
    assert "有回答了" not in story.say("/help")


def test_whoever_asked_for_it_in_the_chat_is_not_told():
    story = late()
    assert story.say("继续") == LATE
    assert "有回答了" not in story.say("/help")


def test_a_cleared_session_s_answer_is_not_told_of():
    story = late()
    assert "有回答了" not in story.say("/clear")
    assert "有回答了" not in story.say("/help")


def test_an_answer_that_wechat_did_not_come_for_is_told_of():
    story = Story(answer_at(7, LATE))
    story.open()
    story.send("为什么？", attempts=1)
    story.advance(10)
    assert "有回答了" not in story.say("/help")  # WeChat may come yet
    story.advance(12)
    assert "“为什么？”有回答了" in story.say("/help")


def test_a_failure_is_not_told_of():
    story = Story(error(500, "{}", at_s=20))
    story.open()
    story.send("为什么？")
    story.advance(60)
    assert "有回答了" not in story.say("/help")


def test_it_is_remembered_across_a_restart():
    story = late()
    story.crash()
    story.start()
    assert story.link in story.say("/help")


def test_an_answer_that_came_after_a_restart_without_wechat_is_told_of():
    story = Story(answer_at(2, LATE))
    story.open()
    story.send("为什么？", attempts=1)
    story.advance(1)
    story.crash()
    story.world_clock.rightNow += 60
    story.start()
    story.advance(5)
    assert "“为什么？”有回答了" in story.say("/help")


def test_a_text_that_fills_a_reply_makes_room_for_it():
    from tests.support.story import configuration
    from wxgptd.domain.replies.texts import Texts

    story = Story(answer_at(20, LATE), configuration(texts=Texts(help="帮" * 660)))
    story.open()
    story.send("为什么？")
    story.advance(30)
    said = story.say("/help")
    assert said.endswith(" ）")
    assert len(said.encode()) <= 2048
