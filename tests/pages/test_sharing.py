"""Links to shared turns: they show exactly the chosen turns, and can be withdrawn."""

from __future__ import annotations

import re

import pytest

from tests.support.builders import ALICE
from tests.support.model_server import answer_at
from tests.support.pages import ANSWER, Browser, events, link_in, staged, story_with_link
from tests.support.story import Story, configuration
from wxgpt.wechat import messages
from wxgptd import config as cfg
from wxgptd.domain.decide import commands as c
from wxgptd.domain.model import events as e
from wxgptd.domain.model.page_writing import MAX_SHARES
from wxgptd.domain.replies.texts import Texts

TEXTS = Texts()


@pytest.fixture
def stage():
    """A story with two turns, a browser that may write, and the page's path."""
    story, browser, path = staged()
    browser.ask(path, "那海呢？", "another-key-1")
    story.advance(1)
    return story, browser, path


def token_of(path: str) -> str:
    return path.rpartition("/")[2]


def turns_of(browser: Browser, path: str) -> list[str]:
    body = browser.get(path).body
    return re.findall(r'data-page="/a/([\w-]{22})"', body)


def address_of(shared) -> str:
    return shared.value["url"].removeprefix("https://chat.example.com")


def history_of(story: Story, browser: Browser) -> tuple[str, str]:
    """Let the browser write on the history's page; return its path and the newest session."""
    history = link_in(story.say("/history"))
    assert browser.claim(history).code == 200
    base = history.partition("#")[0]
    return base, re.findall(r'data-session="([^"]+)"', browser.get(base).body)[0]


def test_a_shared_link_shows_exactly_the_chosen_turns_and_nothing_to_write_with(stage):
    story, browser, path = stage
    first, second = turns_of(browser, path)
    shared = browser.post(path, "share", {"turns": [second]})
    assert shared.code == 200
    body = story.get(address_of(shared)).body
    assert "海水吸收红光" in body
    assert "那海呢" in body
    assert ANSWER not in body
    assert first not in body
    assert second not in body, "its own link would still work after a withdrawal"
    assert 'id="ask"' not in body
    assert "data-form" not in body


def test_without_a_choice_the_page_s_own_answer_is_shared(stage):
    story, browser, path = stage
    body = story.get(address_of(browser.post(path, "share"))).body
    assert ANSWER in body
    assert "海水" not in body


def test_a_withdrawn_link_is_gone_at_once_and_the_others_stay(stage):
    story, browser, path = stage
    one = browser.post(path, "share", key="key-of-one")
    other = browser.post(path, "share", key="key-of-other")
    assert browser.post(path, "withdraw", {"share": one.value["token"]}).code == 200
    assert story.get(address_of(one)).code == 404
    assert story.get(address_of(other)).code == 200
    assert browser.post(path, "withdraw", {"share": one.value["token"]}).code == 200, "a repetition"


def test_sharing_twice_with_one_key_makes_one_link(stage):
    story, browser, path = stage
    one, again = browser.post(path, "share"), browser.post(path, "share")
    assert one.value == again.value
    assert len(events(story, e.TurnsShared)) == 1


def test_a_withdrawn_link_is_not_revived_by_a_repeated_request(stage):
    story, browser, path = stage
    shared = browser.post(path, "share")
    browser.post(path, "withdraw", {"share": shared.value["token"]})
    again = browser.post(path, "share")
    assert again.code == 409
    assert again.value["error"] == TEXTS.page_withdrawn
    assert story.get(address_of(shared)).code == 404
    story.restart()
    assert browser.post(path, "share").code == 409


def test_one_key_does_not_stand_for_two_choices(stage):
    _story, browser, path = stage
    first, second = turns_of(browser, path)
    assert browser.post(path, "share", {"turns": [first]}).code == 200
    assert browser.post(path, "share", {"turns": [second]}).code == 409


def test_links_that_show_nothing_any_longer_make_room(stage):
    story, browser, path = stage
    for number in range(MAX_SHARES):
        assert browser.post(path, "share", key=f"key-{number:09}").code == 200
    story.say("/clear")
    story.send("新的问题")
    story.advance(17)
    history = link_in(story.say("/history"))
    assert browser.claim(history).code == 200
    base = history.partition("#")[0]
    session = re.findall(r'data-session="([^"]+)"', browser.get(base).body)[0]
    assert browser.post(base, "share", {"session": session}, key="one-more-key").code == 200


