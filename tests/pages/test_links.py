"""Links are capabilities."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.support.builders import ALICE, BOB
from wxgptd.domain.model.values import DeliveryKey
from wxgptd.pages import links

KEY = b"k" * 32


def test_a_token_depends_on_key_user_and_delivery():
    token = links.make_token(KEY, 1, ALICE, DeliveryKey("q1"))
    assert links.well_formed(token)
    assert len(token) == 22
    assert token == links.make_token(KEY, 1, ALICE, DeliveryKey("q1"))
    others = {
        links.make_token(KEY, 1, BOB, DeliveryKey("q1")),
        links.make_token(KEY, 1, ALICE, DeliveryKey("q2")),
        links.make_token(b"K" * 32, 1, ALICE, DeliveryKey("q1")),
    }
    assert len(others | {token}) == 4


@given(st.integers(0, 2**64 - 1), st.text())
def test_a_token_leads_to_the_tag_of_its_user(tag, delivery):
    token = links.make_token(KEY, tag, ALICE, DeliveryKey(delivery))
    assert links.well_formed(token)
    assert links.tag_in(KEY, token) == tag
    assert links.tag_in(b"K" * 32, token) != tag
    earlier = links.make_earlier_token(KEY, ALICE, DeliveryKey(delivery))
    assert links.tag_in(KEY, earlier) != tag


def test_a_token_shows_no_part_of_another_of_the_same_user():
    tokens = [links.make_token(KEY, 7, ALICE, DeliveryKey(str(n))) for n in range(1_000)]
    for halves in ({token[:10] for token in tokens}, {token[11:] for token in tokens}):
        assert len(halves) == 1_000


def test_the_hash_does_not_reveal_the_token():
    token = links.make_token(KEY, 1, ALICE, DeliveryKey("q1"))
    assert token.encode() not in links.hash_token(token)
    assert len(links.hash_token(token)) == 32


def test_malformed_tokens_are_recognised():
    for text in ("", "a" * 21, "a" * 23, "a" * 21 + "/", "../../../../etc/passwd", "é" * 22):
        assert not links.well_formed(text)
    links.hash_token("é")


def test_links_are_built_from_the_public_url():
    assert links.answer_url("https://c.example/x/", "T") == "https://c.example/x/a/T"
    assert links.history_url("https://c.example", "T") == "https://c.example/h/T"
