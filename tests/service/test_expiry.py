"""Session expiry, and how later messages are handled."""

from __future__ import annotations

import re

import pytest

from tests.support.builders import words_of
from tests.support.model_server import answer_at
from tests.support.story import Story, configuration
from wxgpt.wechat import messages
from wxgptd import config as cfg

ANSWER = "因为空气。"
HINT = "对话已超时，这条消息还没有发给 AI。发送“接着聊”就能得到回答。"
HOUR_S, DAY_S = 3_600.0, 86_400.0
BACKEND = cfg.Rule(match="any", reply=cfg.RuleReply(text="十元"))


def expiry_story(
    after: str = "auto", respond=None, only_ai: bool = False, rules=(), **session: float
) -> Story:
    account = cfg.Account(token=cfg.Secret("storytoken"), open_without_command=only_ai)
    times = {name: cfg.Duration(value) for name, value in session.items()}
    return Story(
        respond or (lambda _: answer_at(0.1, ANSWER)),
        configuration(
            account={"main": account},
            session=cfg.Session(after_expiry=after, **times),
            rule=tuple(rules),
        ),
    )


def ask(story: Story, text: str = "为什么？", **more) -> str | None:
    sent = story.send(text, **more)
    story.advance(1)
    return words_of(sent.reply)


def wait(story: Story, seconds: float) -> None:
    story.advance(seconds, step=max(seconds / 400, 0.05))


def after_one_answer(story: Story) -> Story:
    story.say("/chatgpt")
    assert ask(story, "一？") == ANSWER
    return story


# Follow-ups.


@pytest.mark.parametrize(
    ("after", "only_ai", "replies"),
    [
        # after the answer: 1 s, 4 min, 6 min, 2 h, 2 days
        ("resume", False, [ANSWER, ANSWER, ANSWER, ANSWER, None]),
        ("hint", False, [ANSWER, ANSWER, HINT, HINT, None]),
        ("ignore", False, [ANSWER, ANSWER, None, None, None]),
        ("auto", False, [ANSWER, ANSWER, HINT, HINT, None]),
        ("auto", True, [ANSWER, ANSWER, ANSWER, ANSWER, ANSWER]),
        ("resume", True, [ANSWER, ANSWER, ANSWER, ANSWER, ANSWER]),
        ("ignore", True, [ANSWER, ANSWER, ANSWER, ANSWER, ANSWER]),
    ],
)
def test_a_follow_up_is_handled_as_configured(after, only_ai, replies):
    for seconds, reply in zip((1, 240, 360, 2 * HOUR_S, 2 * DAY_S), replies, strict=True):
        story = after_one_answer(expiry_story(after, only_ai=only_ai))
        wait(story, seconds - 1)
        assert ask(story, "二？") == reply, f"{seconds} s after the answer"
        if reply == ANSWER:
            context = [text for role, text in story.model.messages() if role == "user"]
            resumed = seconds < DAY_S and (seconds < 300 or after in ("resume", "auto"))
            assert context == (["一？", "二？"] if resumed else ["二？"])


@pytest.mark.parametrize("after", ["resume", "hint", "ignore"])
def test_rules_take_precedence_after_expiry(after):
    story = after_one_answer(expiry_story(after, rules=[BACKEND]))
    assert ask(story, "价格") == ANSWER, "a keyword inside a session is a question"
    wait(story, 400)
    assert story.say("价格") == "十元"
    assert story.say("帮助") == "十元"


def test_a_stopped_session_is_not_resumed():
    story = after_one_answer(expiry_story("resume"))
    story.say("/stop")
    wait(story, 400)
    assert story.say("在吗") is None
    story.say("/chatgpt")
    ask(story, "二？")
    assert [text for role, text in story.model.messages() if role == "user"] == ["二？"]


def test_the_resume_period_is_configurable():
    story = after_one_answer(expiry_story("resume", resume_within=600.0))
    wait(story, 290 + 590)
    assert ask(story, "二？") == ANSWER
    wait(story, 300 + 610)
    assert story.say("三？") is None


