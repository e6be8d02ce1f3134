"""Stopping an answer, and asking again with 重试."""

from __future__ import annotations

import re

import pytest

from tests.support.builders import words_of
from tests.support.model_server import answer_at, error, streamed
from tests.support.story import Story, configuration
from wxgpt.wechat import messages
from wxgptd import config as cfg

ANSWER = "因为空气。"
STOPPED = "已停止回答这个问题。"
PIECES = ["第一句。", "第二句。", "第三句。", "第四句。"]


def writing_story(**tables) -> Story:
    story = Story(lambda _: streamed(20, PIECES, first_s=1), configuration(**tables))
    story.open()
    return story


@pytest.mark.parametrize("word", ["停止", "停止。", "停一下", "/stop", "结束对话"])
def test_each_attempt_reports_the_stop_in_the_same_words(word):
    story = writing_story()
    url, body = story.wechat().request("alice", messages.text_message("一？"))
    first = story.attempt(url, body)
    story.advance(2)
    confirmation = story.say(word)
    story.advance(0.1)
    assert first.reply == f"第一句。\n\n（{STOPPED}）"
    assert story.attempt(url, body, number=2).reply == first.reply
    assert confirmation.startswith("已停止回答这个问题")
    assert story.model.hung_up == 1


def test_the_page_keeps_the_partial_answer_and_reports_the_stop():
    story = writing_story()
    sent = story.send("一？")
    story.advance(15)
    path = re.search(r"https://chat.example.com(\S+)", sent.reply)[1]
    story.say("停止")
    story.advance(1)
    page = story.get(path).body
    assert "第一句。" in page
    assert STOPPED in page
    assert STOPPED in words_of(story.say("继续"))


def test_stopping_leaves_the_session_open_and_starts_the_next_question():
    story = writing_story()
    first, second = story.send("一？"), story.send("二？")
    story.advance(2)
    assert words_of(story.say("停止")) == f"{STOPPED}可以接着提问，也可以重试。"
    story.advance(1.5)
    assert STOPPED in first.reply
    assert not second.done
    assert len(story.model.calls) == 2
    story.advance(20)
    assert second.done


def test_the_usage_of_a_stopped_answer_is_counted():
    prices = cfg.Assistant(
        base_url="http://model.test/v1", model="m-1", price_per_million=cfg.Price(input=1e6)
    )
    story = writing_story(assistant={"chatgpt": prices})
    story.send("一？")
    story.advance(2)
    story.say("停止")
    (failed,) = [event for event in story.store.events() if type(event).__name__ == "AnswerFailed"]
    assert failed.text == "第一句。"
    assert failed.usage.tokens > 5
    assert failed.usage.cost > 1.0


def test_a_stopped_answer_stays_in_the_context():
    story = writing_story()
    story.send("一？")
    story.advance(2)
    story.say("停止")
    story.advance(1)
    story.model.respond = lambda _: answer_at(0.1, ANSWER)
    story.send("接下来呢")
    story.advance(1)
    assert story.model.messages() == [
        ("user", "一？"),
        ("assistant", "第一句。"),
        ("user", "接下来呢"),
    ]


def test_a_stop_by_the_operator_keeps_the_partial_answer():
    from wxgptd.domain.model.values import User

    story = writing_story()
    sent = story.send("一？")
    story.advance(2)
    control = story.service.admin
    session = story.service.state.journal.state(User("main", "alice")).live.id
    from treq.testing import StubTreq

    http = StubTreq(control)
    http.post(f"http://admin.test/sessions/{session}/stop")
    http.flush()
    story.advance(0.1)
    assert sent.reply == f"第一句。\n\n（{STOPPED}）"


# 重试


@pytest.mark.parametrize("words", ["重试", "重试！", "/retry", "重新回答", "再答一次"])
def test_retry_asks_the_last_question_again(words):
    story = Story(lambda _: answer_at(0.1, ANSWER))
    story.open()
    for text in ("一？", "二？"):
        story.send(text)
        story.advance(1)
    sent = story.send(words)
    story.advance(1)
    assert sent.reply == ANSWER
    assert story.model.messages() == [
        ("user", "一？"),
        ("assistant", ANSWER),
        ("user", "二？"),
    ], "the retried answer is left out of the prompt"


