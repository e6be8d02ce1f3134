"""Several models: fallbacks, context windows, costs and parameters."""

from __future__ import annotations

from datetime import datetime

import pytest

from tests.support.builders import words_of
from tests.support.model_server import ModelServer, Script, Step, answer_at, chunk, error, streamed
from tests.support.story import Story, configuration
from wxgptd import config as cfg

ANSWER = "因为空气。"


def assistant(host: str = "model.test", **more) -> cfg.Assistant:
    return cfg.Assistant(
        **{"base_url": f"http://{host}/v1", "model": "m", "api_key": cfg.Secret("sk"), **more}
    )


def story_with_fallback(first, second, **more) -> Story:
    """Return a story whose assistant has a fallback."""
    config = configuration(
        assistant={
            "chatgpt": assistant(fallback=("other",), **more),
            "other": assistant("other.test", model="n", system_prompt="别的"),
        }
    )
    story = Story(first, config)
    script = second
    story.other = ModelServer(story.world_clock, script if callable(script) else lambda _: script)
    story.outside.hosts["other.test"] = story.other
    story.open()
    return story


def ask(story: Story, text: str = "为什么？", seconds: float = 1.0) -> str | None:
    sent = story.send(text)
    story.advance(seconds)
    return sent.reply


def completed_answers(story: Story):
    return [e for e in story.store.events() if type(e).__name__ == "AnswerCompleted"]


# Failover.


@pytest.mark.parametrize(
    "failure",
    [
        error(500, "down"),
        error(401, "no"),
        error(402, "no"),
        error(429, "slow", retry_after="60"),
        error(404, "no such model"),
        Script([Step(0.1, hang_up=True)]),
        Script([Step(0.1, b"<html>", end=True)]),
    ],
    ids=["500", "401", "402", "429", "404", "hang up", "html"],
)
def test_a_fallback_answers_without_the_user_noticing(failure):
    story = story_with_fallback(failure, answer_at(0.1, ANSWER))
    assert ask(story, seconds=5) == ANSWER
    assert completed_answers(story)[0].usage.assistant == "other"
    assert completed_answers(story)[0].model == "m-1"


def test_a_fallback_gets_the_same_question_and_context():
    story = story_with_fallback(
        answer_at(0.1, "一。"), answer_at(0.1, "二。"), system_prompt="你是助手"
    )
    ask(story, "一？")
    story.model.respond = lambda _: error(500, "down")
    assert ask(story, "二？", 5) == "二。"
    assert story.other.messages() == [
        ("system", "你是助手"),
        ("user", "一？"),
        ("assistant", "一。"),
        ("user", "二？"),
    ]


def test_a_fallback_answers_when_the_first_token_is_late():
    story = story_with_fallback(
        streamed(30, ["慢。"], first_s=25), answer_at(0.5, ANSWER), first_token_within=4.0
    )
    assert ask(story, seconds=6) == ANSWER
    assert story.model.hung_up == 1


def test_a_model_that_has_started_answering_may_finish():
    story = story_with_fallback(
        streamed(12, ["因为", "空气。"], first_s=3), answer_at(0.5, "不"), first_token_within=4.0
    )
    assert ask(story, seconds=13) == "因为空气。"
    assert story.other.calls == []


def test_a_fallback_answers_at_once_while_the_circuit_breaker_is_open():
    story = story_with_fallback(error(401, "no"), answer_at(0.1, ANSWER))
    for _ in range(3):
        assert ask(story) == ANSWER
    asked = [story.model.messages(call)[-1][1] for call in range(len(story.model.calls))]
    assert asked == ["为什么？", "1"], "the first question, and the daemon's own probe"


def test_the_content_filter_does_not_trigger_the_fallback():
    story = story_with_fallback(error(400, "content_filter"), answer_at(0.1, ANSWER))
    assert ask(story) == "抱歉，这个问题 AI 回答不了。"
    assert story.other.calls == []


def test_the_log_gives_each_reason_when_all_models_fail(logged):
    story = story_with_fallback(error(500, "first is down"), error(500, "second is down"))
    assert words_of(ask(story, seconds=15)) == "抱歉，AI 服务暂时出了问题，请稍后重试。"
    (failed,) = [e for e in story.store.events() if type(e).__name__ == "AnswerFailed"]
    assert "chatgpt: HTTP 500: first is down" in failed.detail
    assert "other: HTTP 500: second is down" in failed.detail


def test_a_partial_answer_is_kept_when_the_fallback_fails():
    story = story_with_fallback(
        Script([Step(1.0, chunk("写到这里。")), Step(2.0, hang_up=True)]), error(503, "down")
    )
    reply = ask(story, seconds=12)
    assert reply.startswith("写到这里。")
    assert "回答中断" in reply


