"""The operator gives users names; they are encrypted, found, and erased with the user."""

from __future__ import annotations

import pytest

from tests.support.model_server import answer_at
from tests.support.story import Story


@pytest.fixture
def story():
    story = Story(answer_at(1, "好的。"))
    story.open()
    story.open(user="bob")
    return story


def users_of(story):
    return story.service.admin.children[b"users"]._control.users


def give(story, openid, name):
    results = []
    users_of(story).give_name("main", openid, name).addCallback(results.append)
    story.advance(0.1)
    return results


def test_a_user_gets_a_name(story):
    assert give(story, "alice", "张三") == [True]
    assert users_of(story).names() == {"main/alice": "张三"}
    assert {user.name for user in users_of(story).newest(10, "")} == {"", "张三"}
    assert give(story, "nobody", "李四") == [False]


def test_a_name_is_changed_and_taken_away(story):
    give(story, "alice", "张三")
    give(story, "alice", "三哥")
    assert users_of(story).names() == {"main/alice": "三哥"}
    give(story, "alice", "")
    assert users_of(story).names() == {}


def test_users_are_found_by_the_beginning_of_a_name(story):
    give(story, "alice", "张三")
    found = {user.user for user in users_of(story).newest(10, "", "张")}
    assert found == {"alice"}
    assert {user.user for user in users_of(story).newest(10, "", "bo")} == {"bob"}
    assert users_of(story).newest(10, "", "zz") == []


def test_a_name_survives_a_restart_and_is_erased_with_its_user(story):
    give(story, "alice", "张三")
    story.restart()
    assert users_of(story).names() == {"main/alice": "张三"}
    users_of(story).forget("main", "alice")
    story.advance(1)
    assert users_of(story).names() == {}
