"""Per-user limits, and permission to use the assistants."""

from __future__ import annotations

import json
import re
from urllib.parse import quote

import pytest
from treq.testing import StubTreq

from tests.support.model_server import answer_at
from tests.support.story import Story, configuration
from wxgpt.wechat import messages
from wxgptd import config as cfg
from wxgptd.eventlog.unavailable import StoreUnavailable

ANSWER = "因为空气。"


def limited_story(respond=None, **limits) -> Story:
    return Story(respond or answer_at(0.1, ANSWER), configuration(limits=cfg.Limits(**limits)))


def ask(story: Story, text: str = "为什么？", user: str = "alice") -> str | None:
    sent = story.send(text, user)
    story.advance(0.5)
    return sent.reply


def admin(story: Story, method: str, path: str):
    http, responses = StubTreq(story.service.admin), []
    http.request(method, f"http://admin.test{path}").addCallback(responses.append)
    http.flush()
    bodies = []
    http.content(responses[0]).addCallback(bodies.append)
    http.flush()
    return responses[0].code, json.loads(bodies[0])


def change(story: Story, standing: str, user: str = "alice", for_s: float = 0):
    path = f"/users/main/{quote(user)}?standing={standing}&for_s={for_s}"
    return admin(story, "POST", path)


def test_a_message_beyond_the_rate_limit_is_rejected_with_the_wait_time():
    story = limited_story(messages_per_minute=3)
    story.open()
    assert ask(story) == ANSWER
    assert ask(story) == ANSWER
    assert ask(story) == "消息发得有点快，请 59 秒后再发。"
    story.advance(60)
    assert ask(story) == ANSWER


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_a_message_is_accepted_after_the_stated_wait(limit):
    story = limited_story(messages_per_minute=limit)
    story.open()
    for _ in range(limit - 1):
        story.advance(7)
        ask(story)
    story.advance(3)
    rejection = ask(story)
    story.advance(1 + int(re.search(r"(\d+) 秒后", rejection)[1]))
    assert ask(story) == ANSWER


def test_continue_does_not_count_towards_the_limit():
    text = "".join(f"第 {n:04} 句话在这里说完了。" for n in range(500))
    story = limited_story(lambda _: answer_at(0.1, text), messages_per_minute=2)
    story.open()
    ask(story)
    assert all("看下一段" in story.say("继续") for _ in range(4))