def test_a_picture_resumes_a_session_but_gets_no_hint():
    story = after_one_answer(expiry_story("resume"))
    wait(story, 400)
    sent = story.deliver(messages.image_message("http://mmbiz.qpic.cn/x"))
    assert "看不了图片" in sent.reply
    story = after_one_answer(expiry_story("hint"))
    wait(story, 400)
    assert story.deliver(messages.image_message("http://mmbiz.qpic.cn/x")).reply is None
    spoken = story.deliver(messages.message("voice", "在吗。"))
    assert words_of(spoken.reply) == HINT


# Activity.


def test_the_ttl_starts_at_the_end_of_the_answer():
    story = expiry_story("ignore", lambda _: answer_at(100, ANSWER))
    story.say("/chatgpt")
    story.send("一？")
    wait(story, 100 + 240)
    sent = story.send("二？")
    story.advance(1)
    assert not sent.done, "the question was ignored"


def test_a_session_does_not_expire_while_its_answer_is_being_written():
    story = expiry_story("ignore", lambda _: answer_at(30, ANSWER), ttl=10.0)
    story.say("/chatgpt")
    story.send("一？")
    wait(story, 35)
    assert story.service.summary().startswith("open sessions: 1,")
    wait(story, 10)
    assert story.service.summary().startswith("open sessions: 0,")


def test_continuing_an_answer_extends_the_session():
    text = "".join(f"第 {n:04} 句话在这里说完了。" for n in range(300))
    story = expiry_story("ignore", lambda _: answer_at(0.1, text))
    story.say("/chatgpt")
    ask(story)
    for _ in range(2):
        wait(story, 250)
        story.say("继续")
    wait(story, 250)
    assert ask(story, "二？") is not None


def test_opening_a_link_does_not_extend_the_session_but_its_own_reader_does():
    story = expiry_story("ignore", lambda _: answer_at(16, ANSWER))
    story.say("/chatgpt")
    sent = story.send("一？")
    wait(story, 17)
    path, secret = re.search(r"https://chat.example.com(\S+)#(\S+)", sent.reply).groups()
    wait(story, 200)
    assert story.post_json(f"{path}/claim", {"secret": secret}).code == 200
    wait(story, 200)
    assert story.get(path).code == 200
    assert story.service.summary().startswith("open sessions: 1,")
    wait(story, 110)
    assert story.service.summary().startswith("open sessions: 0,")


# The hint.


def held_story(after: str = "hint", **session) -> Story:
    story = after_one_answer(expiry_story(after, **session))
    wait(story, 400)
    assert ask(story, "还记得吗？") == HINT
    return story


@pytest.mark.parametrize("tapped", [True, False])
def test_accepting_the_hint_resumes_the_session_and_releases_the_held_message(tapped):
    story = held_story()
    assert len(story.model.calls) == 1
    sent = story.deliver(messages.text_message("接着聊", tapped=tapped))
    story.advance(1)
    assert sent.reply == ANSWER
    assert [text for role, text in story.model.messages() if role == "user"] == [
        "一？",
        "还记得吗？",
    ]
    second_tap = story.deliver(messages.text_message("接着聊", tapped=True))
    assert "已经在对话中了" in second_tap.reply
    assert len(story.model.calls) == 2


def test_a_held_message_survives_a_crash():
    story = held_story()
    story.restart()
    sent = story.deliver(messages.text_message("接着聊", tapped=True))
    story.advance(1)
    assert sent.reply == ANSWER
    assert story.model.messages()[-1] == ("user", "还记得吗？")


