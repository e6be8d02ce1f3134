"""Outbound requests to hosts that IDNA rejects; test_pictures.py covers pictures."""

from __future__ import annotations

import pytest

from tests.service.test_rules import forward_all, make_story
from tests.support.model_server import answer_at
from tests.support.story import Story, configuration
from tests.support.wechat_api import WeChatApi
from wxgptd import config as cfg

HOSTS = [
    ("http://[::1]:11434", "::1"),
    ("http://one_api:3000", "one_api"),
    ("http://ends-", "ends-"),
]
APP_ID, SECRET = "wx0123456789abcdef", "app-secret"


@pytest.mark.parametrize(("address", "host"), HOSTS)
def test_a_model_on_an_unusual_host_answers(address, host):
    assistant = cfg.Assistant(base_url=f"{address}/v1", model="m")
    story = Story(answer_at(0.1, "好的。"), configuration(assistant={"chatgpt": assistant}))
    story.outside.hosts[host] = story.model
    story.open()
    sent = story.send("问")
    story.advance(1)
    assert sent.reply == "好的。"


@pytest.mark.parametrize(("address", "host"), HOSTS)
def test_a_message_is_forwarded_to_an_unusual_host(address, host):
    story = make_story(forward_all(f"{address}/wechat"))
    story.outside.hosts[host] = story.backend
    assert story.say("在吗") == "old"
    assert len(story.backend.requests) == 1


@pytest.mark.parametrize(("address", "host"), HOSTS)
def test_a_late_answer_is_pushed_via_an_unusual_host(address, host):
    account = cfg.Account(
        token=cfg.Secret("storytoken"), app_id=APP_ID, app_secret=cfg.Secret(SECRET)
    )
    server = cfg.Server(public_url="https://chat.example.com", wechat_api=address)
    config = configuration(account={"main": account}, server=server)
    story = Story(answer_at(20, "因为散射。"), config)
    story.outside.hosts[host] = api = WeChatApi(APP_ID, SECRET, story.world_clock.seconds)
    story.open()
    story.send("为什么？")
    story.advance(26)
    assert api.sent == [("alice", "因为散射。")]
