"""Which parts of a model's output are shown."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wxgptd.llm.cleaning import Cleaner


class Shown:
    """The text shown for an answer that arrives in pieces, and its thoughts."""

    def __init__(self, *pieces: str) -> None:
        self.text = ""
        self.thoughts = ""
        self.withdrawn = 0
        cleaner = Cleaner(self._think, self._withdraw)
        for piece in pieces:
            shown = cleaner.feed(piece)
            self.text += shown
        shown = cleaner.close()
        self.text += shown
        self.thought = cleaner.thought

    def _think(self, piece: str) -> None:
        self.thoughts += piece

    def _withdraw(self) -> None:
        self.text = ""
        self.withdrawn += 1


def clean(*pieces: str) -> str:
    return Shown(*pieces).text


HARMONY = (
    "<|channel|>analysis<|message|>嗯，想想<|end|><|start|>assistant<|channel|>final<|message|>"
    "天是蓝的<|return|>"
)


@pytest.mark.parametrize(
    "written",
    [
        "<think>嗯</think>天是蓝的",
        "\n<think>\n嗯\n</think>\n\n天是蓝的",
        "<THINK>嗯</THINK>天是蓝的",
        "<thinking>\n嗯\n</thinking>\n\n天是蓝的",
        "<thought>嗯</thought>天是蓝的",
        "<thoughts>嗯</thoughts>天是蓝的",
        "<reasoning>嗯</reasoning>天是蓝的",
        "<seed:think>嗯</seed:think>天是蓝的",
        "[THINK]嗯[/THINK]天是蓝的",
        "◁think▷嗯◁/think▷天是蓝的",
        "<|begin_of_thought|>嗯<|end_of_thought|>\n天是蓝的",
        '<details type="reasoning" open>嗯</details>\n天是蓝的',
        "<think></think>\n\n天是蓝的",
        "<think>一</think>\n<think>二</think>天是蓝的",
        "用户问天，嗯。\n</think>\n\n天是蓝的",
        "用户问天，嗯。</think>天是蓝的",
        "用户问天，嗯。</think>\n天是蓝的",
        "</think>\n天是蓝的",
        "嗯[/THINK]天是蓝的",
        "嗯\n◁/think▷天是蓝的",
        HARMONY,
        HARMONY.removesuffix("<|return|>"),
        "<|start|>assistant" + HARMONY,
        "<|channel|>final<|message|>天是蓝的<|return|>",
        "<|channel|>commentary<|message|>嗯<|end|>" + HARMONY,
        "analysis用户问天assistantfinal天是蓝的",
    ],
)
def test_thoughts_are_removed_for_every_kind_of_tag(written):
    assert clean(written) == "天是蓝的"
    assert clean(*written) == "天是蓝的", "split after every character"


@pytest.mark.parametrize(
    "written",
    [
        "a < b 而且 b <th",
        "用 <think> 标记思考",
        "用 <think> 和 </think> 包住思考过程",
        "用 `<think>` 和 `</think>` 标记",
        "模型写完 `</think>` 之后才回答",
        "它写出 “</think>” 就停",
        "它写出 </think> 之后才是回答",
        "天<think>嗯</think>是蓝的",
        "```\n嗯\n</think>\n答\n```\n完",
        "[THIN",
        "analysis of the sky: assistantfinal is a word",
        "◁ 和 ▷",
        "<details>\n<summary>更多</summary>\n</details>",
        "<thin",
        "<|chan",
    ],
)
def test_text_that_looks_like_a_tag_stays(written):
    assert clean(written) == written
    assert clean(*written) == written, "split after every character"


@pytest.mark.parametrize(
    "mark", ["<think>", "<thinking>", "[THINK]", "<|channel|>analysis<|message|>"]
)
def test_unclosed_thoughts_are_not_an_answer(mark):
    shown = Shown(f"{mark}没想完")
    assert shown.text == ""
    assert shown.thought
    assert shown.thoughts == "没想完"


def test_text_shown_before_a_closing_tag_is_withdrawn():
    shown = Shown("用户问天，", "嗯。", "\n</think>\n\n", "天是", "蓝的")
    assert shown.withdrawn == 1
    assert shown.text == "天是蓝的"
    assert shown.thoughts == "用户问天，嗯。\n"


def test_only_the_first_closing_tag_withdraws_text():
    assert clean("<think>嗯</think>它写出\n</think>\n为止") == "它写出\n</think>\n为止"
    assert clean("嗯\n</think>\n它写出\n</think>\n为止") == "它写出\n</think>\n为止"


def test_surrogate_pairs_split_across_pieces_are_joined():
    assert clean("天\ud83d", "\ude80空") == "天🚀空"


@given(st.lists(st.text(st.characters(), max_size=20), max_size=10))
def test_shown_text_can_always_be_encoded(pieces):
    shown = clean(*pieces)
    shown.encode()
    assert "\x00" not in shown


PIECES = st.sampled_from(
    ["<think>", "</think>", "<thinking>", "</thinking>", "[THINK]", "[/THINK]", "◁think▷", "◁/think▷",
     "<|channel|>", "analysis", "final", "<|message|>", "<|end|>", "<|start|>", "assistant", "`", "```\n",
     "天", "a", " ", "\n", "<", "</", "[", "◁", "think", ">", "|", "assistantfinal", "“"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=30).map("".join), st.integers(1, 5))
@example("analysisassistantfinal</think>", 1)
@example("analysisassistantfinal<thinking></think>", 1)
@example("[</think></think>", 3)
def test_the_split_into_pieces_makes_no_difference(text, size):
    pieces = [text[n : n + size] for n in range(0, len(text), size)]
    split, whole = Shown(*pieces), Shown(text)
    assert split.text == whole.text
    assert split.thoughts.split() == whole.thoughts.split()


@pytest.mark.parametrize(
    "hostile",
    ["想一想" * 5, "</think", "` </think>", "<", "[/THIN", "◁", "analysis", "assistantfina"],
)
def test_no_input_takes_long_to_clean(hostile):
    for beginning in ("<think>", "", "analysis"):
        began = time.process_time()
        Shown(beginning, *([hostile] * 20_000))
        assert time.process_time() - began < 10


@given(st.lists(st.text("a想</>think", max_size=8), max_size=8), st.data())
def test_removed_thoughts_are_reported(pieces, data):
    thought = "".join(pieces).replace("</think>", "")
    whole = f"<think>{thought}</think>答"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=5)))
    shown = Shown(
        *(whole[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True))
    )
    assert shown.text == "答"
    assert shown.thoughts == thought


BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@pytest.mark.parametrize("control", BIDI)
def test_bidirectional_controls_are_removed(control):
    assert clean(f"天{control}是蓝的", f"。{control}") == "天是蓝的。"


def test_right_to_left_text_stays():
    text = "\u0634\u0643\u0631\u0627 \u200f\u05ea\u05d5\u05d3\u05d4"
    assert clean(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "在HTML里没有</think>这个标签。", "模型输出以</think>结束思考。", "**</think>** 是结束标记", "把 </think>、<think> 都去掉", "| 标记 |</think>|", "`{% if x %}</think>`",
        "> ```\n> </think>\n> ```", "    ```\n    </think>\n    ```",
    ],
)  # fmt: skip
def test_a_closing_tag_used_as_a_word_withdraws_nothing(text):
    assert clean(text) == text.lstrip()
    assert clean(*text) == text.lstrip()


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("<think>İstanbul</think>Merhaba", "Merhaba"),
        ("<thinking>想</think>答案是42。", "答案是42。"),
        ("\ufeff<think>想</think>答", "答"),
        ("<|begin▁of▁thought|>想<|end▁of▁thought|>答", "答"),
        (
            "<|channel|>analysis<|message|>想<|start|>assistant<|channel|>final<|message|>答<|end|>",
            "答",
        ),
    ],
)
def test_thoughts_end_at_their_closing_tag(written, shown):
    assert clean(written) == shown
    assert clean(*written) == shown