def test_a_held_message_expires_after_ten_minutes_but_the_session_still_resumes():
    story = held_story()
    wait(story, 605)
    assert "已接上" in story.deliver(messages.text_message("接着聊", tapped=True)).reply
    assert len(story.model.calls) == 1
    assert story.short_lived_keys.sealed, "the key is retained longer"
    wait(story, 600)
    assert story.short_lived_keys.sealed == {}
    story.say("/chatgpt")
    story = held_story()
    wait(story, 605)
    story.deliver(messages.text_message("接着聊", tapped=True))
    ask(story, "二？")
    assert [text for role, text in story.model.messages() if role == "user"] == ["一？", "二？"]


def test_a_hint_is_sent_at_most_hourly_and_holds_the_message_it_answers():
    story = held_story()
    assert story.say("别的事") is None
    sent = story.deliver(messages.text_message("接着聊", tapped=True))
    story.advance(1)
    assert story.model.messages()[-1] == ("user", "还记得吗？")
    assert sent.reply == ANSWER
    wait(story, HOUR_S)
    assert ask(story, "还在吗") == HINT


def test_no_event_contains_the_held_text():
    story = held_story()
    assert "还记得吗" not in str(story.store.events())


def test_a_held_message_is_erased_with_its_user():
    story = held_story()
    story.deliver(messages.event_message("unsubscribe"))
    story.deliver(messages.event_message("subscribe"))
    reply = story.deliver(messages.text_message("接着聊", tapped=True)).reply
    assert "没有进行中的对话" in reply
    assert len(story.model.calls) == 1


def test_a_held_message_is_moderated_when_it_is_released(tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("违禁词")
    story = Story(
        lambda _: answer_at(0.1, ANSWER),
        configuration(moderation=cfg.Moderation(words_file=words)),
    )
    after_one_answer(story)
    wait(story, 400)
    assert ask(story, "违禁词是什么") == HINT
    reply = story.deliver(messages.text_message("接着聊", tapped=True)).reply
    assert "无法处理的内容" in reply
    assert len(story.model.calls) == 1


def test_a_message_that_is_too_long_is_not_held():
    story = after_one_answer(expiry_story("hint"))
    wait(story, 400)
    assert ask(story, "长" * 6_000) == HINT
    assert "已接上" in story.deliver(messages.text_message("接着聊", tapped=True)).reply


def test_help_works_after_expiry_without_calling_the_model():
    story = after_one_answer(expiry_story("hint"))
    wait(story, 400)
    assert "/chatgpt" in story.say("帮助")
    assert words_of(story.say("/histroy")) == "没有这个命令，你要发的是 /history 吗？"
    assert len(story.model.calls) == 1


def test_a_held_message_can_be_released_after_another_session_opens():
    story = held_story()
    story.send("/chatgpt 别的？")
    story.advance(1)
    sent = story.deliver(messages.text_message("接着聊", tapped=True))
    story.advance(1)
    assert sent.reply == ANSWER
    assert story.model.messages()[-1] == ("user", "还记得吗？")


def test_a_held_message_outlasts_the_resume_period():
    story = after_one_answer(expiry_story("hint", resume_within=600.0))
    wait(story, 300 + 590)
    assert ask(story, "还记得吗？") == HINT
    wait(story, 60)
    sent = story.deliver(messages.text_message("接着聊", tapped=True))
    story.advance(1)
    assert sent.reply == ANSWER


def test_a_resumed_conversation_allows_another_hint_within_the_hour():
    story = held_story()
    story.deliver(messages.text_message("接着聊", tapped=True))
    story.advance(1)
    wait(story, 400)
    assert ask(story, "还在吗") == HINT


def test_a_user_without_permission_gets_no_hint():
    story = after_one_answer(expiry_story("hint"))
    wait(story, 400)
    policy = cfg.Limits(only_allowed=True)
    story.config = configuration(limits=policy)
    story.restart()
    assert story.say("在吗") is None


def test_an_export_with_a_held_message_can_be_imported():
    from wxgpt.log import exchange

    story = held_story()
    exported = list(exchange.lines(story.store.scan()))
    assert b"sealed" not in b"".join(exported)
    assert [type(record.event).__name__ for record in exchange.read(exported)].count(
        "MessageHeld"
    ) == 1
