"""Links are capabilities."""

from __future__ import annotations

from tests.support.builders import ALICE, BOB
from wxgptd.domain.model.values import DeliveryKey
from wxgptd.pages import links

KEY = b"k" * 32


def test_a_token_is_made_again_from_the_same_delivery_and_from_no_other():
    token = links.make_token(KEY, ALICE, DeliveryKey("q1"))
    assert links.well_formed(token)
    assert len(token) == 22
    assert token == links.make_token(KEY, ALICE, DeliveryKey("q1"))
    others = {
        links.make_token(KEY, BOB, DeliveryKey("q1")),
        links.make_token(KEY, ALICE, DeliveryKey("q2")),
        links.make_token(b"K" * 32, ALICE, DeliveryKey("q1")),
    }
    assert len(others | {token}) == 4


def test_the_log_learns_nothing_but_a_hash():
    token = links.make_token(KEY, ALICE, DeliveryKey("q1"))
    assert token.encode() not in links.hash_token(token)
    assert len(links.hash_token(token)) == 32


def test_what_is_no_token_is_told_apart():
    for text in ("", "a" * 21, "a" * 23, "a" * 21 + "/", "../../../../etc/passwd", "é" * 22):
        assert not links.well_formed(text)
    links.hash_token("é")


def test_addresses_are_built_on_the_public_one():
    assert links.answer_url("https://c.example/x/", "T") == "https://c.example/x/a/T"
    assert links.history_url("https://c.example", "T") == "https://c.example/h/T"
