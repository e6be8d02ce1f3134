"""Rate limits on the links of one user."""

from __future__ import annotations

import re

import pytest
from twisted.internet.task import Clock

from tests.support.model_server import answer_at
from tests.support.story import Story
from wxgptd.pages import limits
from wxgptd.pages.limits import Allowance, LinkLimits

FEW = Allowance(3, 0.5)


@pytest.fixture
def clock():
    return Clock()


def test_requests_beyond_the_burst_are_limited_to_the_rate(clock):
    links = LinkLimits(clock)
    assert [links.admit("a", FEW) for _ in range(4)] == [0, 0, 0, 2]
    clock.advance(2.0)
    assert links.admit("a", FEW) == 0
    assert links.admit("a", FEW) == 2


def test_each_link_and_each_kind_of_request_has_its_own_allowance(clock):
    links = LinkLimits(clock)
    for _ in range(4):
        links.admit("a", FEW)
    assert links.admit("b", FEW) == 0
    assert links.admit("a", Allowance(1, 1)) == 0


def test_an_allowance_never_exceeds_its_burst(clock):
    links = LinkLimits(clock)
    links.admit("a", FEW)
    clock.advance(10_000)
    assert [bool(links.admit("a", FEW)) for _ in range(4)] == [False, False, False, True]


def test_the_number_of_remembered_links_is_limited(clock, monkeypatch):
    monkeypatch.setattr(limits, "MAX_OWNERS", 10)
    links = LinkLimits(clock)
    for number in range(100):
        links.admit(f"link {number}", FEW)
    assert len(links._buckets) == 10


# On the pages.


def history_of(story: Story, user: str = "alice") -> str:
    return re.search(r"/h/[\w-]+", story.say("/history", user)).group()


@pytest.fixture
def story():
    story = Story(answer_at(1, "好的。"))
    story.open()
    story.send("问题")
    story.advance(2)
    return story


@pytest.mark.parametrize(
    ("suffix", "allowance"),
    [("", limits.HISTORY), ("?q=好", limits.SEARCH), ("/download", limits.DOWNLOAD)],
)
def test_a_history_requested_too_often_says_when_to_retry(story, suffix, allowance):
    path = history_of(story) + suffix
    codes = [story.get(path).code for _ in range(int(allowance.burst) + 2)]
    assert codes == [200] * int(allowance.burst) + [429] * 2
    rejected = story.get(path)
    retry_after_s = int(rejected.headers.getRawHeaders("retry-after")[0])
    assert 1 <= retry_after_s <= 1 / allowance.per_s
    assert f"请 {retry_after_s} 秒后" in rejected.body
    assert rejected.phrase == b"Too Many Requests"
    story.advance(retry_after_s + 1, step=0.5)
    assert story.get(path).code == 200


def test_all_links_of_a_user_share_one_allowance(story):
    mine = [history_of(story) for _ in range(5)]
    story.open("bob")
    other = history_of(story, "bob")
    codes = [story.get(mine[number % 5]).code for number in range(int(limits.HISTORY.burst) + 2)]
    assert codes[-2:] == [429, 429]
    assert story.get(other).code == 200


def test_unknown_links_use_no_memory(story):
    for number in range(50):
        assert story.get(f"/h/{'A' * 20}{number:02}").code == 404
    assert story.service.conversation.pages.limits._buckets == {}