def test_a_slow_model_is_called_again_when_its_fallback_fails():
    story = story_with_fallback(
        streamed(8, ["慢。"], first_s=7), error(503, "down"), first_token_within=2.0
    )
    assert ask(story, seconds=14.9) == "慢。"


def test_a_fallback_has_its_own_budget_and_replaces_an_assistant_over_budget():
    story = story_with_fallback(error(500, "down"), answer_at(0.1, ANSWER))
    story.config.assistant["other"] = assistant(
        "other.test", daily_budget=7.0, price_per_million=cfg.Price(input=1e6, output=0)
    )
    story.crash()
    story.start()
    assert ask(story, seconds=5) == ANSWER
    assert words_of(ask(story, seconds=5)) == "抱歉，AI 服务暂时出了问题，请稍后重试。"
    assert len(story.other.calls) == 1
    story = story_with_fallback(
        answer_at(0.1, "一。"),
        answer_at(0.1, "二。"),
        daily_budget=7.0,
        price_per_million=cfg.Price(input=1e6, output=0),
    )
    assert ask(story) == "一。"
    assert ask(story) == "二。"


def test_an_interrupted_answer_is_charged_for_its_usage():
    config = configuration(
        assistant={
            "chatgpt": assistant(
                price_per_million=cfg.Price(input=1e6, output=1e6), daily_budget=30.0
            )
        }
    )
    story = Story(Script([Step(1.0, chunk("写到这里。")), Step(13.0, hang_up=True)]), config)
    story.open()
    sent = story.send("为什么？")
    story.advance(16)
    assert sent.done
    (failure,) = [e for e in story.store.events() if type(e).__name__ == "AnswerFailed"]
    assert failure.usage.cost > 10
    assert failure.usage.assistant == "chatgpt"


def test_a_fallback_without_vision_is_not_called_for_a_picture():
    from tests.support.outside import Recorder
    from wxgpt.wechat import messages

    story = story_with_fallback(error(500, "down"), answer_at(0.1, "瞎猜。"), vision=True)
    story.outside.hosts["mmbiz.qpic.cn"] = Recorder(lambda *_: b"\xff\xd8\xff1")
    sent = story.deliver(messages.image_message("http://mmbiz.qpic.cn/1"))
    story.advance(14)
    assert words_of(sent.reply) == "抱歉，AI 服务暂时出了问题，请稍后重试。"
    assert story.other.calls == []


def test_each_model_gets_a_share_of_the_time():
    story = story_with_fallback(Script([]), answer_at(4, ANSWER), first_token_within=6.0)
    assert ask(story, seconds=14) == ANSWER


def test_an_answer_interrupted_before_it_is_shown_is_restarted():
    scripts = [Script([Step(1.0, chunk("写到")), Step(2.0, hang_up=True)]), answer_at(0.5, ANSWER)]
    story = Story(lambda _: scripts.pop(0))
    story.open()
    assert ask(story, seconds=4) == ANSWER
    assert completed_answers(story)[0].text == ANSWER


def test_an_answer_interrupted_after_it_is_shown_is_kept():
    scripts = [
        Script([Step(1.0, chunk("写到这里。")), Step(16.0, hang_up=True)]),
        answer_at(0.5, ANSWER),
    ]
    story = Story(lambda _: scripts.pop(0))
    story.open()
    assert ask(story, seconds=15).startswith("写到这里。")
    story.advance(5)
    assert len(story.model.calls) == 1
    assert words_of(story.say("继续")) == "回答中断了。发送“继续”接着写，或者重试。"
    assert ask(story, "继续") == ANSWER
    assert ("assistant", "写到这里。") in story.model.messages()


@pytest.mark.parametrize("others", [0, 1])
def test_a_restart_that_is_overtaken_by_the_reply_is_abandoned(others):
    first = Script([Step(1.0, chunk("写到这里。")), Step(10.0, hang_up=True)])
    again = answer_at(9, "换一种说法，从头开始。")
    if others:
        story = story_with_fallback(first, again)
    else:
        scripts = [first, again]
        story = Story(lambda _: scripts.pop(0))
    story.open()
    assert ask(story, seconds=15).startswith("写到这里。")
    story.advance(10)
    assert words_of(story.say("继续")) == "回答中断了。发送“继续”接着写，或者重试。"
    [failed] = [e for e in story.store.events() if type(e).__name__ == "AnswerFailed"]
    assert failed.text == "写到这里。"


# The context.


def model_reporting(tokens: int = 0):
    """Return a model that reports `tokens` tokens per 100 prompt bytes, or no usage if 0."""

    def respond(messages):
        prompt_bytes = sum(len(str(message["content"]).encode()) for message in messages)
        usage = (
            f'data: {{"choices": [], "usage": {{"prompt_tokens": {prompt_bytes * tokens // 100}, '
            f'"completion_tokens": 5}}}}\n\n'
        ).encode()
        return Script(
            [Step(0.1, chunk("答。") + chunk(finish="stop") + (usage if tokens else b""), end=True)]
        )

    return respond


