"""Writing on pages over HTTP: who may, what is refused, what is asked once."""

from __future__ import annotations

import re

import pytest

from tests.support.builders import ALICE
from tests.support.model_server import answer_at, streamed
from tests.support.pages import ANSWER, KEY, Browser, events, link_in, staged, story_with_link
from tests.support.story import Story, configuration
from wxgpt.wechat import messages
from wxgptd import config as cfg
from wxgptd.domain.decide import commands as c
from wxgptd.domain.model import events as e
from wxgptd.domain.model.values import Standing
from wxgptd.domain.replies.texts import Texts
from wxgptd.service import runtime_factory

TEXTS = Texts()


@pytest.fixture
def stage():
    """A story, a browser that may write on the page of its answer, and the page's path."""
    return staged()


def test_a_question_on_a_page_is_answered_on_its_own_page_in_the_same_session(stage):
    story, browser, path = stage
    response = browser.ask(path, "那海呢？")
    assert response.code == 200
    assert response.value["session"] == "same"
    story.advance(1)
    assert "海水吸收红光" in browser.get(response.value["page"]).body
    texts = [text for role, text in story.model.messages() if role == "user"]
    assert texts == ["为什么？", "那海呢？"], "the context is kept"


def test_the_chat_continues_with_what_was_asked_on_the_page(stage):
    story, browser, path = stage
    browser.ask(path, "那海呢？")
    story.advance(1)
    story.send("那湖呢？")
    story.advance(1)
    texts = [text for role, text in story.model.messages() if role == "user"]
    assert texts == ["为什么？", "那海呢？", "那湖呢？"]


def test_the_page_shows_later_turns_only_to_the_browser_that_may_write(stage):
    story, browser, path = stage
    browser.ask(path, "那海呢？")
    story.advance(1)
    assert "海水吸收红光" in browser.get(path).body
    shared = story.get(path).body
    assert ANSWER in shared
    assert "海水" not in shared


def test_a_double_tap_or_a_reload_asks_once(stage):
    story, browser, path = stage
    first, second = browser.ask(path, "那海呢？"), browser.ask(path, "那海呢？")
    story.advance(1)
    later = browser.ask(path, "那海呢？")
    assert first.value["token"] == second.value["token"] == later.value["token"]
    assert len(story.model.calls) == 2
    assert browser.ask(path, "另一个问题", KEY).code == 409, "the key belongs to another question"


def test_a_lost_response_is_found_again_after_a_crash(stage):
    story, browser, path = stage
    asked = browser.ask(path, "那海呢？")
    story.crash()
    story.restart()
    again = browser.ask(path, "那海呢？")
    assert again.value["token"] == asked.value["token"]
    story.advance(2)
    assert "海水吸收红光" in browser.get(path).body


def test_a_secret_is_spent_once(stage):
    story, browser, path = stage
    link = link_in(story.say("/history"))
    assert Browser(story).claim(link).code == 200
    assert Browser(story).claim(link).code == 401
    assert browser.ask(path, "那海呢？").code == 200, "the first browser keeps its right"


def test_a_browser_keeps_its_cookie_when_it_opens_another_link(stage):
    story, browser, _ = stage
    before = dict(browser.cookies)
    link = link_in(story.say("/history"))
    assert browser.claim(link).code == 200
    assert browser.cookies == before
    assert Browser(story).claim(link).code == 401, "it was spent all the same"


def test_the_cookie_is_strict(stage):
    story, _, _ = stage
    response = Browser(story).claim(link_in(story.say("/history")))
    (header,) = response.headers.getRawHeaders("set-cookie")
    assert header.startswith("__Host-wxgptd-")
    assert {"Path=/", "Secure", "HttpOnly", "SameSite=lax"} <= set(header.split("; "))


def test_no_get_has_an_effect(stage):
    story, browser, path = stage
    before = len(story.store.events())
    for kind in ("claim", "ask", "stop", "retry", "feedback", "seen"):
        response = story.get(f"{path}/{kind}", cookie=browser.cookie)
        assert response.code == 405
        assert response.headers.getRawHeaders("allow") == ["POST"]
    assert len(story.store.events()) == before


