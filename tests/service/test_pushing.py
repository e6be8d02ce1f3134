"""Late answers are pushed as customer-service messages if the account may send them."""

from __future__ import annotations

import pytest

from tests.support.builders import words_of
from tests.support.model_server import Script, Step, answer_at, chunk, error, streamed
from tests.support.story import APP_ID, Story, configuration
from tests.support.wechat_api import WeChatApi
from wxgpt.wechat import messages
from wxgptd import config as cfg
from wxgptd.service.answers import typing_indicator

SECRET = "canarysecret"
LATE = "因为空气把蓝光散射得更多。"


def pushing_story(respond, **more) -> Story:
    account = cfg.Account(
        token=cfg.Secret("storytoken"), app_id=APP_ID, app_secret=cfg.Secret(SECRET), **more
    )
    story = Story(respond, configuration(account={"main": account}))
    story.api = WeChatApi(APP_ID, SECRET, story.world_clock.seconds)
    story.outside.hosts["api.weixin.qq.com"] = story.api
    return story


def late_story(text: str = LATE, **more) -> Story:
    """Return a story in which a question got a link and its answer comes at 20 s."""
    story = pushing_story(answer_at(20, text), **more)
    story.open()
    sent = story.send("为什么？")
    story.advance(15)
    assert "也可以在这里看" in sent.reply
    story.link = sent.reply.split("https://chat.example.com")[1].strip()
    return story


def kinds(story: Story) -> list[str]:
    return [type(event).__name__ for event in story.store.events()]


def test_a_late_answer_is_pushed():
    story = late_story()
    story.advance(10)
    assert story.api.sent == [("alice", LATE)]
    assert kinds(story)[-2:] == ["PushStarted", "PushDelivered"]


def test_a_pushed_answer_is_not_offered_again():
    story = late_story()
    story.advance(10)
    story.model.respond = lambda _: answer_at(0.1, "好的。")
    sent = story.send("继续")
    story.advance(1)
    assert sent.reply == "好的。"  # an ordinary question: nothing was left to offer


def test_only_the_unsent_part_is_pushed():
    story = pushing_story(streamed(25, ["第一句。", "第二句。", "第三句。"], first_s=1))
    story.open()
    sent = story.send("为什么？")
    story.advance(15)
    assert sent.reply.startswith("第一句。第二句。")
    story.advance(15)
    assert story.api.sent == [("alice", "第三句。")]


def test_a_long_answer_uses_as_many_messages_as_wechat_allows():
    text = "".join(f"第 {n:04} 句话在这里说完了。" for n in range(500))
    story = late_story(text)
    story.advance(10)
    messages = [content for _, content in story.api.sent]
    assert len(messages) == 5
    assert all(len(content.encode()) <= 2048 for content in messages)
    assert "看下一段" in messages[-1]
    assert not any("看下一段" in content for content in messages[:-1])
    shown = "".join(messages[:-1]) + messages[-1].split("\n\n──")[0]
    assert text.startswith(shown)
    next_part = story.say("继续")
    assert text[len(shown) :].startswith(next_part.split("\n\n──")[0])


def test_a_user_message_resets_the_push_quota():
    story = late_story("".join(f"第 {n:04} 句话在这里说完了。" for n in range(500)))
    story.advance(10)
    story.say("/clear")
    story.model.respond = lambda _: answer_at(20, LATE)
    story.send("再问？")
    story.advance(30)
    assert len(story.api.sent) == 6


def test_an_on_time_answer_is_not_pushed():
    story = pushing_story(answer_at(8, LATE))
    story.open()
    sent = story.send("为什么？")
    story.advance(10)
    assert sent.reply == LATE
    assert story.api.sent == []


def test_an_answer_that_an_attempt_is_waiting_for_is_not_pushed():
    story = late_story()
    continuation = story.send("继续")
    story.advance(10)
    assert continuation.reply == LATE
    assert story.api.sent == []