def test_the_oldest_turns_are_trimmed_first_and_the_user_is_notified_once():
    config = configuration(
        assistant={"chatgpt": assistant(max_context_tokens=120, system_prompt="你是助手")}
    )
    story = Story(model_reporting(), config)
    story.open()
    replies = [ask(story, f"{n}：" + "长" * 20) for n in range(5)]
    messages = story.model.messages()
    assert messages[0] == ("system", "你是助手")
    assert messages[-1][1].startswith("4：")
    assert len(messages) == 4  # the system prompt, one turn, the question
    assert [reply.count("不再参考") for reply in replies].count(1) == 1
    trimmed = [e for e in story.store.events() if type(e).__name__ == "ContextTrimmed"]
    assert len(trimmed) == 1
    story.say("/clear")
    replies = [ask(story, f"{n}：" + "长" * 20) for n in range(5)]
    assert [reply.count("不再参考") for reply in replies].count(1) == 1


def test_the_system_prompt_and_the_question_are_never_trimmed():
    config = configuration(
        assistant={"chatgpt": assistant(max_context_tokens=1, system_prompt="你是助手" * 50)}
    )
    story = Story(model_reporting(), config)
    story.open()
    assert words_of(ask(story, "长" * 500)) == "答。"
    assert [role for role, _ in story.model.messages()] == ["system", "user"]


def test_token_estimates_are_calibrated_from_reported_usage_across_restarts():
    config = configuration(assistant={"chatgpt": assistant(max_context_tokens=400)})
    story = Story(model_reporting(tokens=10), config)  # a tenth of a token per byte
    story.open()
    for n in range(12):
        ask(story, f"{n}：" + "长" * 90)
    assert len(story.model.messages()) > 15
    story.crash()
    story.start()
    ask(story, "还在吗？")
    assert len(story.model.messages()) > 15


def test_token_estimates_are_per_model():
    two_models = assistant(models=("small", "large"), max_context_tokens=400)
    story = Story(model_reporting(tokens=10), configuration(assistant={"chatgpt": two_models}))
    story.open()
    for n in range(12):
        ask(story, f"{n}：" + "长" * 90)
    assert len(story.model.messages()) > 15
    story.say("/model large")
    ask(story, "还在吗？")
    assert len(story.model.messages()) < 10, "one model's estimates were used for the other"


def test_a_prompt_that_is_too_long_is_halved_and_the_limit_is_remembered():
    body = '{"error": {"code": "context_length_exceeded", "message": "maximum context length is 4200 tokens"}}'

    def respond(messages):
        return error(400, body) if len(messages) > 5 else answer_at(0.1, "答。")

    story = Story(respond)
    story.open()
    replies = [ask(story, f"{n}：" + "长" * 20) for n in range(6)]
    assert all(reply.startswith("答。") for reply in replies)
    rejected = [call for call in story.model.calls if len(call["messages"]) > 5]
    assert len(rejected) == 1
    assert sum("不再参考" in reply for reply in replies) == 1


def test_a_question_too_long_on_its_own_fails_with_an_explanation():
    story = Story(error(400, '{"error": {"code": "context_length_exceeded"}}'))
    story.open()
    assert words_of(ask(story, "长" * 500)) == "这次对话太长，AI 记不下了。请清空对话后再问。"
    assert len(story.model.calls) == 1


# Costs.


def test_an_answer_s_cost_is_computed_from_reported_usage():
    config = configuration(
        assistant={"chatgpt": assistant(price_per_million=cfg.Price(input=2.0, output=8.0))}
    )
    story = Story(answer_at(0.1, ANSWER), config)
    story.open()
    ask(story)
    (answer,) = completed_answers(story)
    usage = answer.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.estimated) == (7, 5, False)
    assert usage.cost == pytest.approx((7 * 2 + 5 * 8) / 1e6)


def test_unreported_usage_is_estimated_and_marked_as_such():
    story = Story(model_reporting())
    story.open()
    ask(story)
    (answer,) = completed_answers(story)
    assert answer.usage.estimated
    assert answer.usage.prompt_tokens > 0
    assert answer.usage.completion_tokens > 0


def budgeted(**limits) -> Story:
    config = configuration(
        assistant={
            "chatgpt": assistant(
                price_per_million=cfg.Price(input=1e6, output=0),
                daily_budget=limits.pop("own", 0.0),
            ),
            "other": assistant("other.test"),
        },
        limits=cfg.Limits(**limits),
    )
    story = Story(answer_at(0.1, ANSWER), config)  # each answer costs 7
    story.outside.hosts["other.test"] = ModelServer(
        story.world_clock, lambda _: answer_at(0.1, "别的。")
    )
    story.open()
    return story


