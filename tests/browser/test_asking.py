"""Asking on the page, as a phone does it."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import SMALL, answered_link, ask
from wxgptd.domain.replies.texts import Texts

TEXTS = Texts()
NARROW = {"width": 320, "height": 640}


def times_asked(theatre, question: str) -> int:
    return theatre.model.asked.count(question)


def test_a_reader_asks_on_and_sees_the_answer_grow(theatre, phone):
    link = answered_link(theatre, "asks")
    page = phone(device_scale_factor=2)
    page.open(link)
    expect(page.page.locator("#ask textarea")).to_be_visible()
    assert "#" not in page.page.url, "the secret stays in the address"
    page.look("asking-before", full=False)
    answer = theatre.model.expect("那海呢？")
    ask(page, "那海呢？")
    turn = page.page.locator(".turn").nth(1)
    expect(turn.locator(".question")).to_have_text("那海呢？")
    answer.write("海水吸收红光，")
    expect(turn.locator(".answer")).to_contain_text("海水吸收红光")
    expect(page.page.locator("#stop")).to_be_visible()
    page.look("asking-writing", full=False)
    answer.write("**所以**看起来是蓝的。").end()
    expect(turn.locator(".status")).to_have_text(TEXTS.page_done)
    expect(turn.locator("strong")).to_have_text("所以")
    expect(page.page.locator("#stop")).to_be_hidden()
    expect(page.page.locator("#retry")).to_be_visible()
    assert page.page.locator("#ask textarea").input_value() == ""
    page.look("asking-done")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_asking_fits_a_narrow_phone_with_large_text(theatre, phone, scheme):
    link = answered_link(theatre, f"narrow-{scheme}", "一句话。" * 60)
    page = phone(viewport=NARROW, color_scheme=scheme)
    page.open(link)
    expect(page.page.locator("#ask textarea")).to_be_visible()
    page.page.evaluate("document.documentElement.style.fontSize = '160%'")
    page.page.evaluate("document.body.style.fontSize = '27px'")
    page.page.locator("#ask textarea").fill("一个很长的问题，" * 12)
    page.look(f"asking-narrow-{scheme}", full=False)


def test_the_conversation_is_still_there_after_a_reload(theatre, phone):
    link = answered_link(theatre, "reloads")
    page = phone()
    page.open(link)
    theatre.model.expect("再来").write("又一个回答。").end()
    ask(page, "再来")
    page.see("又一个回答。")
    page.page.reload()
    expect(page.page.locator(".turn")).to_have_count(2)
    expect(page.page.locator("#ask textarea")).to_be_visible()
    theatre.model.expect("第三次").write("第三个回答。").end()
    ask(page, "第三次")
    page.see("第三个回答。")


def test_a_double_tap_asks_once(theatre, phone):
    link = answered_link(theatre, "taps")
    page = phone()
    page.open(link)
    answer = theatre.model.expect("点两下")
    page.page.locator("#ask textarea").fill("点两下")
    page.page.locator("#send").dblclick()
    answer.write("一次。").end()
    page.see("一次。")
    expect(page.page.locator(".turn")).to_have_count(2)
    assert times_asked(theatre, "点两下") == 1


def test_a_question_that_was_lost_on_the_way_is_sent_again_after_a_reload(theatre, phone):
    link = answered_link(theatre, "lost")
    page = phone()
    page.excuse("ERR_FAILED|ERR_ABORTED|Failed to load resource")
    page.open(link)
    expect(page.page.locator("#ask textarea")).to_be_visible()
    page.page.route("**/ask", lambda route: (route.fetch(), route.abort())[1])
    answer = theatre.model.expect("还在吗")
    ask(page, "还在吗")
    page.see(TEXTS.page_not_sent)
    page.page.unroute("**/ask")
    page.page.reload()
    answer.write("在。").end()
    page.see("在。")
    expect(page.page.locator(".turn")).to_have_count(2)
    assert times_asked(theatre, "还在吗") == 1


def test_a_daemon_that_is_killed_while_it_answers_goes_on(theatre, phone):
    link = answered_link(theatre, "killed")
    page = phone()
    page.excuse("ERR_|Failed to load resource")
    page.open(link)
    first = theatre.model.expect("慢慢说")
    ask(page, "慢慢说")
    first.write("说到一半")
    page.see("说到一半")
    again = theatre.model.expect("慢慢说")
    theatre.restart()
    again.write("从头说完。").end()
    page.see("从头说完。")
    expect(page.page.locator(".turn").nth(1).locator(".answer")).to_have_text("从头说完。")


def test_a_question_asked_of_a_killed_daemon_is_asked_once_when_it_is_back(theatre, phone):
    link = answered_link(theatre, "asks-the-dead")
    page = phone()
    page.excuse("ERR_|Failed to load resource")
    page.open(link)
    expect(page.page.locator("#ask textarea")).to_be_visible()
    theatre.stage.kill()
    ask(page, "有人吗")
    page.see(TEXTS.page_not_sent)
    assert page.page.locator("#ask textarea").input_value() == "有人吗"
    theatre.stage.start_daemon()
    theatre.model.expect("有人吗").write("有。").end()
    page.page.locator("#send").click()
    page.see("有。")
    assert times_asked(theatre, "有人吗") == 1


def test_a_shared_link_can_be_read_but_not_written_on(theatre, phone):
    link = answered_link(theatre, "shares").partition("#")[0]
    page = phone()
    page.open(link)
    page.see("因为空气")
    page.see(TEXTS.page_ask_in_chat)
    expect(page.page.locator("#ask textarea")).to_be_hidden()
    expect(page.page.locator("#own")).to_be_hidden()
    page.look("asking-shared", full=False)


def test_a_link_admits_one_device(theatre, phone):
    link = answered_link(theatre, "devices")
    first, second = phone(), phone()
    second.excuse("401")
    first.open(link)
    expect(first.page.locator("#ask textarea")).to_be_visible()
    second.open(link)
    second.see(TEXTS.page_ask_in_chat)
    expect(second.page.locator("#ask textarea")).to_be_hidden()


def test_an_answer_is_stopped_and_asked_again(theatre, phone):
    link = answered_link(theatre, "stops")
    page = phone()
    page.open(link)
    first = theatre.model.expect("说个不停")
    ask(page, "说个不停")
    first.write("没完没了")
    page.see("没完没了")
    page.page.locator("#stop").click()
    turn = page.page.locator(".turn").nth(1)
    expect(turn.locator(".status")).to_have_text(TEXTS.failure_stopped)
    expect(turn.locator(".answer")).to_contain_text("没完没了")
    theatre.model.expect("说个不停").write("这次短。").end()
    page.page.locator("#retry").click()
    page.see("这次短。")


def test_an_answer_is_rated(theatre, phone):
    link = answered_link(theatre, "rates")
    page = phone()
    page.open(link)
    good = page.page.locator(".rate").first
    good.click()
    expect(good).to_have_attribute("aria-pressed", "true")
    page.see(TEXTS.page_thanks)


def test_clearing_ends_asking(theatre, phone):
    link = answered_link(theatre, "clears")
    page = phone(viewport=SMALL)
    page.excuse("410")
    page.open(link)
    expect(page.page.locator("#ask textarea")).to_be_visible()
    theatre.stage.say("/clear", "clears")
    ask(page, "还能问吗")
    page.see(TEXTS.page_gone)
    expect(page.page.locator("#send")).to_be_disabled()


def test_a_reader_asks_on_the_page_of_the_history(theatre, phone):
    theatre.stage.say("/chatgpt", "remembers")
    reply = theatre.stage.say("/history", "remembers")
    link = re.search(r"http://\S+/h/[\w-]{22}#[\w-]{22}", reply).group()
    first, second = phone(), phone()
    second.excuse("401")
    with first.page.expect_response("**/claim") as claimed:
        first.open(link)
    assert claimed.value.status == 200
    assert "#" not in first.page.url
    theatre.model.expect("从历史里问").write("答在这里。").end()
    ask(first, "从历史里问")
    first.see("答在这里。")
    assert "/a/" in first.page.url
    first.page.go_back()
    first.see("从历史里问")
    first.look("asking-history", full=False)
    with second.page.expect_response("**/claim") as refused:
        second.open(link)
    assert refused.value.status == 401


def test_a_claim_that_was_lost_on_the_way_is_made_again_after_a_reload(theatre, phone):
    link = answered_link(theatre, "claims")
    page = phone()
    page.excuse("ERR_FAILED|ERR_ABORTED|Failed to load resource")
    page.page.route("**/claim", lambda route: (route.fetch(), route.abort())[1])
    page.open(link)
    page.see(TEXTS.page_not_sent)
    page.page.unroute("**/claim")
    page.page.reload()
    expect(page.page.locator("#ask textarea")).to_be_visible()


def test_a_rating_belongs_to_one_answer(theatre, phone):
    link = answered_link(theatre, "rates-two")
    page = phone()
    page.open(link)
    good = page.page.locator(".rate").first
    good.click()
    expect(good).to_have_attribute("aria-pressed", "true")
    theatre.model.expect("下一个").write("另一个回答。").end()
    ask(page, "下一个")
    page.see("另一个回答。")
    expect(good).to_be_visible()
    expect(good).to_have_attribute("aria-pressed", "false")


def test_what_was_typed_stays_when_asking_has_ended(theatre, phone):
    link = answered_link(theatre, "types")
    page = phone()
    page.excuse("410")
    page.open(link)
    expect(page.page.locator("#ask textarea")).to_be_visible()
    theatre.stage.say("/clear", "types")
    ask(page, "一大段已经写好的话")
    page.see(TEXTS.page_gone)
    assert page.page.locator("#ask textarea").input_value() == "一大段已经写好的话"
    expect(page.page.locator("#send")).to_be_disabled()
