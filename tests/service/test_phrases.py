"""The effect of typed and spoken phrases on the whole service, inside and outside a session."""

from __future__ import annotations

import re

import pytest

from tests.support.builders import words_of
from tests.support.model_server import answer_at
from tests.support.story import Story, configuration
from wxgpt.wechat import messages
from wxgptd import config as cfg
from wxgptd.domain.model import events as e

ANSWER = "因为空气。"
LONG = "".join(f"第 {n:04} 句话在这里说完了。" for n in range(200))


def make_story(situation: str) -> Story:
    """Return a story whose user talks, waits, reads a long answer, or has an expired session."""
    only_ai = situation == "only AI"
    account = cfg.Account(token=cfg.Secret("storytoken"), open_without_command=only_ai)
    models = cfg.Words(("m-1", "m-2"))
    assistant = cfg.Assistant(base_url="http://model.test/v1", model="m-1", models=models)
    script = {"waits": answer_at(16, ANSWER), "reads": answer_at(0.1, LONG)}.get(situation)
    story = Story(
        lambda _: script or answer_at(0.1, ANSWER),
        configuration(account={"main": account}, assistant={"chatgpt": assistant}),
    )
    if situation in ("stranger", "only AI"):
        return story
    story.say("/chatgpt")
    story.send("一？")
    story.advance(2)
    if situation == "expired":
        story.advance(400, step=1)
    return story


def effect_of(story: Story, text: str, kind: str) -> str:
    """Send a message and describe its effect in words."""
    before, calls = len(story.store.events()), len(story.model.calls)
    fields = messages.message("voice", text) if kind == "voice" else messages.text_message(text)
    sent = story.deliver(fields)
    story.advance(1)
    new_events = story.store.events()[before:]
    questions = [event for event in new_events if isinstance(event, e.QuestionAsked)]
    if questions:
        resumed = any(isinstance(event, e.SessionResumed) for event in new_events)
        suffix = " again" if questions[0].retries else ""
        return f"{'resumes, and ' if resumed else ''}asks{suffix}: {questions[0].text}"
    assert len(story.model.calls) == calls, "the model was called"
    for event in new_events:
        match event:
            case e.ContinuationAsked():
                return "the next part"
            case e.CommandGiven(command="interrupt"):
                return "stops the answer"
            case e.CommandGiven(command=command):
                return str(command)
            case e.MessageDeclined(reason="no_such_command", about=about):
                return f"no such command {about}".strip()
            case e.MessageHeld():
                return "hint"
            case e.ModelChosen(model=model):
                return f"model {model}"
            case _:
                pass
    assert sent.reply is None
    return "nothing"