def test_an_answer_with_a_blocked_word_still_costs_tokens(tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("违禁词")
    config = configuration(
        limits=cfg.Limits(tokens_per_day=5), moderation=cfg.Moderation(words_file=words)
    )
    story = Story(lambda _: answer_at(0.1, "这里有一个违禁词。"), config)
    story.open()
    assert ask(story) == "抱歉，这个问题 AI 回答不了。"
    assert ask(story).startswith("你今天的 AI 额度用完了")


def test_a_rejected_question_opens_no_session():
    account = cfg.Account(token=cfg.Secret("storytoken"), open_without_command=True)
    config = configuration(account={"main": account}, limits=cfg.Limits(questions_per_day=1))
    story = Story(answer_at(0.1, ANSWER), config)
    ask(story)
    story.say("/stop")
    ask(story)
    before = len(story.store.events())
    assert ask(story) is None
    assert len(story.store.events()) == before


def test_at_most_one_rejection_is_sent_per_minute():
    story = limited_story(messages_per_minute=1)
    story.open()
    assert "有点快" in ask(story)
    before = len(story.store.events())
    for _ in range(5):
        assert ask(story) is None
    assert len(story.store.events()) == before
    story.advance(61)
    assert ask(story) == ANSWER


def test_each_attempt_gets_the_same_rejection():
    story = limited_story(messages_per_minute=1)
    story.open()
    url, body = story.wechat().request("alice", messages.text_message("为什么？"))
    first, second = story.attempt(url, body), story.attempt(url, body, number=2)
    assert first.reply == second.reply
    assert "有点快" in first.reply


def test_messages_outside_a_session_are_neither_counted_nor_rejected():
    story = limited_story(messages_per_minute=1)
    for _ in range(5):
        assert ask(story, "你好") is None
    assert "我是 AI 助手" in story.say("/chatgpt")


def test_the_daily_question_count_spans_sessions_and_restarts():
    story = limited_story(questions_per_day=2)
    story.open()
    assert ask(story) == ANSWER
    story.say("/clear")
    assert ask(story) == ANSWER
    story.crash()
    story.start()
    rejection = ask(story)
    assert rejection.startswith("今天的提问次数用完了，")
    assert "小时后" in rejection or "分钟后" in rejection
    assert story.say("/stop") is not None
    assert len(story.model.calls) == 2
    assert ask(story, "/chatgpt", "bob") is not None
    assert ask(story, "为什么？", "bob") == ANSWER


def test_the_question_limit_resets_the_next_day():
    story = limited_story(questions_per_day=1)
    story.open()
    assert ask(story) == ANSWER
    assert "今天的提问次数用完了" in ask(story)
    story.advance(86_400, step=100.0)
    story.open()
    assert ask(story) == ANSWER


def test_daily_tokens_are_counted_as_the_server_reports_them():
    story = limited_story(tokens_per_day=20)  # the model reports 12 for each question
    story.open()
    assert ask(story) == ANSWER
    assert ask(story) == ANSWER
    assert ask(story).startswith("你今天的 AI 额度用完了")


def test_only_allowed_users_may_chat_if_configured():
    story = limited_story(only_allowed=True)
    assert (
        story.say("/chatgpt") == "抱歉，AI 对话目前只对受邀用户开放。如有疑问，请联系公众号运营者。"
    )
    assert ask(story, "你好") is None
    assert change(story, "allowed") == (200, {"changed": True})
    story.advance(61)
    assert "我是 AI 助手" in story.say("/chatgpt")
    assert ask(story) == ANSWER


def test_an_allowed_user_has_no_limits():
    story = limited_story(messages_per_minute=1, questions_per_day=1, tokens_per_day=1)
    change(story, "allowed")
    story.open()
    for _ in range(4):
        assert ask(story) == ANSWER


def test_a_blocked_user_is_notified_once_and_the_session_ends():
    story = limited_story()
    story.open()
    change(story, "blocked")
    assert story.say("/chatgpt") == "抱歉，你暂时无法使用 AI 对话。如有疑问，请联系公众号运营者。"
    assert story.say("/chatgpt") is None
    assert ask(story) is None
    assert story.say("/chatgpt", "bob") is not None
    story.crash()
    story.start()
    story.advance(61)
    assert story.say("/help") == "抱歉，你暂时无法使用 AI 对话。如有疑问，请联系公众号运营者。"
    change(story, "default")
    story.open()
    assert ask(story) == ANSWER


def test_a_temporary_block_states_its_duration_and_expires():
    story = limited_story()
    change(story, "blocked", for_s=7_200)
    assert story.say("/chatgpt") == "抱歉，你暂时无法使用 AI 对话，请 2 小时后再来。"
    story.advance(7_201, step=60.0)
    story.open()
    assert ask(story) == ANSWER


def test_the_operator_sees_each_user_s_usage():
    story = limited_story()
    story.open()
    ask(story)
    change(story, "blocked", "mallory")
    code, users = admin(story, "GET", "/users")
    assert code == 200
    assert [(user["user"], user["standing"], user["questions_today"]) for user in users] == [
        ("alice", "default", 1),
        ("mallory", "blocked", 0),
    ]
    assert users[0]["tokens_today"] == 12
    _, users = admin(story, "GET", "/users?standing=blocked&n=1")
    assert [user["user"] for user in users] == ["mallory"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/users/nowhere/alice?standing=blocked", 404),
        ("/users/main/alice?standing=loved", 400),
        ("/users/main/alice", 400),
        ("/users/main?standing=blocked", 400),
        ("/users/main/?standing=blocked", 400),
        ("/users/main/alice?standing=blocked&for_s=-1", 400),
        ("/users/main/alice?standing=blocked&for_s=nan", 400),
        ("/users/main/%ff?standing=blocked", 400),
    ],
)
def test_an_invalid_request_changes_nothing(path, status):
    story = limited_story()
    assert admin(story, "POST", path)[0] == status
    assert story.store.events() == []


def test_a_request_that_cannot_be_recorded_states_why():
    story = limited_story()
    story.open()
    story.store.broken = StoreUnavailable("the event log cannot be written", hint="check the disk")
    code, body = change(story, "blocked")
    assert code == 500
    assert body == {"error": "the event log cannot be written", "hint": "check the disk"}
