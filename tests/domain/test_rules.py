"""Which messages a rule takes."""

from __future__ import annotations

import pytest

from wxgptd.domain.intake import rules
from wxgptd.domain.model.values import Ignorable, Picture, Subscribe, Text, Unsubscribe, Unsupported

SAID = Text("请问 Price 多少")
HEARD = Text("请问 Price 多少", "voice")
LINK = Text("[链接]\nprice", "link")


@pytest.mark.parametrize(
    ("matcher", "content", "taken"),
    [
        (rules.keyword(["价格", "price"]), SAID, True),
        (rules.keyword(["价格", "price"]), HEARD, True),
        (rules.keyword(["价格", "price"]), LINK, False),
        (rules.keyword(["价格"]), SAID, False),
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
        (rules.kind("voice"), HEARD, True),
        (rules.kind("voice"), Unsupported("voice"), True),
        (rules.kind("text"), HEARD, False),
        (rules.kind("link"), LINK, True),
        (rules.kind("event"), Subscribe(), True),
        (rules.anything, Ignorable("x"), True),
    ],
)
def test_a_rule_takes_what_it_says(matcher, content, taken):
    assert matcher(content) is taken


def rule(number: int, matcher, *, always: bool = False) -> rules.Rule:
    return rules.Rule(number, "", matcher, always, rules.TextReply(str(number)))


def test_the_first_that_matches_wins_among_those_of_its_rank():
    known = [
        rule(1, rules.keyword(["x"])),
        rule(2, rules.anything, always=True),
        rule(3, rules.anything),
        rule(4, rules.anything),
    ]
    assert rules.first(known, Text("x"), always=False).number == 1
    assert rules.first(known, Text("y"), always=False).number == 3
    assert rules.first(known, Text("x"), always=True).number == 2
    assert rules.first(known[:1], Text("y"), always=False) is None
