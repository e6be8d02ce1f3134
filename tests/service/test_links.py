"""Links lead to their users: new ones by themselves, those of earlier versions by an index."""

from __future__ import annotations

import re

import pytest

from tests.support.model_server import answer_at
from tests.support.story import LINK_KEY, Story, configuration
from wxgptd import config as cfg
from wxgptd.domain.model.values import User
from wxgptd.pages import links

ALICE = User("main", "alice")
SENTENCE = "因为空气分子对短波长的光散射得更强。"
ANSWER = SENTENCE * 60


def path_in(reply: str) -> str:
    return re.search(r"/[ah]/[A-Za-z0-9_-]+", reply).group()


@pytest.fixture(params=[1, 1_000], ids=["snapshots", "no snapshot"])
def upgraded(request, monkeypatch):
    """A story in which an earlier version issued links, and their paths."""
    with monkeypatch.context() as earlier:
        earlier.setattr(
            links,
            "make_token",
            lambda key, tag, user, delivery: links.make_earlier_token(key, user, delivery),
        )
        story = Story(
            answer_at(20, ANSWER), configuration(log=cfg.Log(snapshot_every=request.param))
        )
        story.store.located_since = float("inf")
        story.open()
        sent = story.send("为什么？")
        story.advance(30)
        paths = path_in(sent.reply), path_in(story.say("/history"))
        story.advance(20)
    story.store.located_since = story.wall()
    story.restart()
    return story, paths


def test_links_of_an_earlier_version_open_after_an_upgrade(upgraded):
    story, paths = upgraded
    for path in paths:
        assert SENTENCE in story.get(path).body
    story.restart()
    for path in paths:
        assert SENTENCE in story.get(path).body


def test_a_question_from_before_an_upgrade_keeps_its_link(upgraded):
    story, (page, _) = upgraded
    assert path_in(story.say("继续")) == page


def test_new_links_need_no_index(upgraded):
    story, _ = upgraded
    sent = story.send("为什么呢？")
    story.advance(30)
    path = path_in(sent.reply)
    story.service.state.earlier_links._users.clear()
    assert SENTENCE in story.get(path).body
    story.restart()
    story.service.state.earlier_links._users.clear()
    assert SENTENCE in story.get(path).body


def test_a_link_that_was_never_issued_leads_nowhere(upgraded):
    story, _ = upgraded
    store = story.store
    tag = store.tag(ALICE)
    for token in ("A" * 22, links.make_token(b"x" * 32, tag, ALICE, "q")):
        assert story.get(f"/a/{token}").code == 404
    forged = links.make_token(LINK_KEY, tag, ALICE, "a message that never came")
    assert story.get(f"/a/{forged}").code == 404
    assert story.get(f"/h/{forged}").code == 404
