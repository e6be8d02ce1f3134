"""`fit = "window"`: answers short enough to finish while WeChat waits."""

from __future__ import annotations

import re

from tests.support.model_server import Script, streamed
from tests.support.story import Story, configuration
from wxgptd import config as cfg
from wxgptd.domain.replies.texts import Texts
from wxgptd.domain.text.answer_length import limit_in

OFFER = "回复“继续”可以接着看。"
SENTENCE = "这是一句十个字的话呢。"
CHARS_A_SECOND = 30


def assistant(**more) -> cfg.Assistant:
    return cfg.Assistant(base_url="http://model.test/v1", model="m", **more)


def obedient_model(messages) -> Script:
    """Return a script of 900 characters, or as many as the prompt allows, at 30 a second."""
    _, limit = limit_in(messages[-1]["content"])
    chars = limit or 900
    sentences = [SENTENCE] * (chars // len(SENTENCE))
    if limit:
        sentences[-1] = OFFER
    return streamed(1 + chars / CHARS_A_SECOND, sentences, first_s=1)


def fitting_config(**more) -> cfg.Config:
    texts = Texts(ai_label="", unseen="")
    return configuration(assistant={"chatgpt": assistant(fit="window")}, texts=texts, **more)


def prompts(story: Story) -> list[str]:
    return [call["messages"][-1]["content"] for call in story.model.calls]


def teach_pace(story: Story) -> None:
    """Ask two questions to establish the model's pace."""
    story.open()
    for _ in range(2):
        story.send("先问一个。")
        story.advance(40, 0.25)


def test_the_prompt_limits_the_answer_s_length_once_the_model_s_pace_is_known():
    story = Story(obedient_model, fitting_config())
    teach_pace(story)
    assert prompts(story) == ["先问一个。", "先问一个。"]
    sent = story.send("为什么？")
    story.advance(15)
    assert re.search(r"为什么？\n\n（请用不超过 (3[0-3]0) 个字", prompts(story)[-1])
    assert OFFER in sent.reply
    assert "http" not in sent.reply


def test_the_length_limit_is_not_recorded_with_the_question():
    story = Story(obedient_model, fitting_config())
    teach_pace(story)
    story.send("为什么？")
    story.advance(16)
    story.send("然后呢？")
    story.advance(16)
    questions = [
        message["content"]
        for message in story.model.calls[-1]["messages"]
        if message["role"] == "user"
    ]
    assert questions[:3] == ["先问一个。", "先问一个。", "为什么？"]


def test_continue_asks_for_the_rest():
    story = Story(obedient_model, fitting_config())
    teach_pace(story)
    story.send("为什么？")
    story.advance(16)
    sent = story.send("继续")
    story.advance(16)
    assert prompts(story)[-1].startswith("继续\n\n（请用不超过")
    assert OFFER in sent.reply


def test_fitting_is_off_by_default():
    story = Story(obedient_model)
    teach_pace(story)
    sent = story.send("为什么？")
    story.advance(15)
    assert prompts(story)[-1] == "为什么？"
    assert "/a/" in sent.reply


def test_an_answer_fits_within_the_first_attempt_when_no_timeouts_are_left():
    story = Story(obedient_model, fitting_config(window=cfg.Window(deliberate_timeouts_per_5min=0)))
    teach_pace(story)
    sent = story.send("为什么？")
    story.advance(5)
    assert re.search(r"不超过 (\d0) 个字", prompts(story)[-1])
    assert sent.results == ["reply"]
    assert OFFER in sent.reply


def test_a_question_queued_too_long_has_no_length_limit():
    story = Story(obedient_model, fitting_config())
    story.open()
    story.send("先问一个。")
    story.advance(40, 0.25)
    story.send("再问一个。")
    story.advance(0.5)
    story.send("第三个。")
    story.advance(60, 0.25)
    assert prompts(story)[-1] == "第三个。"


def test_the_learned_pace_survives_a_restart():
    story = Story(obedient_model, fitting_config())
    teach_pace(story)
    story.restart()
    story.send("为什么？")
    story.advance(1)
    assert "不超过" in prompts(story)[-1]


def test_an_unknown_value_of_fit_is_an_error():
    config = configuration(assistant={"chatgpt": assistant(fit="yes")})
    assert any("fit: must be" in mistake for mistake in cfg.mistakes(config))