def test_a_shared_link_does_not_let_its_readers_write_or_see_more(stage):
    story, browser, path = stage
    shared = address_of(browser.post(path, "share"))
    reader = Browser(story)
    body = reader.get(shared).body
    assert TEXTS.page_ask_placeholder not in body
    for kind in ("claim", "ask", "share", "withdraw", "delete", "events", "poll", "markdown"):
        assert reader.post(shared, kind, {"secret": "x" * 22, "question": "？"}).code in (404, 405)
        assert story.get(f"{shared}/{kind}").code == 404
    token = token_of(shared)
    for kind in ("a", "h"):
        assert story.get(f"/{kind}/{token}").code == 404
        assert reader.post(f"/{kind}/{token}", "ask", {"question": "？"}).code in (401, 410)


def test_only_who_may_write_can_share_or_withdraw(stage):
    story, browser, path = stage
    shared = browser.post(path, "share")
    reader = Browser(story)
    assert reader.post(path, "share").code == 401
    assert reader.post(path, "withdraw", {"share": shared.value["token"]}).code == 401
    assert browser.post(path, "share", x_form_token="x").code == 403
    assert browser.post(path, "share", origin="https://evil.example").code == 403
    assert story.get(address_of(shared)).code == 200


def test_another_user_s_answer_cannot_be_shared(stage):
    story, browser, path = stage
    story.model.respond = lambda _: answer_at(16, "鲍勃的回答。")
    story.open("bob")
    sent = story.send("鲍勃的问题", "bob")
    story.advance(17)
    bobs = token_of(link_in(sent.reply).partition("#")[0])
    assert browser.post(path, "share", {"turns": [bobs]}).code == 410
    assert not events(story, e.TurnsShared)


@pytest.mark.parametrize(
    "body", [{"turns": "x"}, {"turns": [1]}, {"turns": ["x"]}, {"turns": None}]
)
def test_a_malformed_choice_is_refused(stage, body):
    _, browser, path = stage
    assert browser.post(path, "share", body).code == 400


def test_an_answer_that_is_being_written_cannot_be_shared():
    story, link = story_with_link(answer_at(60, ANSWER))
    browser = Browser(story)
    browser.claim(link)
    response = browser.post(link.partition("#")[0], "share")
    assert response.code == 409
    assert "写完" in response.value["error"]


def test_a_user_has_a_limited_number_of_links(stage):
    story, browser, path = stage
    for number in range(MAX_SHARES):
        assert browser.post(path, "share", key=f"key-{number:09}").code == 200
        story.advance(1)
    refused = browser.post(path, "share", key="one-too-many")
    assert refused.code == 409
    assert str(MAX_SHARES) in refused.value["error"]


def test_the_links_are_listed_only_for_their_user(stage):
    story, browser, path = stage
    shared = browser.post(path, "share")
    assert shared.value["url"] in browser.get(path).body
    assert token_of(shared.value["url"]) not in story.get(path).body


def test_clearing_the_session_or_leaving_ends_the_link(stage):
    story, browser, path = stage
    shared = address_of(browser.post(path, "share"))
    story.say("/clear")
    assert story.get(shared).code == 404


def test_a_shared_turn_ends_with_its_own_link():
    story, browser, path = staged()
    shared = address_of(browser.post(path, "share"))
    story.advance(8 * 86_400, step=3_600)
    assert story.get(shared).code == 404


def test_links_survive_a_restart_with_and_without_a_snapshot(stage):
    story, browser, path = stage
    kept = browser.post(path, "share", key="key-of-kept")
    gone = browser.post(path, "share", key="key-of-gone")
    browser.post(path, "withdraw", {"share": gone.value["token"]})
    story.restart()
    assert story.get(address_of(kept)).code == 200
    assert story.get(address_of(gone)).code == 404


def test_a_conversation_is_shared_from_the_history(stage):
    story, browser, _path = stage
    base, session = history_of(story, browser)
    shared = browser.post(base, "share", {"session": session}, key="key-of-history")
    body = story.get(address_of(shared)).body
    assert ANSWER in body
    assert "海水吸收红光" in body
    assert browser.post(base, "share", {"session": "unknown"}, key="another-key").code == 409


def test_a_deleted_conversation_is_gone_from_every_page_at_once(stage):
    story, browser, path = stage
    shared = address_of(browser.post(path, "share"))
    base, session = history_of(story, browser)
    story.advance(5)
    assert Browser(story).post(base, "delete", {"session": session}).code == 401
    assert browser.post(base, "delete", {"session": session}).code == 200
    for gone in (path, shared, f"{path}/poll", f"{base}?session={session}"):
        assert story.get(gone).code == 404, gone
    left = browser.get(base).body
    assert "为什么" not in left
    assert TEXTS.history_empty in left
    assert browser.post(base, "delete", {"session": session}).code == 200, "a repetition"
    story.restart()
    assert story.get(path).code == 404


LIMITS = {
    "questions per day": cfg.Limits(questions_per_day=3),
    "tokens per day": cfg.Limits(tokens_per_day=30),
    "messages per minute": cfg.Limits(messages_per_minute=4),
}


@pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS)
@pytest.mark.parametrize("restarts", [False, True])
def test_a_deletion_is_no_way_around_the_limits(limits, restarts):
    story = Story(answer_at(0.1, "答。"), configuration(limits=limits))
    story.open()
    accepted = 0
    for number in range(8):
        sent = story.send(f"问题 {number}")
        story.advance(3)
        if sent.reply != "答。":
            break
        accepted += 1
        now = story.service.state.snapshotter._event_clock.now()
        live = story.service.state.journal.state(ALICE).live
        story.advance(18 if "minute" not in str(limits) else 1)
        command = c.DeleteSession(at=now + 30, session=live.id)
        story.service.state.journal.record(ALICE, command)
        if restarts:
            story.restart()
        story.open()
    assert accepted <= 3


def test_a_late_attempt_after_a_deletion_gets_no_reply_and_leaves_no_error(stage):
    story, _browser, _path = stage
    fields = messages.text_message("好的？")
    first = story.deliver(fields)
    story.advance(1)
    assert first.reply
    story.say("/stop")
    state = story.service.state.journal.state(ALICE)
    now = story.service.state.snapshotter._event_clock.now()
    story.service.state.journal.record(
        ALICE, c.DeleteSession(at=now + 25, session=state.past.last().id)
    )
    late = story.deliver(fields)
    story.advance(20)
    assert late.failure is None, late.failure
    assert late.results == ["success"], late.results
    assert late.reply is None


def test_a_deletion_leaves_the_replies_of_other_sessions_alone(stage):
    story, _browser, _path = stage
    story.say("/stop")
    old = story.service.state.journal.state(ALICE).past.last().id
    story.open()
    story.model.respond = lambda _: answer_at(60, "慢慢写。")
    story.send("还没写完")
    story.advance(16)
    now = story.service.state.snapshotter._event_clock.now()
    before = story.service.state.journal.state(ALICE).windows
    story.service.state.journal.record(ALICE, c.DeleteSession(at=now + 25, session=old))
    after = story.service.state.journal.state(ALICE)
    assert after.session(old) is None
    kept = [key for key, window in before.items() if window.session not in ("", old)]
    assert kept
    assert all(after.windows[key] == before[key] for key in kept)


def test_a_question_is_not_asked_again_after_its_conversation_was_deleted(stage):
    story, browser, _path = stage
    history = link_in(story.say("/history"))
    browser.claim(history)
    base = history.partition("#")[0]
    assert browser.ask(base, "问一次", "key-of-once").code == 200
    story.advance(25)
    session = re.findall(r'data-session="([^"]+)"', browser.get(base).body)[0]
    assert browser.post(base, "delete", {"session": session}).code == 200
    asked = len(events(story, e.QuestionAsked))
    assert browser.ask(base, "问一次", "key-of-once").code == 410
    assert len(events(story, e.QuestionAsked)) == asked


def test_clearing_spends_the_secrets_of_links_that_were_never_opened():
    story, link = story_with_link()
    story.say("/stop")
    story.open()
    story.say("/clear")
    assert Browser(story).claim(link).code == 401


def test_words_need_a_rating(stage):
    _story, browser, path = stage
    assert browser.post(path, "feedback", {"rating": "", "words": "没有评价"}).code == 400


def test_a_conversation_in_use_is_not_deleted():
    story, link = story_with_link(answer_at(60, ANSWER))
    history = link_in(story.say("/history"))
    browser = Browser(story)
    browser.claim(history)
    base = history.partition("#")[0]
    (session,) = re.findall(r'data-session="([^"]+)"', browser.get(base).body)
    response = browser.post(base, "delete", {"session": session})
    assert response.code == 409
    assert response.value["error"] == TEXTS.history_busy
    assert story.get(link.partition("#")[0]).code == 200


def test_the_next_message_after_a_deletion_starts_from_nothing(stage):
    story, browser, _path = stage
    base, session = history_of(story, browser)
    story.advance(30)
    browser.post(base, "delete", {"session": session})
    story.open()
    story.send("新的问题")
    story.advance(1)
    assert [text for role, text in story.model.messages() if role == "user"] == ["新的问题"]


def test_the_page_is_copied_as_markdown_with_the_label():
    story, browser, path = staged(texts=Texts())
    browser.ask(path, "那海呢？", "another-key-1")
    story.advance(1)
    alone = story.get(f"{path}/markdown")
    assert alone.headers.getRawHeaders("content-type") == ["text/markdown; charset=utf-8"]
    assert alone.body == f"{ANSWER}\n\n{TEXTS.ai_label}\n"
    both = browser.get(f"{path}/markdown").body
    assert both.startswith("> 为什么？\n\n")
    assert "> 那海呢？\n\n海水吸收红光。" in both
