"""What of a model's writing is shown."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wxgptd.llm.cleaning import Cleaner


def clean(*pieces: str) -> str:
    cleaner = Cleaner()
    return "".join(cleaner.feed(piece) for piece in pieces) + cleaner.close()


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("<think>嗯</think>天是蓝的", "天是蓝的"),
        ("\n<think>\n嗯\n</think>\n\n天是蓝的", "天是蓝的"),
        ("天<think>嗯</think>是蓝的", "天是蓝的"),
        ("<think>没想完", ""),
        ("a < b 而且 b <th", "a < b 而且 b <th"),
        ("用 <think> 标记思考", "用 <think> 标记思考"),
        ("用 `<think>` 和 `</think>` 标记", "用 `<think>` 和 `</think>` 标记"),
        ("</think>天", "</think>天"),
    ],
)
def test_thoughts_are_left_out_and_words_are_not(written, shown):
    assert clean(written) == shown
    assert clean(*written) == shown, "split after every character"


def test_the_halves_of_a_character_are_joined():
    assert clean("天\ud83d", "\ude80空") == "天🚀空"


@given(st.lists(st.text(st.characters(), max_size=20), max_size=10))
def test_what_is_shown_can_always_be_encoded(pieces):
    shown = clean(*pieces)
    shown.encode()
    assert "\x00" not in shown


@given(st.text(st.sampled_from("ab<think>/`天\n"), max_size=60), st.integers(1, 5))
def test_how_it_is_split_makes_no_difference(text, size):
    pieces = [text[n : n + size] for n in range(0, len(text), size)]
    assert clean(*pieces) == clean(text)


def test_thoughts_without_end_take_no_time():
    cleaner, began = Cleaner(), time.process_time()
    cleaner.feed("<think>")
    for _ in range(200_000):
        assert cleaner.feed("想一想" * 5) == ""
    assert cleaner.feed("</think>天") == "天"
    assert time.process_time() - began < 10


@given(st.lists(st.text("a想</>think", max_size=8), max_size=8), st.data())
def test_what_is_left_out_as_thoughts_is_told(pieces, data):
    thoughts: list[str] = []
    cleaner = Cleaner(thoughts.append)
    whole = f"<think>{''.join(pieces).replace('</think>', '')}</think>答"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=5)))
    shown = "".join(
        cleaner.feed(whole[begin:end])
        for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)
    )
    assert shown + cleaner.close() == "答"
    assert "".join(thoughts) == whole[len("<think>") : -len("</think>答")]


BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@pytest.mark.parametrize("control", BIDI)
def test_nothing_turns_the_text_around_it_about(control):
    assert clean(f"天{control}是蓝的", f"。{control}") == "天是蓝的。"


def test_right_to_left_text_stays():
    text = "\u0634\u0643\u0631\u0627 \u200f\u05ea\u05d5\u05d3\u05d4"
    assert clean(text) == text