def test_a_failure_offers_a_working_retry_tap():
    scripts = [error(400, "what?"), answer_at(0.1, ANSWER)]
    story = Story(lambda _: scripts.pop(0))
    story.open()
    failed = story.send("一？")
    story.advance(1)
    assert "msgmenucontent=重试" in failed.reply
    again = story.deliver(messages.text_message("重试", tapped=True))
    story.advance(1)
    assert again.reply == ANSWER


def test_retry_works_after_the_session_has_expired():
    scripts = [error(400, "what?"), answer_at(0.1, ANSWER)]
    story = Story(lambda _: scripts.pop(0))
    story.open()
    story.send("一？")
    story.advance(400, step=1)
    again = story.deliver(messages.text_message("重试", tapped=True))
    story.advance(1)
    assert again.reply == ANSWER


def test_retry_waits_for_an_answer_still_being_written():
    story = Story(lambda _: answer_at(20, ANSWER))
    story.open()
    story.send("一？")
    story.advance(16)
    again = story.send("重试")
    story.advance(6)
    assert again.reply == ANSWER
    assert len(story.model.calls) == 1


def test_retry_explains_that_there_is_nothing_to_retry():
    story = Story(answer_at(0.1, ANSWER))
    story.open()
    assert "没有可以重试的问题" in story.say("重试")
    story.say("/stop")
    assert "没有进行中的对话" in story.say("/retry")


def test_retry_counts_as_a_question():
    story = Story(
        lambda _: answer_at(0.1, ANSWER), configuration(limits=cfg.Limits(questions_per_day=1))
    )
    story.open()
    story.send("一？")
    story.advance(1)
    assert "提问次数用完" in story.say("重试")


# Unfinished answers, and the scope of a stop.


@pytest.mark.parametrize("ended", ["", "/stop", "later"])
def test_continue_explains_that_the_answer_is_complete_and_the_log_stays_readable(ended):
    story = Story(lambda _: answer_at(0.1, ANSWER))
    story.open()
    story.send("一？")
    story.advance(1)
    if ended == "later":
        story.advance(400, step=1)
    elif ended:
        story.say(ended)
    reply = story.deliver(messages.text_message("继续", tapped=True)).reply
    assert reply == "以上就是完整的回答。"
    story.restart()
    assert "/history" in story.say("/help")


def test_a_truncated_answer_continues_after_the_session_has_expired():
    scripts = [answer_at(0.1, "前一半", finish="length"), answer_at(0.1, "后一半")]
    story = Story(lambda _: scripts.pop(0))
    story.open()
    sent = story.send("一？")
    story.advance(1)
    assert "接着写" in sent.reply
    story.advance(400, step=1)
    more = story.deliver(messages.text_message("继续", tapped=True))
    story.advance(1)
    assert more.reply == "后一半"
    assert ("assistant", "前一半") in story.model.messages()


@pytest.mark.parametrize("word", ["/stop", "停止"])
def test_stopping_also_stops_the_answer_of_a_replaced_session(word):
    assistants = {
        name: cfg.Assistant(base_url="http://model.test/v1", model="m-1")
        for name in ("chatgpt", "claude")
    }
    story = writing_story(assistant=assistants)
    sent = story.send("一？")
    story.advance(2)
    story.say("/claude")
    assert "已停止回答这个问题" in story.say(word)
    story.advance(0.1)
    assert story.model.hung_up == 1
    assert sent.reply == f"第一句。\n\n（{STOPPED}）"


def test_a_session_ended_after_its_expiry_is_not_resumed():
    story = Story(
        lambda _: answer_at(0.1, ANSWER),
        configuration(session=cfg.Session(after_expiry="resume")),
    )
    story.open()
    story.send("一？")
    story.advance(400, step=1)
    assert story.say("/stop").startswith("对话已结束")
    assert story.say("二？") is None


