"""A conversation as WeChat and its user see it."""

from __future__ import annotations

import pytest

from tests.support.builders import filled, words_of
from tests.support.model_server import Script, Step, answer_at, chunk, error, streamed
from tests.support.story import Story, configuration, safe_account
from wxgpt.wechat import messages
from wxgptd import config as cfg
from wxgptd.domain.replies import taps
from wxgptd.domain.replies.texts import Texts

ANSWER = "天空是蓝色的，因为空气把蓝光散射得更多。"
TEXTS = Texts()


def kinds(story: Story) -> list[str]:
    return [type(event).__name__ for event in story.store.events()]


def test_messages_outside_a_session_are_ignored():
    story = Story(answer_at(1, ANSWER))
    for fields in (
        messages.text_message("你好"),
        messages.image_message("http://mmbiz.qpic.cn/x"),
        messages.event_message("VIEW", "http://x"),
        messages.event_message("something_new"),
    ):
        sent = story.deliver(fields)
        assert sent.reply is None
        assert sent.results == ["success"]
    assert story.model.calls == []
    assert story.store.events() == []


def test_the_prompt_contains_the_whole_session_and_nothing_else():
    config = configuration(
        assistant={
            "chatgpt": cfg.Assistant(
                base_url="http://model.test/v1", model="m", system_prompt="你是助手"
            )
        }
    )
    story = Story(lambda messages: answer_at(0.1, f"答：{messages[-1]['content']}"), config)
    story.open()
    for question in ("一？", "二？"):
        story.send(question)
        story.advance(1)
    assert story.model.messages() == [
        ("system", "你是助手"),
        ("user", "一？"),
        ("assistant", "答：一？"),
        ("user", "二？"),
    ]
    story.say("/clear")
    story.send("三？")
    story.advance(1)
    assert story.model.messages() == [("system", "你是助手"), ("user", "三？")]


def test_a_session_expires_and_each_message_extends_it():
    story = Story(answer_at(0.1, ANSWER))
    story.open()
    for _ in range(3):
        story.advance(200)
        sent = story.send("一？")
        story.advance(0.5)
        assert sent.reply == ANSWER
    story.advance(301)
    assert kinds(story)[-1] == "SessionClosed"
    assert "没有发给 AI" in story.say("还在吗？")
    assert len(story.model.calls) == 3


def test_a_question_opens_a_session_if_no_command_is_needed():
    account = cfg.Account(token=cfg.Secret("storytoken"), open_without_command=True)
    story = Story(answer_at(0.1, ANSWER), configuration(account={"main": account}))
    sent = story.send("为什么？")
    story.advance(1)
    assert sent.reply == ANSWER
    assert story.say("/stop").startswith("对话已结束")


def test_accounts_do_not_share_users():
    config = configuration(
        account={
            "main": cfg.Account(token=cfg.Secret("one1")),
            "other": cfg.Account(token=cfg.Secret("two2")),
        }
    )
    story = Story(answer_at(0.1, ANSWER), config)
    story.open("alice", account="main")
    assert story.say("在吗？", "alice", account="other") is None
    sent = story.send("在吗？", "alice", account="main")
    story.advance(1)
    assert sent.reply == ANSWER


def test_safe_mode_works_end_to_end():
    story = Story(answer_at(6, ANSWER), configuration(account={"main": safe_account()}))
    story.open()
    sent = story.send("为什么？")
    story.advance(7)
    assert sent.reply == ANSWER
    assert sent.results == ["timeout", "reply"]


def test_a_retried_subscription_gets_the_same_welcome_and_records_one_event():
    account = cfg.Account(token=cfg.Secret("storytoken"), welcome="欢迎！")
    story = Story(answer_at(1, ANSWER), configuration(account={"main": account}))
    url, body = story.wechat().request("alice", messages.event_message("subscribe"))
    assert story.attempt(url, body).reply == "欢迎！"
    assert story.attempt(url, body, number=2).reply == "欢迎！"
    assert kinds(story).count("UserSubscribed") == 1


# One question at a time.


def test_a_second_question_waits_its_turn_within_its_own_window():
    story = Story(lambda m: answer_at(3, f"答：{m[-1]['content']}"))
    story.open()
    first, second = story.send("一？"), story.send("二？")
    story.advance(2)
    assert len(story.model.calls) == 1
    story.advance(5)
    assert first.reply == "答：一？"
    assert second.reply == "答：二？"
    assert story.model.messages()[-3:] == [
        ("user", "一？"),
        ("assistant", "答：一？"),
        ("user", "二？"),
    ]


def test_a_question_beyond_the_queue_limit_is_rejected_at_once():
    story = Story(answer_at(30, ANSWER))
    story.open()
    for text in ("一？", "二？", "三？"):
        story.send(text)
    assert words_of(story.say("四？")) == taps.without_taps(TEXTS.too_many_waiting)
    assert len(story.model.calls) == 1


