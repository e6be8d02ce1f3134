"""What a line of chat means."""

from __future__ import annotations

import pytest

from tests.support.builders import ASSISTANTS
from wxgptd.domain import slash


def parse(text: str) -> slash.Line:
    return slash.parse(text, ASSISTANTS)


@pytest.mark.parametrize("text", ["/chatgpt", "/ChatGPT", "  /CHATGPT\n", "／chatgpt"])
def test_an_opening_command_is_known_in_any_case_and_with_a_full_width_slash(text):
    assert parse(text) == slash.Open(ASSISTANTS["/chatgpt"], "")


@pytest.mark.parametrize("text", ["/claude 你好", "/CLAUDE\n你好 ", "/claude　你好"])
def test_words_behind_an_opening_command_are_its_first_question(text):
    assert parse(text) == slash.Open(ASSISTANTS["/claude"], "你好")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("/stop", slash.Stop()),
        ("／STOP ", slash.Stop()),
        ("/Clear", slash.Clear()),
        ("/history", slash.History()),
        ("/help", slash.Help()),
        ("继续", slash.Continue()),
        ("/more", slash.Continue()),
        ("Continue", slash.Continue()),
    ],
)
def test_each_command_is_known(text, line):
    assert parse(text) == line


@pytest.mark.parametrize(
    "text", ["/stop it", "/etc/hosts 是什么", "/", "", "请继续", "/chatgptx", "继续讲"]
)
def test_anything_else_is_something_to_say(text):
    assert parse(text) == slash.Say()