ATTACKS = {
    "a shared link without its secret": (lambda b: b.cookies.clear(), 401),
    "another cookie": (lambda b: b.cookies.update(dict.fromkeys(b.cookies, "guessed")), 401),
    "no form token (a request forged by another site)": (lambda b: b.forms.clear(), 403),
    "the form token of another page": (
        lambda b: b.forms.update(dict.fromkeys(b.forms, "A" * 22)),
        403,
    ),
}


@pytest.mark.parametrize(("attack", "status"), ATTACKS.values(), ids=ATTACKS)
@pytest.mark.parametrize("kind", ["ask", "stop", "retry", "feedback", "seen"])
def test_an_attacker_cannot_write(stage, attack, status, kind):
    story, browser, path = stage
    attack(browser)
    before = len(story.store.events())
    response = browser.post(path, kind, {"question": "那海呢？", "rating": "up"})
    assert response.code == status
    assert response.value["error"]
    assert len(story.store.events()) == before


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "",
        "https://chat.example.com:8443",
        "http://chat.example.com",
    ],
)
@pytest.mark.parametrize("kind", ["claim", "ask", "stop"])
def test_another_origin_cannot_write(stage, origin, kind):
    story, browser, path = stage
    before = len(story.store.events())
    response = browser.post(path, kind, {"question": "那海呢？", "secret": "x"}, origin=origin)
    assert response.code == 403
    assert len(story.store.events()) == before


def test_a_form_of_another_site_cannot_send_json(stage):
    _, browser, path = stage
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        assert browser.post(path, "ask", {"question": "？？"}, content_type=kind).code == 400


