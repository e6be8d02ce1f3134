"""A reload applies what needs no restart, or nothing if the configuration is invalid."""

import re

import attrs
import pytest

from tests.support.model_server import answer_at
from tests.support.story import Story, configuration, safe_account
from wxgptd import config as cfg


def assistant(**more):
    key = cfg.Secret("sk-secret")
    return cfg.Assistant(base_url="http://model.test/v1", model="m-1", api_key=key, **more)


def reload_with(story, **tables):
    """Reload the story's daemon with these configuration `tables` replaced."""
    story.config = attrs.evolve(story.config, **tables)
    return story.service.operations.reloading.from_file()


@pytest.fixture
def story():
    return Story(answer_at(0.1, "好的。"))


def test_a_new_assistant_is_available_at_once(story):
    assert story.say("/code") is None
    adopted = reload_with(story, assistant={**story.config.assistant, "code": assistant()})
    assert adopted.changed == ("assistant.code",)
    assert "我是 AI 助手" in story.say("/code")


def test_new_texts_rules_and_limits_apply(story):
    rule = cfg.Rule(match="keyword", words=cfg.Words(("价格",)), reply=cfg.RuleReply(text="十元"))
    adopted = reload_with(
        story,
        texts=texts_with(story, no_session="没有对话"),
        rule=(rule,),
        limits=cfg.Limits(messages_per_minute=1),
    )
    assert set(adopted.changed) == {"texts.no_session", "rule", "limits.messages_per_minute"}
    assert story.say("/stop", user="bob") == "没有对话"
    assert story.say("价格", user="carol") == "十元"
    story.open()
    assert "有点快" in story.say("问题")


def texts_with(story, **texts):
    import dataclasses

    return dataclasses.replace(story.config.texts, **texts)


def test_a_new_account_is_served_and_a_removed_one_is_not(story):
    reload_with(story, account={"other": story.config.account["main"]})
    story.open(account="other")
    sent = story.send("/chatgpt", user="bob", account="other")
    assert sent.reply
    assert story.get("/wx/main").code == 404


def test_a_changed_token_replaces_the_old_one(story):
    old_peer = story.wechat()
    reload_with(story, account={"main": cfg.Account(token=cfg.Secret("anothertoken"))})
    rejected = story.send("/chatgpt")
    story.advance(20)
    assert rejected.delivery.fault
    story._wechats.clear()
    assert story.wechat() is not old_peer
    assert story.say("/chatgpt", user="bob")


def test_an_account_can_switch_from_plain_text_to_safe_mode(story):
    story.open()
    reload_with(story, account={"main": safe_account()})
    story._wechats.clear()
    assert "我是 AI 助手" in story.say("/chatgpt", user="bob")


def test_a_running_answer_is_not_requested_again():
    story = Story(answer_at(8, "慢慢来。"))
    story.open()
    sent = story.send("问题", advance=False)
    story.advance(6)
    reload_with(story, assistant={"chatgpt": assistant(system_prompt="简短")})
    story.advance(10)
    assert sent.reply == "慢慢来。"
    assert len(story.model.calls) == 1


def test_a_question_to_a_removed_assistant_gets_an_explanation(story):
    story.open()
    reload_with(story, assistant={"other": assistant()})
    sent = story.send("还在吗")
    story.advance(1)
    assert "暂时用不了" in sent.reply


def test_a_raised_budget_lets_questions_through():
    spent = assistant(price_per_million=cfg.Price(output=1e6), daily_budget=1.0)
    story = Story(answer_at(0.1, "好的。"), configuration(assistant={"chatgpt": spent}))
    story.open()
    for _ in range(2):
        sent = story.send("问题")
        story.advance(1)
    assert "额度用完" in sent.reply
    raised = attrs.evolve(spent, daily_budget=1000.0)
    reload_with(story, assistant={"chatgpt": raised})
    sent = story.send("问题")
    story.advance(1)
    assert sent.reply == "好的。"


def test_a_setting_that_needs_a_restart_is_logged_but_not_applied(story, logged):
    server = attrs.evolve(story.config.server, public_url="https://elsewhere.example.com")
    adopted = reload_with(story, server=server)
    assert adopted.changed == ()
    assert adopted.takes_restart == ("server.public_url",)
    assert "https://chat.example.com/" in story.say("/history")
    assert any("restart required: server.public_url" in line for line in logged())