@pytest.mark.parametrize("words", ["/stop", "停止", "/help", "帮助", "/history", "历史记录"])
def test_help_history_and_stop_work_even_over_a_limit(words):
    story = Story(
        lambda _: answer_at(0.1, ANSWER), configuration(limits=cfg.Limits(messages_per_minute=1))
    )
    story.open()
    assert "有点快" in story.say("一？")
    assert "有点快" not in story.say(words)


def test_every_command_that_asks_a_question_over_a_limit_gets_a_rejection():
    limits = cfg.Limits(questions_per_day=1)
    story = Story(lambda _: answer_at(0.1, ANSWER), configuration(limits=limits))
    story.open()
    story.send("一？")
    story.advance(1)
    for words in ("重试", "重试", "/retry", "/chatgpt 二？", "/chatgpt 二？"):
        assert "提问次数用完" in story.say(words)
    assert story.say("二？") is None, "a question was rejected less than a minute ago"
    assert len(story.model.calls) == 1


def test_a_stranger_without_permission_does_not_fill_the_log():
    story = Story(
        lambda _: answer_at(0.1, ANSWER), configuration(limits=cfg.Limits(only_allowed=True))
    )
    for _ in range(20):
        story.say("/help")
    assert len(story.store.events()) == 2


# What 重试 asks again.


def test_a_failed_retry_leaves_the_previous_answer_in_the_context():
    scripts = [answer_at(0.1, ANSWER), error(400, "what?"), answer_at(0.1, "好")]
    story = Story(lambda _: scripts.pop(0))
    story.open()
    for text in ("一？", "重试", "二？"):
        story.send(text)
        story.advance(1)
    assert story.model.messages() == [("user", "一？"), ("assistant", ANSWER), ("user", "二？")]


def test_a_retry_of_a_retry_asks_the_question_once():
    story = Story(lambda _: answer_at(0.1, ANSWER))
    story.open()
    for text in ("一？", "重试", "重试"):
        story.send(text)
        story.advance(1)
    assert story.model.messages() == [("user", "一？")]


def test_a_question_with_a_newly_blocked_word_is_not_retried(tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("")
    story = Story(
        lambda _: answer_at(0.1, ANSWER),
        configuration(moderation=cfg.Moderation(words_file=words)),
    )
    story.open()
    story.send("违禁词是什么")
    story.advance(1)
    words.write_text("违禁词")
    story.service.answers.moderation.adopt(words)
    assert "无法处理的内容" in story.say("重试")
    assert len(story.model.calls) == 1


def test_a_picture_is_not_retried_with_a_model_without_vision():
    from dataclasses import replace

    from tests.support.builders import History, complete, receive
    from wxgptd.domain.model.values import AssistantName, Picture, Policy

    sighted = Policy(sighted=frozenset({AssistantName("chatgpt")}))
    history = History()
    history.say("/chatgpt", "m1")
    history.say(Picture("http://mmbiz.qpic.cn/x"), "q1", policy=sighted)
    history.do(complete("q1", "一只猫。"))
    declined = history.do(receive("重试", "m2", policy=replace(sighted, sighted=frozenset())))
    assert [type(event).__name__ for event in declined] == ["MessageDeclined", "ReplyOffered"]
    asked = history.do(receive("重试", "m3", policy=sighted))
    assert asked[0].image == "http://mmbiz.qpic.cn/x"


def test_a_model_tap_outside_a_session_gets_an_explanation():
    models = cfg.Words(("m-1", "m-2"))
    assistant = cfg.Assistant(base_url="http://model.test/v1", model="m-1", models=models)
    story = Story(lambda _: answer_at(0.1, ANSWER), configuration(assistant={"chatgpt": assistant}))
    story.open()
    story.say("/stop")
    tapped = story.deliver(messages.text_message("/model m-2", tapped=True))
    assert "没有进行中的对话" in tapped.reply
    assert story.say("/model m-2") is None