def test_an_answer_whose_page_was_opened_is_not_pushed():
    story = late_story()
    assert story.get(story.link).code == 200
    story.advance(10)
    assert story.api.sent == []


def test_a_failure_after_the_window_is_pushed():
    story = pushing_story(Script([Step(20, chunk("写到")), Step(21, hang_up=True)]))
    story.open()
    story.send("为什么？")
    story.advance(30)
    ((_, message),) = story.api.sent
    assert message.startswith("写到")
    assert "回答中断" in message
    story = pushing_story(error(500, "{}", at_s=16))
    story.open()
    story.send("为什么？")
    story.advance(40)
    assert [words_of(message) for _, message in story.api.sent] == [
        "抱歉，AI 服务暂时出了问题，请稍后重试。"
    ]


def test_push_can_be_disabled():
    story = late_story(push="never")
    story.advance(10)
    assert story.api.calls == {}


def test_the_token_is_fetched_once_and_refreshed_before_it_expires():
    story = pushing_story(answer_at(16, LATE))
    for user in ("alice", "bob", "carol"):
        story.open(user)
        story.send("为什么？", user)
    story.advance(20)
    assert len(story.api.sent) == 3
    assert story.api.calls["/cgi-bin/stable_token"] == 1
    story.advance(6_800)
    story.open()
    story.send("为什么？")
    story.advance(20)
    assert story.api.calls["/cgi-bin/stable_token"] == 1
    story.advance(200)
    story.open()
    story.send("为什么？")
    story.advance(20)
    assert story.api.calls["/cgi-bin/stable_token"] == 2
    assert len(story.api.sent) == 5
    assert story.api.calls["forced"] == 0


@pytest.mark.parametrize("code", [40001, 42001])
def test_an_expired_token_is_replaced_and_the_message_sent_once(code):
    story = late_story()
    story.advance(10)
    if code == 40001:
        story.api.revoke()
    else:
        story.api.errors = [42001]
    story.send("再问？")
    story.advance(30)
    assert len(story.api.sent) == 2
    assert story.api.calls["/cgi-bin/message/custom/send"] >= 3


def test_a_bad_token_that_wechat_returns_again_is_force_refreshed():
    story = late_story()
    story.api.errors = [40001]
    story.advance(10)
    assert len(story.api.sent) == 1
    assert story.api.calls["forced"] == 1


def test_a_busy_wechat_api_is_retried_once():
    story = late_story()
    story.api.errors = [-1]
    story.advance(10)
    assert len(story.api.sent) == 1


@pytest.mark.parametrize("code", [45015, 45047, 45002, 40003, -1])
def test_a_failed_push_is_recorded_and_offered_in_the_chat(code):
    story = late_story()
    story.api.errors = [code, code]
    story.advance(10)
    assert story.api.sent == []
    assert kinds(story)[-1] == "PushFailed"
    assert story.store.events()[-1].code == code
    assert story.say("继续") == LATE


def test_an_account_without_push_permission_is_tried_once(logged):
    story = late_story()
    story.api.errors = [48001] * 9
    story.advance(10)
    story.send("再问？")
    story.advance(40)
    assert story.api.calls["/cgi-bin/message/custom/send"] == 1
    assert kinds(story).count("PushStarted") == 1
    lines = [line for line in logged() if "48001" in line]
    assert len(lines) == 1
    assert story.say("继续") is not None


def test_an_error_the_operator_must_fix_is_logged_with_a_hint_and_pauses_pushing(logged):
    story = pushing_story(answer_at(16, LATE))
    story.api.token_errors = [40164] * 9
    for _ in range(2):
        story.open()
        story.send("为什么？")
        story.advance(60)
        story.say("/stop")
    assert story.api.calls == {"/cgi-bin/stable_token": 1}
    assert any("IP白名单" in line for line in logged())
    story.api.token_errors = []
    story.advance(600)
    story.open()
    story.send("为什么？")
    story.advance(30)
    assert len(story.api.sent) == 1