BODIES = {
    "no object": [1],
    "no question": {},
    "another type": {"question": 7},
    "only spaces": {"question": "  "},
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_malformed_question_is_refused(stage, body):
    _, browser, path = stage
    response = browser.story.post_json(
        f"{path}/ask", body, cookie=browser.cookie, x_form_token=browser.forms[path],
        idempotency_key=KEY,
    )  # fmt: skip
    assert response.code == 400


@pytest.mark.parametrize("key", ["", "short", "x" * 129, "with space"])
def test_a_question_needs_an_idempotency_key(stage, key):
    _, browser, path = stage
    assert browser.ask(path, "那海呢？", key).code == 400


@pytest.mark.parametrize("secret", ["", "x", "A" * 22, "é" * 22])
def test_a_false_secret_is_refused(stage, secret):
    story, _, path = stage
    response = Browser(story).claim(f"{path}#{secret}")
    assert response.code == 401
    assert response.headers.getRawHeaders("set-cookie") is None


def test_a_secret_belongs_to_its_link(stage):
    story, _, path = stage
    secret = link_in(story.say("/history")).partition("#")[2]
    assert Browser(story).claim(f"{path}#{secret}").code == 401


def test_a_secret_is_valid_for_as_long_as_its_user_may_ask():
    story, link = story_with_link(pages=cfg.Pages(ask_for=cfg.Duration(600.0)))
    story.advance(601)
    assert Browser(story).claim(link).code == 401


def test_an_unknown_link_is_gone():
    story, _ = story_with_link()
    assert Browser(story).claim(f"/a/{'A' * 22}#{'A' * 22}").code == 410
    assert Browser(story).ask(f"/a/{'A' * 22}", "那海呢？").code == 410


def test_the_right_to_write_ends_after_the_last_sign_of_life(stage):
    story, browser, path = stage
    story.advance(86_400)
    response = browser.ask(path, "那海呢？")
    assert response.code == 410
    assert response.value["error"] == TEXTS.page_ask_in_chat


@pytest.mark.parametrize("words", ["/clear", "unfollowing"])
def test_it_ends_with_the_link(stage, words):
    story, browser, path = stage
    if words == "/clear":
        story.say("/clear")
    else:
        story.deliver(messages.event_message("unsubscribe"))
    assert browser.ask(path, "那海呢？").code == 410


def test_the_operator_can_turn_asking_off():
    story, link = story_with_link(pages=cfg.Pages(ask=False))
    browser = Browser(story)
    path = link.partition("#")[0]
    for response in (
        browser.claim(link),
        browser.ask(path, "那海呢？"),
        browser.post(path, "share"),
        browser.post(path, "feedback", {"rating": "up"}),
    ):
        assert response.code == 403
        assert response.value["error"] == TEXTS.page_ask_off
    body = browser.get(path).body
    assert "<textarea" not in body
    assert "ask.js" in body, "which takes the secret out of the address"


def test_the_limits_of_the_chat_apply():
    story, link = story_with_link(limits=cfg.Limits(messages_per_minute=3))
    browser, path = Browser(story), link.partition("#")[0]
    browser.claim(link)
    assert browser.ask(path, "那海呢？").code == 200, "the third message within a minute"
    response = browser.ask(path, "那湖呢？", "another-key-123")
    assert response.code == 409
    assert "秒" in response.value["error"]


def test_a_question_on_the_page_of_a_stopped_session_opens_a_new_one(stage):
    story, browser, path = stage
    story.say("/stop")
    assert browser.ask(path, "那海呢？").value["session"] == "new"


def test_a_running_answer_can_be_stopped_and_keeps_what_is_written(stage):
    story, browser, path = stage
    story.model.respond = lambda _: streamed(5, ["第一段。\n\n", "第二段。\n\n", "第三段。"])
    page = browser.ask(path, "那海呢？").value["page"]
    story.advance(4)
    assert browser.post(page, "stop").code == 200
    body = browser.get(page).body
    assert "第一段" in body
    assert "第三段" not in body
    assert browser.post(page, "stop").code == 200, "stopping twice is no error"


def test_an_answer_can_be_asked_for_again(stage):
    story, browser, path = stage
    response = browser.post(path, "retry")
    assert response.value["question"] == "为什么？"
    story.advance(1)
    assert "海水吸收红光" in browser.get(response.value["page"]).body
    assert events(story, e.QuestionAsked)[-1].retries == events(story, e.QuestionAsked)[0].delivery


def test_an_answer_can_be_rated(stage):
    story, browser, path = stage
    assert browser.post(path, "feedback", {"rating": "down", "words": " 太短 "}).code == 200
    (rated,) = events(story, e.AnswerRated)
    assert (rated.rating, rated.words) == ("down", "太短")
    assert browser.post(path, "feedback", {"rating": "great"}).code == 400


def test_reading_is_recorded_once_a_minute(stage):
    story, browser, path = stage
    for _ in range(4):
        story.advance(31)
        assert browser.post(path, "seen").code == 200
    assert len(events(story, e.ReaderSeen)) == 2


def test_the_history_page_can_be_claimed_and_asked_on(stage):
    story, _, _ = stage
    link = link_in(story.say("/history"))
    browser = Browser(story)
    browser.claim(link)
    response = browser.ask(link.partition("#")[0], "那海呢？")
    assert response.code == 200
    assert response.value["session"] == "same"


def test_a_page_says_who_answered_and_when(stage):
    _, browser, path = stage
    body = browser.get(path).body
    assert re.search(r'<p class="about">AI 助手 · \d{4}-\d\d-\d\d \d\d:\d\d</p>', body)
    assert "<title>为什么？</title>" in body


def test_a_page_shows_the_model_if_the_operator_wants_that():
    story, link = story_with_link(pages=cfg.Pages(show_model=True))
    assert re.search(r'class="about">AI 助手 · \S+ · ', story.get(link.partition("#")[0]).body)


def test_each_link_in_the_chat_carries_a_fresh_secret():
    story, link = story_with_link()
    story.advance(1)
    another = link_in(story.say("/history"))
    assert link.partition("#")[2] != another.partition("#")[2]


def test_neither_the_secret_nor_the_cookie_is_in_the_log(stage):
    story, browser, _ = stage
    (cookie,) = browser.cookies.values()
    assert cookie not in repr(story.store.events())


def test_a_claim_whose_response_was_lost_can_be_repeated_by_the_same_browser_only():
    story, link = story_with_link()
    lost, again, thief = Browser(story), Browser(story), Browser(story)
    assert lost.claim(link, "n" * 32).code == 200
    assert thief.claim(link, "m" * 32).code == 401
    assert again.claim(link, "n" * 32).code == 200
    assert again.cookies == lost.cookies
    assert again.ask(link.partition("#")[0], "那海呢？").code == 200


def test_asking_again_in_another_session_is_a_question_of_its_own(stage):
    story, browser, path = stage
    story.say("/stop")
    response = browser.post(path, "retry")
    assert response.value["session"] == "new"
    story.advance(1)
    assert "海水吸收红光" in browser.get(response.value["page"]).body
    story.send("重试")
    story.advance(1)
    assert len(story.model.calls) == 3


def test_readers_of_a_shared_link_cannot_use_up_their_owner_s_allowance(stage):
    story, browser, path = stage
    stranger = Browser(story)
    for _ in range(100):
        assert stranger.post(path, "seen").code == 401
        assert stranger.claim(f"{path}#{'A' * 22}").code == 401
    assert browser.ask(path, "那海呢？").code == 200


def test_too_many_requests_of_a_writer_are_refused(stage):
    _, browser, path = stage
    codes = [browser.post(path, "seen").code for _ in range(70)]
    assert codes[0] == 200
    assert codes[-1] == 409


@pytest.mark.parametrize("body", [b"[" * 990, b"{" * 40_000, b"\xff", b"", b'{"question": 1e999}'])
def test_hostile_json_is_refused(stage, body):
    story, browser, path = stage
    headers = {
        "content_type": "application/json",
        "origin": "https://chat.example.com",
        "cookie": browser.cookie,
        "x_form_token": browser.forms[path],
        "idempotency_key": KEY,
    }
    assert story._request("POST", f"{path}/ask", headers, body).code == 400


def test_nothing_is_recorded_on_a_full_disk_but_a_stop(stage):
    story, browser, path = stage
    story.store.is_full = True
    before = len(story.store.events())
    for kind, body in (("feedback", {"rating": "up"}), ("seen", {}), ("ask", {"question": "？？"})):
        assert browser.post(path, kind, body).code == 409
    assert len(story.store.events()) == before
    assert browser.post(path, "stop").code == 200


def test_a_block_ends_the_right_to_write_for_good(stage):
    story, browser, path = stage
    blocked = e.StandingChanged(
        at=story.wall(), standing=Standing.BLOCKED, until=story.wall() + 60.0
    )
    story.service.state.journal.record(ALICE, c.RecordFact(blocked))
    assert browser.ask(path, "那海呢？").code == 401
    story.advance(61)
    assert browser.ask(path, "那海呢？").code == 401


def test_an_account_that_is_no_longer_configured_takes_no_questions(stage):
    story, browser, path = stage
    story.service._rooms.base.settings.accounts = {}
    assert browser.ask(path, "那海呢？").code == 403


def test_control_characters_are_dropped(stage):
    _, browser, path = stage
    assert browser.ask(path, "a\0b\x1bc\nd").value["question"] == "abc\nd"


@pytest.mark.parametrize("kind", ["stop", "feedback"])
def test_a_history_has_no_answer_to_act_on(stage, kind):
    story, browser, _ = stage
    link = link_in(story.say("/history"))
    browser.claim(link)
    response = browser.post(link.partition("#")[0], kind, {"rating": "up"})
    assert response.code == 400


def test_the_stored_rating_is_on_the_page(stage):
    _, browser, path = stage
    browser.post(path, "feedback", {"rating": "up"})
    assert 'data-rating="up"' in browser.get(path).body


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://chat.example.com:443/x", "https://chat.example.com"),
        ("http://Chat.Example.com:80", "http://chat.example.com"),
        ("http://127.0.0.1:9005", "http://127.0.0.1:9005"),
        ("http://[::1]:9005", "http://[::1]:9005"),
        ("https://聊天.example", "https://xn--rss932g.example"),
    ],
)
def test_the_origin_is_what_browsers_send(url, origin):
    assert runtime_factory.origin_of(url) == origin


def test_a_path_without_a_token_does_not_exist():
    story = Story(answer_at(1, ANSWER), configuration())
    for path in ("/a", "/h", "/a/", "/h/"):
        assert story.get(path).code == 404