def test_a_spent_budget_is_reported_to_users_and_logged_once(logged):
    story = budgeted(own=14.0)
    assert ask(story) == ANSWER
    assert ask(story) == ANSWER
    assert ask(story) == "本公众号今天的 AI 额度用完了，请明天再来。"
    assert ask(story) == "本公众号今天的 AI 额度用完了，请明天再来。"
    assert len(story.model.calls) == 2
    assert len([line for line in logged() if "daily budget of 14 used up" in line]) == 1
    story.say("/other")
    assert ask(story) == "别的。"
    story.crash()
    story.start()
    story.say("/chatgpt")
    assert "额度用完" in ask(story)


def test_a_total_budget_covers_all_assistants(logged):
    story = budgeted(daily_budget=7.0)
    assert ask(story) == ANSWER
    story.say("/other")
    assert "额度用完" in ask(story)
    assert any("all assistants together" in line for line in logged())


def test_the_budget_resets_the_next_day():
    story = budgeted(own=7.0)
    ask(story)
    assert "额度用完" in ask(story)
    story.advance(86_400, step=100.0)
    story.open()
    assert ask(story) == ANSWER


# Parameters.


def test_only_configured_parameters_are_sent():
    config = configuration(
        assistant={
            "chatgpt": assistant(
                temperature=0.5,
                seed=7.0,
                stop=("完",),
                max_tokens=99,
                extra_body={"enable_search": True},
                extra_headers={"X-Title": cfg.Secret("wxgptd")},
            )
        }
    )
    story = Story(answer_at(0.1, ANSWER), config)
    story.open()
    ask(story)
    (call,) = story.model.calls
    assert {name: value for name, value in call.items() if name != "messages"} == {
        "model": "m",
        "stream": True,
        "max_tokens": 99,
        "stream_options": {"include_usage": True},
        "temperature": 0.5,
        "stop": ["完"],
        "seed": 7,
        "enable_search": True,
    }
    assert story.model.headers[0].getRawHeaders("x-title") == ["wxgptd"]


def test_a_configured_proxy_is_used():
    config = configuration(
        assistant={"chatgpt": assistant(proxy=cfg.Secret("http://proxy.test:3128"))}
    )
    story = Story(answer_at(0.1, ANSWER), config)
    assert story.proxies == ["http://proxy.test:3128"]
    story.open()
    assert ask(story) == ANSWER


def test_the_system_prompt_can_include_the_date_and_the_account():
    prompt = '今天是 {date}，{weekday}，在 {account}。JSON 写成 {"a": 1}。'
    config = configuration(assistant={"chatgpt": assistant(system_prompt=prompt, language="中文")})
    story = Story(answer_at(0.1, ANSWER), config)
    story.open()
    ask(story)
    today = datetime.fromtimestamp(story.wall())
    prompt = story.model.messages()[0][1]
    assert prompt.startswith(f"今天是 {today:%Y-%m-%d}，星期")
    assert '在 main。JSON 写成 {"a": 1}。' in prompt
    assert prompt.endswith("Answer in this language: 中文")


def story_with_two_models() -> Story:
    config = configuration(assistant={"chatgpt": assistant(model="small", models=("small", "Big"))})
    story = Story(answer_at(0.1, ANSWER), config)
    story.open()
    return story


def test_a_user_can_choose_a_model():
    story = story_with_two_models()
    listed = "可以换成：small、Big。发送“/model”加上名字即可切换。"
    assert words_of(story.say("/model")) == f"现在用的是 small，{listed}"
    assert story.say("/model big") == "已切换到 Big，接着问吧。"
    assert ask(story) == ANSWER
    assert story.model.calls[-1]["model"] == "Big"
    assert (
        words_of(story.say("/MODEL nobody"))
        == "没有叫这个名字的模型。现在用的是 Big，可以换成：small、Big。发送“/model”加上名字即可切换。"
    )
    story.crash()
    story.start()
    ask(story)
    assert story.model.calls[-1]["model"] == "Big"
    story.say("/clear")
    ask(story)
    assert story.model.calls[-1]["model"] == "small"
    story.say("/model big")
    story.crash()
    story.config.assistant["chatgpt"] = assistant(model="small", models=("small", "third"))
    story.start()
    ask(story)
    assert story.model.calls[-1]["model"] == "small", "the chosen model no longer exists"


def test_the_model_command_explains_when_there_is_only_one_model():
    story = Story(answer_at(0.1, ANSWER))
    assert story.say("/model") is None
    story.open()
    for words in ("/model", "/model m-2", "切换模型"):
        assert ask(story, words) == "现在只有一个模型，不用切换。"
    assert story.model.calls == []
