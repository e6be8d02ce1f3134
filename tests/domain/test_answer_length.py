"""How much a model can write before a reply window closes."""

from __future__ import annotations

import pytest

from wxgptd.domain.model.reply_window import Open, time_left
from wxgptd.domain.model.values import DeliveryKey
from wxgptd.domain.text.answer_length import Pace, with_limit


def steady(first_s: float, chars_a_second: float, answers: int = 5) -> Pace:
    pace = Pace()
    for _ in range(answers):
        pace = pace.learned(first_s, first_s + 300 / chars_a_second, 300)
    return pace


def test_a_steady_model_may_fill_the_time_left():
    # 13.1 s at 30 characters a second, divided by OVERSHOOT.
    assert steady(1.0, 30.0).chars_in(14.6, 1_650) == 320


@pytest.mark.parametrize(
    ("pace", "left_s", "chars"),
    [
        (steady(1.0, 500.0), 14.6, 450),  # Limited by the room in a reply.
        (steady(14.0, 30.0), 14.6, 0),  # Still thinking when the window closes.
        (steady(20.0, 30.0), 14.6, 0),
        (steady(1.0, 30.0), 2.0, 0),  # Too few characters for an answer.
        (steady(1.0, 30.0), -3.0, 0),
        (Pace(), 14.6, 0),  # No samples.
        (steady(1.0, 30.0, answers=1), 14.6, 0),
        (steady(0.0, 1e9), 14.6, 450),
    ],
)
def test_the_answer_length_fits_the_time_left(pace, left_s, chars):
    assert pace.chars_in(left_s, 1_650) == chars


def test_an_unsteady_model_is_asked_for_less():
    pace = Pace()
    for number in range(20):
        first_s = 1.0 if number % 2 else 5.0
        pace = pace.learned(first_s, first_s + 10.0, 300)
    assert 4.5 < pace.first_s + pace.first_varies_s < 6.0
    assert pace.chars_in(14.6, 1_650) < steady(3.0, 30.0).chars_in(14.6, 1_650)


def test_the_pace_follows_recent_answers():
    pace = steady(1.0, 100.0, answers=50)
    for _ in range(15):
        pace = pace.learned(6.0, 6.0 + 300 / 20.0, 300)
    assert pace.first_s > 5.5
    assert 1 / pace.char_s < 24


@pytest.mark.parametrize(
    ("first_s", "took_s", "chars"), [(1.0, 2.0, 5), (3.0, 2.0, 300), (-1.0, 2.0, 300)]
)
def test_an_uninformative_answer_leaves_the_pace_unchanged(first_s, took_s, chars):
    assert Pace().learned(first_s, took_s, chars) == Pace()


def test_the_length_limit_is_appended_to_the_question():
    prompt = with_limit("为什么天是蓝的？", 390)
    assert prompt.startswith("为什么天是蓝的？\n\n")
    assert "390" in prompt
    assert "继续" in prompt


@pytest.mark.parametrize(
    ("attempts", "at", "may_wait", "left_s"),
    [(1, 0.0, True, 15.0), (1, 3.0, True, 12.0), (1, 0.0, False, 5.0), (2, 6.0, False, 4.0),
     (3, 11.0, False, 4.0), (3, 16.0, True, -1.0)],
)  # fmt: skip
def test_the_time_left_covers_all_remaining_attempts(attempts, at, may_wait, left_s):
    window = Open(first_at=0.0, attempts=attempts, question=DeliveryKey("q"))
    assert time_left(window, at, may_wait=may_wait) == left_s
