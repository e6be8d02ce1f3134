"""Which messages a rule matches."""

from __future__ import annotations

import pytest

from wxgptd.domain.intake import rules
from wxgptd.domain.model.values import Ignorable, Picture, Subscribe, Text, Unsubscribe, Unsupported

TYPED = Text("请问 Price 多少")
SPOKEN = Text("请问 Price 多少", "voice")
LINK = Text("[链接]\nprice", "link")


@pytest.mark.parametrize(
    ("matcher", "content", "matches"),
    [
        (rules.keyword(["价格", "price"]), TYPED, True),
        (rules.keyword(["价格", "price"]), SPOKEN, True),
        (rules.keyword(["价格", "price"]), LINK, False),
        (rules.keyword(["价格"]), TYPED, False),
        (rules.keyword(["price"]), Picture("http://price"), False),
        (rules.exact([" Hi "]), Text(" hI\n"), True),
        (rules.exact(["hi"]), Text("hi there"), False),
        (rules.exact(["价格"]), Text("价格。"), True),
        (rules.exact(["价格"]), Text("价格！！ "), True),
        (rules.exact(["hi"]), Text("Hi!"), True),
        (rules.exact(["hi."]), Text("hi"), True),
        (rules.exact(["hi"]), Text("hi?"), False),
        (rules.exact(["hi"]), Text(".hi"), False),
        (rules.exact(["!"]), Text("!"), True),
        (rules.exact(["!"]), Text("hi"), False),
        (rules.exact(["hi"]), Unsubscribe(), False),
        (rules.event("CLICK", "PRICES"), Ignorable("click", "PRICES"), True),
        (rules.event("CLICK", "PRICES"), Ignorable("click", "prices"), False),
        (rules.event("click"), Ignorable("click", "PRICES"), True),
        (rules.event("click"), Ignorable("view", "PRICES"), False),
        (rules.event("subscribe", "7"), Subscribe("7"), True),
        (rules.event("subscribe", "7"), Subscribe("8"), False),
        (rules.event("unsubscribe"), Unsubscribe(), True),
        (rules.event("click"), Text("click"), False),
        (rules.kind("image"), Picture(""), True),
        (rules.kind("voice"), SPOKEN, True),
        (rules.kind("voice"), Unsupported("voice"), True),
        (rules.kind("text"), SPOKEN, False),
        (rules.kind("link"), LINK, True),
        (rules.kind("event"), Subscribe(), True),
        (rules.anything, Ignorable("x"), True),
    ],
)
def test_a_rule_matches_the_content_it_describes(matcher, content, matches):
    assert matcher(content) is matches


def rule(number: int, matcher, *, always: bool = False) -> rules.Rule:
    return rules.Rule(number, "", matcher, always, rules.TextReply(str(number)))


def test_the_first_of_several_matching_rules_of_equal_precedence_wins():
    configured = [
        rule(1, rules.keyword(["x"])),
        rule(2, rules.anything, always=True),
        rule(3, rules.anything),
        rule(4, rules.anything),
    ]
    assert rules.first(configured, Text("x"), always=False).number == 1
    assert rules.first(configured, Text("y"), always=False).number == 3
    assert rules.first(configured, Text("x"), always=True).number == 2
    assert rules.first(configured[:1], Text("y"), always=False) is None