def test_neither_the_secret_nor_the_token_is_logged(logged):
    story = late_story()
    story.api.errors = [40001, 45015]
    story.advance(10)
    story.outside.hosts.pop("api.weixin.qq.com")
    story.send("再问？")
    story.advance(40)
    log = "\n".join(logged())
    assert "main" in log
    assert SECRET not in log
    assert "token-" not in log


def test_a_push_of_unknown_outcome_is_not_repeated_after_a_crash():
    story = late_story()
    story.api.hold()
    story.advance(6)
    assert kinds(story)[-1] == "PushStarted"
    story.crash()
    story.api.release()  # WeChat accepted it after all
    story.start()
    story.advance(30)
    assert kinds(story)[-1] == "PushFailed"
    assert len(story.api.sent) <= 1
    assert story.say("继续") == LATE


def test_an_answer_completed_after_a_crash_is_pushed():
    story = late_story()
    story.crash()
    story.start()
    story.advance(30)
    assert story.api.sent == [("alice", LATE)]


def test_continue_waits_for_a_push_in_progress():
    story = late_story()
    story.api.hold()
    story.advance(6)
    continuation = story.send("继续")
    story.advance(1)
    assert not continuation.done
    story.api.release()
    story.advance(1)
    assert continuation.reply == "以上就是完整的回答。"
    assert story.api.sent == [("alice", LATE)]


def test_continue_during_a_failed_push_loses_nothing():
    text = "".join(f"第 {n:04} 句话在这里说完了。" for n in range(150))
    story = late_story(text)
    story.api.hold()
    story.advance(6)
    continuation = story.send("继续")
    story.advance(1)
    story.api.errors = [45047]
    story.api.release()
    story.advance(1)
    read = continuation.reply.split("\n\n──")[0]
    while len(read) < len(text):
        read += story.say("继续").split("\n\n──")[0]
    assert read == text
    assert story.api.sent == []


def test_an_answer_that_wechat_never_fetches_is_pushed():
    story = pushing_story(answer_at(7, LATE))
    story.open()
    story.send("为什么？", attempts=1)
    story.advance(20)
    assert story.api.sent == []
    story.advance(12)
    assert story.api.sent == [("alice", LATE)]


def test_the_rest_of_a_long_on_time_answer_is_not_pushed():
    story = pushing_story(
        answer_at(3, "".join(f"第 {n:04} 句话在这里说完了。" for n in range(500)))
    )
    story.open()
    sent = story.send("为什么？")
    story.advance(60)
    assert "看下一段" in sent.reply
    assert story.api.sent == []


def test_nothing_is_pushed_after_a_block_or_stop():
    from wxgptd.domain.decide import commands as c
    from wxgptd.domain.model import events as e
    from wxgptd.domain.model.values import Standing, User

    story = late_story()
    blocked = c.RecordFact(e.StandingChanged(at=story.wall(), standing=Standing.BLOCKED, until=0.0))
    story.service.state.journal.record(User("main", "alice"), blocked)
    story.advance(10)
    assert story.api.sent == []
    story = late_story()
    story.send("二？", attempts=1)
    story.say("/stop")
    story.advance(40)
    assert story.api.sent == []


def test_no_reply_suggests_asking_for_an_answer_that_will_be_pushed():
    story = pushing_story(streamed(25, ["第一句。", "第二句。", "第三句。"], first_s=1))
    story.open()
    sent = story.send("为什么？")
    story.advance(15)
    assert "自动发来" in sent.reply
    assert "继续" not in sent.reply
    story = late_story()
    story.advance(10)
    assert "回答已经写好" not in story.say("/help")