TABLE = [
    # In a session.
    ("talks", "帮助", "help"),
    ("talks", "帮助。", "help"),
    ("talks", "ｈｅｌｐ", "help"),
    ("talks", "Help!", "help"),
    ("talks", "/help", "help"),
    ("talks", "／ｈｅｌｐ", "help"),
    ("talks", "、help", "help"),
    ("talks", "/ help", "help"),
    ("talks", "/帮助", "help"),
    ("talks", "幫助", "help"),
    ("talks", "历史记录", "history"),
    ("talks", "查看历史记录。", "history"),
    ("talks", "/History", "history"),
    ("talks", "清空对话", "clear"),
    ("talks", "新对话！", "clear"),
    ("talks", "New chat", "clear"),
    ("talks", "/clear。", "clear"),
    ("talks", "/stop", "stop"),
    ("talks", "／ｓｔｏｐ", "stop"),
    ("talks", "结束对话", "stop"),
    ("talks", "停止", "stop"),
    ("talks", "切换模型", "model"),
    ("talks", "/model", "model"),
    ("talks", "/models", "model"),
    ("talks", "/model m-2", "model m-2"),
    ("talks", "/model　M-2", "model m-2"),
    ("talks", "/model m-2。", "model m-2"),
    ("talks", "重试", "asks again: 一？"),
    ("talks", "重新回答~", "asks again: 一？"),
    ("talks", "/retry", "asks again: 一？"),
    ("talks", "try again", "asks again: 一？"),
    ("talks", "/chatgpt", "open"),
    ("talks", "/ChatGPT 二？", "asks: 二？"),
    ("talks", "/chatgpt二？", "asks: 二？"),
    ("talks", "／chatgpt，二？", "asks: 二？"),
    ("talks", "/histroy", "no such command /history"),
    ("talks", "/hlep", "no such command /help"),
    ("talks", "/ stpo", "no such command /stop"),
    ("talks", "/chatgtp", "no such command /chatgpt"),
    ("talks", "/unknown", "no such command"),
    ("talks", "历史", "asks: 历史"),
    ("talks", "模型", "asks: 模型"),
    ("talks", "菜单", "asks: 菜单"),
    ("talks", "帮助我写一封信", "asks: 帮助我写一封信"),
    ("talks", "/clear 是什么意思", "asks: /clear 是什么意思"),
    ("talks", "怎么清空对话", "asks: 怎么清空对话"),
    ("talks", "/etc/hosts 在哪里", "asks: /etc/hosts 在哪里"),
    ("talks", "/::)", "asks: /::)"),
    ("talks", "、这个不对", "asks: 、这个不对"),
    ("talks", "继续", "asks: 继续"),
    # While an answer is being written or has parts left to read.
    ("waits", "停止", "stops the answer"),
    ("waits", "停一下！", "stops the answer"),
    ("waits", "别说了……", "stops the answer"),
    ("waits", "stop", "stops the answer"),
    ("waits", "/stop", "stop"),
    ("waits", "继续", "the next part"),
    ("waits", "重试", "the next part"),
    ("reads", "继续！", "the next part"),
    ("reads", "“继续”", "the next part"),
    ("reads", "繼續", "the next part"),
    ("reads", "继续吧", "the next part"),
    ("reads", "接着说", "the next part"),
    ("reads", "下一页。", "the next part"),
    ("reads", "回复“继续”", "the next part"),
    ("reads", "go on", "the next part"),
    # After a session has expired.
    ("expired", "二？", "hint"),
    ("expired", "帮助", "help"),
    ("expired", "/histroy", "no such command /history"),
    ("expired", "重试", "resumes, and asks again: 一？"),
    ("expired", "接着聊", "resume"),
    # Without a session.
    ("stranger", "你好", "nothing"),
    ("stranger", "帮助", "nothing"),
    ("stranger", "/histroy", "nothing"),
    ("stranger", "/help", "help"),
    ("stranger", "/chatgpt你好", "asks: 你好"),
    ("only AI", "你好", "asks: 你好"),
    ("only AI", "帮助", "help"),
    ("only AI", "菜单", "help"),
    ("only AI", "历史", "history"),
    ("only AI", "/histroy", "no such command /history"),
]

SPOKEN = [
    ("talks", "帮助。", "help"),
    ("talks", "历史记录。", "history"),
    ("talks", "重试。", "asks again: 一？"),
    ("talks", "天为什么是蓝的。", "asks: 天为什么是蓝的。"),
    ("waits", "停止。", "stops the answer"),
    ("reads", "继续。", "the next part"),
    ("reads", "下一页。", "the next part"),
    ("expired", "在吗。", "hint"),
    ("only AI", "你好。", "asks: 你好。"),
]


@pytest.mark.parametrize(("situation", "text", "effect"), TABLE)
def test_a_typed_phrase_has_its_intended_effect(situation, text, effect):
    assert effect_of(make_story(situation), text, "text") == effect


@pytest.mark.parametrize(("situation", "text", "effect"), SPOKEN)
def test_a_spoken_phrase_has_its_intended_effect(situation, text, effect):
    assert effect_of(make_story(situation), text, "voice") == effect


def test_the_suggested_command_is_a_working_tap():
    story = make_story("talks")
    reply = story.say("/histroy")
    assert words_of(reply) == "没有这个命令，你要发的是 /history 吗？"
    (sent,) = re.findall("msgmenucontent=([^&]+)&", reply)
    assert "chat.example.com/h/" in story.deliver(messages.text_message(sent, tapped=True)).reply