def test_two_hundred_users_do_not_wait_for_each_other():
    enough = configuration(window=cfg.Window(deliberate_timeouts_per_5min=1_000))
    story = Story(lambda m: answer_at(6, f"答：{m[-1]['content']}"), enough)
    users = [f"user-{n}" for n in range(200)]
    sent = {}
    for user in users:
        story.send("/chatgpt", user, advance=False)
    story.advance(0.2)
    for user in users:
        sent[user] = story.send(f"{user}？", user, advance=False)
    story.advance(7)
    assert [sent[user].reply for user in users] == [f"答：{user}？" for user in users]
    assert all(sent[user].results == ["timeout", "reply"] for user in users)
    assert len(story.model.calls) == 200


def test_stop_cancels_the_running_answer_and_waiting_questions():
    story = Story(streamed(10, ["天空", "是蓝色的。", "因为……"], first_s=1))
    story.open()
    first, second = story.send("一？"), story.send("二？")
    story.advance(1.2)
    assert story.say("/stop").startswith("已停止回答这个问题，对话也结束了。")
    story.advance(0.1)
    assert first.reply == f"天空\n\n（{TEXTS.failure_stopped}）"
    assert second.reply == TEXTS.failure_stopped
    assert len(story.model.calls) == 1
    assert story.model.hung_up == 1


def test_clear_stops_the_model():
    story = Story(answer_at(30, ANSWER))
    story.open()
    sent = story.send("一？")
    story.advance(1)
    story.say("/clear")
    story.advance(1)
    assert sent.reply == TEXTS.failure_stopped
    assert story.model.hung_up == 1


# 继续


def test_continue_pages_through_a_long_answer_without_losing_a_character():
    text = "".join(f"第{n}句话说的是第{n}件事。" for n in range(300))
    story = Story(answer_at(0.1, text))
    story.open()
    sent = story.send("说长一点")
    story.advance(1)
    pages = [sent.reply]
    while "看下一段" in pages[-1]:
        pages.append(story.say("继续"))
    assert len(pages) >= 3
    assert all(len(page.encode()) <= 2_048 for page in pages)
    assert "".join(page.split("\n\n──")[0] for page in pages) == text


def test_continue_waits_within_its_own_window_for_an_unfinished_answer():
    story = Story(streamed(22, [f"第{n}句。" for n in range(22)], first_s=1))
    story.open()
    sent = story.send("一？")
    story.advance(15)
    beginning = sent.reply.split("\n\n──")[0]
    rest = story.send("继续")
    story.advance(9)
    assert beginning + rest.reply == "".join(f"第{n}句。" for n in range(22))
    assert len(story.model.calls) == 1


def test_continue_reports_a_failure_after_the_window():
    story = Story(Script([Step(16, chunk(finish="content_filter"), end=True)]))
    story.open()
    story.send("一？")
    story.advance(18)
    assert story.say("继续") == TEXTS.failure_refused
    assert len(story.model.calls) == 1


def test_continue_asks_for_the_rest_of_an_interrupted_answer():
    interrupted = Script([Step(0.1, chunk("写了一半")), Step(0.2, hang_up=True)])
    story = Story(lambda m: interrupted if len(m) == 1 else answer_at(0.1, "，这是另一半。"))
    story.open()
    sent = story.send("一？")
    story.advance(1)
    assert sent.reply == f"写了一半\n\n{filled(TEXTS.interrupted)}"
    rest = story.send("继续")
    story.advance(1)
    assert rest.reply == "，这是另一半。"
    assert story.model.messages() == [("user", "一？"), ("assistant", "写了一半"), ("user", "继续")]


# Failures.


@pytest.mark.parametrize(
    ("script", "text"),
    [
        (error(401, "bad key sk-secret"), filled(TEXTS.failure_misconfigured)),
        (error(402, "no money"), filled(TEXTS.failure_quota)),
        (error(429, "later", retry_after="60"), filled(TEXTS.failure_busy, seconds=60)),
        (error(400, "context_length_exceeded"), filled(TEXTS.failure_too_long)),
        (error(400, "content_filter"), filled(TEXTS.failure_refused)),
        (error(400, "what?"), filled(TEXTS.failure_unavailable)),
        (error(500, "oops"), filled(TEXTS.failure_unavailable)),
        (Script([Step(0.1, b"data: {", end=True)]), filled(TEXTS.failure_unavailable)),
    ],
)
def test_each_failure_is_explained_within_the_window(script, text):
    story = Story(script)
    story.open()
    sent = story.send("一？")
    story.advance(15)
    assert sent.reply == text
    assert "sk-secret" not in str(story.store.events())


def test_a_failed_question_is_left_out_of_the_context():
    story = Story(
        lambda m: error(400, "no") if m[-1]["content"] == "一？" else answer_at(0.1, "好")
    )
    story.open()
    story.send("一？")
    story.advance(1)
    story.send("二？")
    story.advance(1)
    assert story.model.messages() == [("user", "二？")]


