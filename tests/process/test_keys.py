"""The key that page links are made with."""

from __future__ import annotations

from tests.support.injuries import conversation, write
from wxgptd.process.keys import link_key


def test_the_link_key_is_created_once(tmp_path, logged):
    assert link_key(tmp_path) == link_key(tmp_path)
    assert logged() == []


def test_a_missing_link_key_is_replaced_and_an_error_is_logged(tmp_path, logged):
    write(tmp_path / "log", conversation(1))
    former = link_key(tmp_path)
    (tmp_path / "keys" / "links").unlink()
    before = len(logged())
    assert link_key(tmp_path) != former
    (line,) = logged()[before:]
    assert "keys/links is missing" in line
    assert "links sent so far are dead" in line
