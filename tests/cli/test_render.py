"""Printed text contains nothing that a terminal would interpret."""

from __future__ import annotations

import json

import pytest

from wxgpt import render

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
