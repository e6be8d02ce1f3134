"""What is printed does nothing to a terminal."""

from __future__ import annotations

import json

import pytest

from wxgpt import render

ACTED_ON = [
    *map(chr, range(0x7F, 0xA0)),
    *"\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",
]


@pytest.mark.parametrize("char", ACTED_ON, ids=lambda char: f"U+{ord(char):04X}")
def test_json_has_nothing_in_it_that_a_terminal_acts_on(char):
    said = {"reply": f"天{char}是蓝的"}
    printed = render.dumps(said)
    assert char not in printed
    assert "天" in printed
    assert json.loads(printed) == said