def test_repeated_token_errors_pause_pushing(logged):
    story = pushing_story(answer_at(16, LATE))
    story.api.errors = [40001] * 99
    for user in ("alice", "bob", "carol"):
        story.open(user)
        story.send("为什么？", user)
        story.advance(30)
    assert story.api.calls["/cgi-bin/message/custom/send"] == 2
    assert story.api.calls["forced"] == 1
    assert any("paused for 10 min" in line for line in logged())


@pytest.mark.parametrize("exit_message", ["/clear", "unsubscribe"])
def test_unsubscribing_or_clearing_cancels_a_push_in_progress(exit_message, monkeypatch):
    # Otherwise a token would already be cached.
    monkeypatch.setattr(typing_indicator, "PAUSES_S", ())
    story = late_story("".join(f"第 {n:04} 句话在这里说完了。" for n in range(500)))
    story.api.hold()
    story.advance(6)
    if exit_message == "unsubscribe":
        story.deliver(messages.event_message("unsubscribe"))
    else:
        story.say(exit_message)
    story.api.release()  # the token request that the push is waiting for
    story.advance(5)
    assert story.api.sent == []


def test_an_answer_completed_just_before_a_crash_is_pushed_once():
    story = late_story(push="auto")
    # The crash comes before the push starts.
    story.service.answers.answer_runner._pushing._messengers = {}
    story.advance(10)
    story.crash()
    story.start()
    story.advance(1)
    assert story.api.sent == [("alice", LATE)]
    story.crash()
    story.start()
    story.advance(1)
    assert len(story.api.sent) == 1


def test_a_late_attempt_does_not_repeat_a_pushed_answer():
    story = pushing_story(answer_at(22, LATE))
    story.open()
    url, body = story.wechat().request("alice", messages.text_message("为什么？"))
    story.attempt(url, body)
    story.advance(44)
    assert story.api.sent == [("alice", LATE)]
    retry = story.attempt(url, body, number=2)
    story.advance(1)
    assert retry.reply == "以上就是完整的回答。"


@pytest.mark.parametrize("code", [10**30, None, True, "45015"])
def test_an_unexpected_errcode_is_a_failed_push(code):
    story = late_story()
    story.api.errors = [code or 0]
    if code is None:
        story.api._send = lambda *_: {"errcode": None}
    story.advance(10)
    assert kinds(story)[-1] == "PushFailed"
    assert story.say("继续") == LATE


def test_nothing_is_pushed_two_days_after_the_last_message():
    from tests.support.builders import asked, complete, offer
    from wxgptd.domain.decide import commands as c
    from wxgptd.domain.model.push_quota import WITHIN_S as PUSH_WITHIN_S
    from wxgptd.domain.model.values import DeliveryKey, Policy

    def push(at: float) -> c.StartPush:
        return c.StartPush(at=at, question=DeliveryKey("q1"), room=1_900, policy=Policy())

    history = asked("q1")
    history.do(offer("q1", at=14.6))
    history.do(complete("q1", LATE, at=20.0))
    assert history.do(push(PUSH_WITHIN_S + 1)) == ()
    assert len(history.do(push(PUSH_WITHIN_S - 1))) == 1


def test_a_push_at_startup_records_its_outcome():
    story = Story(answer_at(20, LATE), configuration())
    story.open()
    story.send("为什么？")
    story.advance(25)
    assert kinds(story)[-1] == "AnswerCompleted"
    account = cfg.Account(
        token=cfg.Secret("storytoken"), app_id=APP_ID, app_secret=cfg.Secret(SECRET)
    )
    story.config.account["main"] = account
    story.api = WeChatApi(APP_ID, SECRET, story.world_clock.seconds)
    story.outside.hosts["api.weixin.qq.com"] = story.api
    story.store.stalled = True  # the disk is slow
    story.restart()
    story.store.stalled = False
    story.store.commit()
    story.advance(5)
    assert story.api.sent == [("alice", LATE)]
    assert kinds(story)[-2:] == ["PushStarted", "PushDelivered"]