# Order.


def test_nothing_is_sent_before_it_is_durable():
    story = Story(answer_at(1, ANSWER))
    story.store.stalled = True
    opening = story.send("/chatgpt")
    story.advance(1)
    assert not opening.done, "a reply went out before its events were durable"
    story.store.commit()
    story.advance(0.1)
    assert opening.done
    sent = story.send("一？")
    story.advance(1)
    assert story.model.calls == [], "the model was called before the question was durable"
    story.store.commit()
    story.advance(2)
    assert len(story.model.calls) == 1
    assert not sent.done, "an answer went out before it was durable"
    story.store.commit()
    story.advance(0.1)
    assert sent.reply == ANSWER


def test_nothing_is_sent_when_the_log_fails():
    story = Story(answer_at(1, ANSWER))
    story.open()
    story.store.stalled = True
    sent = story.send("一？", attempts=1)
    from wxgptd.eventlog.unavailable import StoreUnavailable

    story.store.fail(StoreUnavailable())
    story.advance(1)
    assert story.model.calls == []
    story.advance(8)
    assert sent.delivery.fault


def test_replaying_the_log_calls_no_model_and_restores_the_live_state():
    story = Story(lambda m: answer_at(2, f"答：{m[-1]['content']}"))
    for user in ("alice", "bob"):
        story.open(user)
        story.send("一？", user)
        story.send("二？", user)
        story.advance(6)
        story.say("/history", user)
    live = dict(story.service.state.journal.loaded())
    calls = len(story.model.calls)
    story.restart()
    story.advance(3)
    assert {user: story.service.state.journal.state(user) for user in live} == live
    assert len(story.model.calls) == calls


def test_an_attempt_during_replay_is_timed_from_its_arrival():
    """An attempt that timed out before the log was loaded still counts as the first."""
    story = Story(answer_at(40, ANSWER))
    story.open()
    story.crash()
    story.prepare()
    sent = story.send("为什么？")
    story.advance(6)
    story.begin()
    story.advance(10)
    assert sent.results == ["timeout", "timeout", "reply"]
    assert "/a/" in sent.reply
    assert len(story.model.calls) == 1


def test_a_queued_question_is_not_retried_past_its_own_window():
    scripts = [answer_at(11.7, "一。"), error(503, "down"), error(503, "down")]
    story = Story(lambda _: scripts.pop(0))
    story.open()
    story.send("一？")
    second = story.send("二？")
    story.advance(13)
    assert second.reply == filled(TEXTS.failure_unavailable)
    assert len(story.model.calls) == 2


# The deliberate timeout budget.


def budgeted(timeouts: int) -> Story:
    window = cfg.Window(deliberate_timeouts_per_5min=timeouts)
    return Story(answer_at(30, ANSWER), configuration(window=window))


def test_the_first_attempt_gets_a_link_once_the_budget_is_spent():
    story = budgeted(2)
    story.open()
    spent = story.send("一？")
    story.advance(15)
    assert spent.results == ["timeout", "timeout", "reply"]
    story.open("bob")
    sent = story.send("二？", "bob")
    story.advance(4.5)
    assert not sent.done
    story.advance(0.3)
    assert sent.results == ["reply"]
    assert "/a/" in sent.reply


def test_the_budget_recovers_over_time():
    story = budgeted(2)
    story.open()
    story.send("一？")
    story.advance(15 + 301)
    story.open("bob")
    sent = story.send("二？", "bob")
    story.advance(15)
    assert sent.results == ["timeout", "timeout", "reply"]


def test_the_budget_survives_a_restart():
    story = budgeted(2)
    story.open()
    story.send("一？")
    story.advance(16)
    story.restart()
    story.open("bob")
    sent = story.send("二？", "bob")
    story.advance(5)
    assert sent.results == ["reply"]


# Shutdown.


def test_an_attempt_after_shutdown_is_left_for_the_next_process():
    story = Story(answer_at(30, ANSWER))
    story.open()
    sent = story.send("一？")
    story.advance(1)
    story.service.end()
    late = story.send("二？", "bob", attempts=1)
    story.advance(5)
    assert late.results == ["closed"]
    assert kinds(story)[-1] == "QuestionAsked", "the question is asked again by the next process"
    story.model.respond = lambda _: answer_at(2, ANSWER)
    story.start()
    story.advance(6)
    assert sent.reply == ANSWER


def test_a_question_to_a_removed_assistant_fails_with_an_explanation():
    story = Story(answer_at(30, ANSWER))
    story.open()
    sent = story.send("一？")
    story.advance(1)
    story.config = configuration(
        assistant={"claude": cfg.Assistant(base_url="http://model.test/v1", model="m")}
    )
    story.restart()
    story.advance(10)
    assert sent.reply == TEXTS.failure_misconfigured
