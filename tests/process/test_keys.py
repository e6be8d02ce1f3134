"""The key that links are made with."""

from __future__ import annotations

from tests.support.injuries import conversation, write
from wxgptd.process.keys import link_key


def test_it_is_made_once(tmp_path, logged):
    assert link_key(tmp_path) == link_key(tmp_path)
    assert logged() == []


def test_one_that_is_gone_is_missed_by_those_whose_links_are_dead(tmp_path, logged):
    write(tmp_path / "log", conversation(1))
    former = link_key(tmp_path)
    (tmp_path / "keys" / "links").unlink()
    said = len(logged())
    assert link_key(tmp_path) != former
    (line,) = logged()[said:]
    assert "keys/links is missing" in line
    assert "links sent so far are dead" in line