def test_an_invalid_configuration_changes_nothing(story, tmp_path):
    path = tmp_path / "wxgptd.toml"
    with pytest.raises(cfg.ConfigError, match=r"session\.ttl"):
        story.service.operations.reloading.take(
            story.service.operations.reloading.reader("[session]\nttl = 'soon'\n", path)
        )
    story.open()
    sent = story.send("问题")
    story.advance(1)
    assert sent.reply == "好的。"


def test_an_unchanged_model_keeps_its_state(story):
    before = story.service.base.settings.assistants["chatgpt"].model
    reload_with(story, texts=texts_with(story, help="帮助"))
    assert story.service.base.settings.assistants["chatgpt"].model is before
    reload_with(story, assistant={"chatgpt": assistant(seed=1.0)})
    assert story.service.base.settings.assistants["chatgpt"].model is not before


def test_changes_list_keys_but_no_values():
    old = configuration()
    new = configuration(account={"main": cfg.Account(token=cfg.Secret("another"))})
    assert list(cfg.changes(old, new)) == ["account.main.token"]


def test_a_held_attempt_is_answered_with_the_old_credentials():
    story = Story(answer_at(3, "慢慢来。"), configuration(account={"main": safe_account()}))
    story.open()
    sent = story.send("问题")
    story.advance(1)
    new_account = cfg.Account(
        token=cfg.Secret("anothertoken"), app_id="wxanother", aes_key=cfg.Secret("B" * 42 + "A")
    )
    reload_with(story, account={"main": new_account})
    story.advance(5)
    assert sent.reply == "慢慢来。"
    assert sent.results == ["reply"]


def test_a_setting_that_depends_on_a_new_retention_is_rejected_until_a_restart():
    day = 86_400.0
    story = Story(answer_at(1, "x"), configuration(log=cfg.Log(keep=cfg.Duration(8 * day))))
    before = story.service.base.settings.link_ttl_s
    tables = {
        "log": cfg.Log(keep=cfg.Duration(90 * day)),
        "links": cfg.Links(ttl=cfg.Duration(60 * day)),
    }
    with pytest.raises(cfg.ConfigError, match="wait for a restart"):
        reload_with(story, **tables)
    assert story.service.base.settings.link_ttl_s == before
    with pytest.raises(cfg.ConfigError, match="wait for a restart"):
        story.service.operations.reloading.compare(lambda: story.config)


def test_a_comparison_lists_the_changes_without_applying_them(story):
    story.config = attrs.evolve(story.config, texts=texts_with(story, no_session="没有对话"))
    changes = story.service.operations.reloading.compare(
        story.service.operations.reloading.reader()
    )
    assert changes.changed == ("texts.no_session",)
    assert story.say("/stop", user="bob") != "没有对话"


def test_a_changed_prompt_keeps_the_model_s_state(story):
    before = story.service.base.settings.assistants["chatgpt"].model
    reload_with(story, assistant={"chatgpt": assistant(system_prompt="简短", daily_budget=0.0)})
    assert story.service.base.settings.assistants["chatgpt"].model is before


def test_costs_from_earlier_days_do_not_log_a_spent_budget(logged):
    spent = assistant(price_per_million=cfg.Price(output=1e6), daily_budget=1.0)
    story = Story(answer_at(0.1, "好的。"), configuration(assistant={"chatgpt": spent}))
    story.open()
    story.send("问题")
    story.advance(1)
    story.world_clock.advance(2 * 86_400)
    logged_before = len(logged())
    reload_with(story, texts=texts_with(story, help="帮助"))
    assert not any("used up" in line for line in logged()[logged_before:])


def test_users_see_the_assistant_s_title_but_never_its_table_name(story):
    titled = cfg.Assistant(base_url="http://model.test/v1", model="m", title="小明")
    reload_with(story, assistant={"chatgpt": titled})
    assert "我是 小明，" in story.say("/chatgpt")
    story.send("你是谁？")
    story.advance(1)
    reply = story.say("/history")
    path = re.search(r"https://chat.example.com(\S+)", reply)[1]
    page = story.get(path).body
    assert "小明 · 进行中" in page
    assert "chatgpt" not in page
