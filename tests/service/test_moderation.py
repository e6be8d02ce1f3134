"""Blocked words, in questions and in answers."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.model_server import DONE, Script, Step, answer_at, chunk
from tests.support.story import Story, configuration
from wxgptd import config as cfg
from wxgptd.config import ConfigError
from wxgptd.domain.text.words import WordList


@pytest.fixture
def make_story(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("# 词表\n违禁词\n\nBadWord\n", encoding="utf-8")

    def make(respond) -> Story:
        story = Story(respond, configuration(moderation=cfg.Moderation(words_file=path)))
        story.words = path
        return story

    return make


def in_pieces(*pieces: str, gap_s: float = 0.2) -> Script:
    steps = [Step(gap_s * n, chunk(piece)) for n, piece in enumerate(pieces)]
    return Script([*steps, Step(gap_s * len(pieces), chunk(finish="stop") + DONE, end=True)])


def test_a_question_with_a_blocked_word_is_rejected_without_calling_the_model(make_story):
    story = make_story(answer_at(0.1, "好的。"))
    story.open()
    assert story.say("说说badword吧") == "抱歉，这条消息包含无法处理的内容，请换个说法再发。"
    assert story.model.calls == []
    sent = story.send("说说别的吧")
    story.advance(1)
    assert sent.reply == "好的。"
    assert story.model.messages() == [("user", "说说别的吧")]
    assert not any("badword" in str(event) for event in story.store.events())


def test_a_question_after_an_opening_command_is_moderated(make_story):
    story = make_story(answer_at(0.1, "好的。"))
    assert "无法处理" in story.say("/chatgpt 违禁词")


@pytest.mark.parametrize("text", ["违**禁**词", "违\u200b禁词", "`BAD`word", "_bad_Word"])
def test_markup_and_invisible_characters_do_not_hide_a_blocked_word(make_story, text):
    story = make_story(answer_at(0.1, "好的。"))
    story.open()
    assert "无法处理" in story.say(f"说说{text}吧")


def test_messages_outside_a_session_are_not_moderated(make_story):
    assert make_story(answer_at(0.1, "好的。")).say("违禁词") is None


def test_an_answer_with_a_blocked_word_stops_and_stays_out_of_the_context(make_story):
    story = make_story(lambda messages: in_pieces("这是违", "禁词，后面", "还有。"))
    story.open()
    sent = story.send("说说")
    story.advance(2)
    assert sent.reply == "抱歉，这个问题 AI 回答不了。"
    assert story.model.hung_up == 1
    story.model.respond = lambda _: answer_at(0.1, "好的。")
    sent = story.send("再说")
    story.advance(1)
    assert story.model.messages() == [("user", "再说")]
    assert not any("禁词" in str(event) for event in story.store.events())


def test_text_shown_before_a_blocked_word_is_withdrawn(make_story):
    story = make_story(in_pieces("第一句。", "第二句。", "违禁词", gap_s=8))
    story.open()
    sent = story.send("说说")
    story.advance(15)
    assert sent.reply.startswith("第一句。第二句。")
    story.advance(10)
    assert story.say("继续") == "抱歉，这个问题 AI 回答不了。"


def test_a_reload_rereads_the_word_list(make_story, logged):
    story = make_story(answer_at(0.1, "好的。"))
    story.open()
    story.words.write_text("新词\n")
    assert "无法处理" in story.say("违禁词")
    story.service.operations.reloading.from_file()
    assert "无法处理" in story.say("新词")
    sent = story.send("违禁词")
    story.advance(1)
    assert sent.reply == "好的。"
    story.words.write_bytes(b"\xff\xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        story.service.operations.reloading.from_file()
    assert "无法处理" in story.say("新词")
    assert any("reload rejected: " in line for line in logged())


WORDS = st.lists(st.text(st.sampled_from("abAB天"), min_size=1, max_size=4), max_size=6)


@given(WORDS, st.lists(st.text(st.sampled_from("abAB天c"), max_size=5), max_size=8))
def test_a_blocked_word_is_found_however_the_text_is_split(words, pieces):
    expected = any(word.casefold() in "".join(pieces).casefold() for word in words)
    word_list = WordList(words)
    assert word_list.match("".join(pieces)) is expected
    watch = word_list.watch()
    assert any(watch.objects(piece) for piece in pieces) is expected


def test_many_words_with_a_common_prefix_match_quickly():
    words = WordList([f"www.bad{n}.com" for n in range(100_000)])
    began = time.process_time()
    assert not words.match("www " * 500 + "ww" * 1_000)
    assert words.match("see www.bad77777.com")
    assert time.process_time() - began < 1
