"""Late answers that the user has not seen are announced once."""

from __future__ import annotations

import re

from tests.support.model_server import answer_at, error
from tests.support.story import Story

LATE = "因为空气把蓝光散射得更多。"


def late_story(question: str = "天空为什么是蓝色的？") -> Story:
    """Return a story in which a question got a link and its answer has since arrived."""
    story = Story(answer_at(20, LATE))
    story.open()
    sent = story.send(question)
    story.advance(15)
    story.link = sent.reply.split("https://chat.example.com")[1].partition("#")[0]
    story.advance(10)
    return story


def test_the_next_reply_links_to_a_late_answer_once():
    story = late_story()
    reply = story.say("/help")
    assert re.sub(r"#[\w-]{22}", "", reply).endswith(
        f"（你之前问的“天空为什么是蓝色的？”，回答已经写好：\nhttps://chat.example.com{story.link} ）"
    )
    assert "回答已经写好" not in story.say("/help")


def test_an_answer_with_the_link_still_fits():
    story = late_story("很长的问题" * 20)
    text = "".join(f"第 {n:04} 句话在这里说完了。" for n in range(500))
    story.model.respond = lambda _: answer_at(0.1, text)
    sent = story.send("再问？")
    story.advance(1)
    assert story.link in sent.reply
    assert "“很长的问题很长的问题很长的问题很长的问题…”" in sent.reply
    assert len(sent.reply.encode()) <= 2048
    assert "看下一段" in sent.reply


def test_a_late_attempt_gets_the_same_reply():
    story = late_story()
    wechat = story.wechat()
    from wxgpt.wechat import messages

    url, body = wechat.request("alice", messages.text_message("/help"))
    first, second = story.attempt(url, body), story.attempt(url, body, number=2)
    assert first.reply == second.reply
    assert story.link in second.reply


def test_an_answer_whose_page_was_opened_is_not_announced():
    story = late_story()
    story.get(story.link)
    assert "回答已经写好" not in story.say("/help")


def test_an_answer_read_in_the_chat_is_not_announced():
    story = late_story()
    assert story.say("继续") == LATE
    assert "回答已经写好" not in story.say("/help")


def test_a_cleared_session_s_answer_is_not_announced():
    story = late_story()
    assert "回答已经写好" not in story.say("/clear")
    assert "回答已经写好" not in story.say("/help")


def test_an_answer_that_wechat_never_fetches_is_announced():
    story = Story(answer_at(7, LATE))
    story.open()
    story.send("为什么？", attempts=1)
    story.advance(10)
    assert "回答已经写好" not in story.say("/help")  # WeChat may still retry
    story.advance(12)
    assert "“为什么？”，回答已经写好" in story.say("/help")


def test_a_failure_is_not_announced():
    story = Story(error(500, "{}", at_s=20))
    story.open()
    story.send("为什么？")
    story.advance(60)
    assert "回答已经写好" not in story.say("/help")


def test_a_late_answer_is_announced_after_a_restart():
    story = late_story()
    story.crash()
    story.start()
    assert story.link in story.say("/help")


def test_an_answer_completed_after_a_restart_is_announced():
    story = Story(answer_at(2, LATE))
    story.open()
    story.send("为什么？", attempts=1)
    story.advance(1)
    story.crash()
    story.world_clock.rightNow += 60
    story.start()
    story.advance(5)
    assert "“为什么？”，回答已经写好" in story.say("/help")


def test_a_full_length_reply_makes_room_for_the_link():
    from tests.support.story import configuration
    from wxgptd.domain.replies.texts import Texts

    story = Story(answer_at(20, LATE), configuration(texts=Texts(help="帮" * 660)))
    story.open()
    story.send("为什么？")
    story.advance(30)
    reply = story.say("/help")
    assert reply.endswith(" ）")
    assert len(reply.encode()) <= 2048
