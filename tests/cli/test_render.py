"""Printed text contains nothing that a terminal would interpret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wxgpt import render
from wxgptd.config import values

CONTROL_CHARACTERS = [
    *map(chr, range(0x7F, 0xA0)),
    *"\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",
]


@pytest.mark.parametrize("char", CONTROL_CHARACTERS, ids=lambda char: f"U+{ord(char):04X}")
def test_json_contains_no_terminal_control_characters(char):
    value = {"reply": f"天{char}是蓝的"}
    printed = render.dumps(value)
    assert char not in printed
    assert "天" in printed
    assert json.loads(printed) == value


@pytest.mark.parametrize("seconds", [0.0, 0.4, 1.0, 1.5, 30.0, 90.0, 300.0, 7_200.0, 604_800.0,
                                     1_234_567.0, 100_000.5, 0.001, 1e-6])  # fmt: skip
def test_a_time_is_shown_as_it_can_be_written(seconds):
    written = render.duration(seconds)
    assert values.converter({}, Path("/")).structure(written, values.Duration) == pytest.approx(
        seconds
    ), written


def test_a_time_in_words_uses_the_largest_whole_unit():
    assert render.duration_in_words(7_200) == "2 hours"
    assert render.duration_in_words(60) == "1 minute"
    assert render.duration_in_words(90) == "90 s"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(63_864, "18 hours"), (90, "90 s"), (125, "2 minutes"), (200_000, "2 days"), (1, "1 s")],
)
def test_a_time_is_rounded_in_words(seconds, words):
    assert render.about(seconds) == words
