"""Links are capabilities."""

from __future__ import annotations

from tests.support.builders import ALICE, BOB
from wxgptd.domain.model.values import DeliveryKey
from wxgptd.pages import links

KEY = b"k" * 32


def test_a_token_depends_on_key_user_and_delivery():
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


def test_the_hash_does_not_reveal_the_token():
    token = links.make_token(KEY, ALICE, DeliveryKey("q1"))
    assert token.encode() not in links.hash_token(token)
    assert len(links.hash_token(token)) == 32


def test_malformed_tokens_are_recognised():
    for text in ("", "a" * 21, "a" * 23, "a" * 21 + "/", "../../../../etc/passwd", "é" * 22):
        assert not links.well_formed(text)
    links.hash_token("é")


def test_links_are_built_from_the_public_url():
    assert links.answer_url("https://c.example/x/", "T") == "https://c.example/x/a/T"
    assert links.history_url("https://c.example", "T") == "https://c.example/h/T"
