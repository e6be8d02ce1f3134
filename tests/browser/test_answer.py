"""The page of an answer in each of its states, on two phone sizes, in light and dark mode."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import LARGE, SMALL
from tests.browser.texts import RICH, long_answer, wide_table
from wxgptd.domain.replies.texts import Texts


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [SMALL, LARGE], ids=["360", "412"])
def test_an_answer_with_all_kinds_of_markdown_is_readable(theatre, phone, viewport, scheme):
    user = f"rich-{scheme}-{viewport['width']}"
    link = theatre.answered(RICH, user, "用 Python 写一个 LRU 缓存，并比较各种做法的复杂度")
    page = phone(viewport=viewport, color_scheme=scheme, device_scale_factor=2)
    page.open(link)
    page.see("已写完")
    page.look(f"answer-done-{scheme}-{viewport['width']}")
    formula = page.page.locator(".formula.block math").bounding_box()
    assert formula["height"] > 15, "the formula is not rendered"
    page.page.evaluate("window.scrollTo(0, 400)")
    page.look(f"answer-code-{scheme}-{viewport['width']}", full=False)


def test_an_answer_goes_through_waiting_thinking_and_writing(theatre, phone):
    answer, link = theatre.ask("用 Python 写一个 LRU 缓存", "states")
    page = phone(device_scale_factor=2)
    page.open(link)
    page.see("正在思考")
    page.see(re.compile(r"已等 \d+ 秒"))
    waited = page.page.locator("#elapsed").inner_text()
    page.look("answer-thinking", full=False)
    assert not page.page.locator("#thoughts").is_visible()
    answer.think("先想清楚：")
    page.page.locator("#thoughts summary").wait_for()
    assert not page.page.get_by_text("先想清楚").is_visible(), "thoughts are folded"
    page.page.locator("#thoughts summary").click()
    answer.think("字典加双向链表。")
    page.see("先想清楚：字典加双向链表。", "#thoughts")
    page.look("answer-thoughts", full=False)
    expect(page.page.locator("#elapsed")).not_to_have_text(waited)
    answer.write(RICH[:500])
    page.see("正在写")
    assert not page.page.locator("#elapsed").is_visible()
    assert page.page.locator("#answer").get_attribute("aria-busy") == "true"
    page.page.evaluate("window.scrollTo(0, document.documentElement.scrollHeight)")
    page.look("answer-writing", full=False)
    answer.write(RICH[500:]).end()
    page.see("已写完")
    assert page.page.locator("#answer").get_attribute("aria-busy") is None
    assert "先想清楚" in page.page.locator("#thoughts").inner_text(), "unfolded thoughts stay"
    assert "回到聊天" in page.page.locator("#hint").inner_text()


def test_the_page_of_a_queued_question_says_so(theatre, phone):
    first, _ = theatre.ask("排在前面的问题", "line")
    second, link = theatre.ask("排在后面的问题", "line", opens=False)
    page = phone()
    page.open(link)
    page.see("正在排队")
    page.look("answer-waiting", full=False)
    first.write("前面的答案。").end()
    second.write("后面的答案。").end()
    page.see("后面的答案。", "#answer")


@pytest.mark.parametrize(
    ("end", "message", "name"),
    [
        (
            lambda answer: answer.write("写到一半").end("length"),
            "回答较长，先写到这里",
            "cut-short",
        ),
        (lambda answer: answer.write("写到一半").refuse(), "回答中断了", "interrupted"),
        (lambda answer: answer.end("content_filter"), "抱歉，这个问题 AI 回答不了。", "failed"),
    ],
)
def test_the_page_of_an_incomplete_answer_says_what_to_do(theatre, phone, end, message, name):
    answer, link = theatre.ask(f"问题 {name}", name)
    page = phone()
    page.open(link)
    end(answer)
    page.see(message)
    page.see("回到聊天")
    page.look(f"answer-{name}", full=False)
    assert page.page.locator("#copy-all").is_visible() == bool(page.answer)
    live = page.page.locator("main").inner_text()
    page.page.reload()
    page.see(message)
    assert page.page.locator("main").inner_text() == live


def test_an_unknown_link_is_reported_as_invalid(theatre, phone):
    page = phone()
    page.excuse("404")
    page.open(f"{theatre.origin}a/{'A' * 22}")
    page.see("这个链接已失效")
    page.look("answer-gone", full=False)


def test_an_answer_of_thirty_thousand_characters_is_shown(theatre, phone):
    text = long_answer(30_000)
    link = theatre.answered(text, "long")
    page = phone()
    sizes = transferred(page)
    page.open(link)
    page.see("已写完")
    assert len(page.answer) > 28_000
    assert sum(sizes) < 60_000, sizes
    page.look("answer-long", full=False)


def transferred(page) -> list[int]:
    """Return a list that collects the size of each later response, in bytes on the wire."""
    sizes: list[int] = []
    session = page.context.new_cdp_session(page.page)
    session.send("Network.enable")
    session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    return sizes


def test_a_page_transfers_few_bytes(theatre, phone):
    link = theatre.answered(RICH, "light")
    page = phone()
    sizes = transferred(page)
    page.open(link)
    page.see("已写完")
    page.page.wait_for_load_state("networkidle")
    assert len(sizes) >= 3
    assert sum(sizes) < 20_000, sizes


def test_a_wide_table_scrolls_on_its_own_and_keeps_its_position(theatre, phone):
    answer, link = theatre.ask("大表格", "table")
    table = wide_table(12)
    answer.write(table)
    page = phone()
    page.open(link)
    page.see("第 5 行第 11 列")
    page.look("answer-table", full=False)
    wide = page.page.locator(".wide")
    assert wide.evaluate("table => table.scrollWidth > table.clientWidth")
    wide.evaluate("table => { table.scrollLeft = 300; }")
    answer.write("\n| 又一行 | 又一列 |\n\n后面的话。").end()
    page.see("后面的话。")
    page.see("又一列", ".wide")
    assert wide.evaluate("table => table.scrollLeft") == 300


def test_words_of_two_hundred_letters_wrap(theatre, phone):
    word = "Donaudampfschifffahrt" * 10
    text = (
        f"{word}\n\n`{word}`\n\n- {word}\n\n# {word}\n\n> {word}\n\n[{word}](https://{word}.test)"
    )
    formula = " + ".join(f"a_{{{n}}}" for n in range(20))
    text += f"\n\n${formula}$\n\n$${formula}$$"
    link = theatre.answered(f"{text}\n\n| {word} | b |\n|---|---|\n| a | b |", "words", word)
    page = phone()
    page.open(link)
    page.see("已写完")
    page.look("answer-words")


def test_code_and_answer_are_copied_as_displayed(theatre, phone):
    link = theatre.answered(RICH, "copy")
    page = phone(permissions=["clipboard-read", "clipboard-write"])
    page.open(link)
    page.page.get_by_role("button", name="复制", exact=True).click()
    page.see("已复制")
    read = "navigator.clipboard.readText()"
    code = page.page.evaluate(read)
    assert code.startswith("from collections import OrderedDict\n\n\nclass LRUCache:")
    assert code.endswith("popitem(last=False)\n")
    page.page.get_by_role("button", name="复制全文").click()
    page.see("已复制", "#after")
    text = page.page.evaluate(read)
    assert "1. 每次 get 都要把这一项移到末尾；\n2. 写入后检查容量：" in text
    assert "• 没超出，什么也不做；" in text
    assert "做法\t读取\t写入" in text
    assert "\\bar t = h \\cdot t_c" in text
    assert "复制" not in text
    assert "class LRUCache" in text


def test_copying_works_without_clipboard_access(theatre, phone):
    link = theatre.answered("要复制的话。", "old-copy")
    page = phone(permissions=["clipboard-read", "clipboard-write"])
    page.page.add_init_script("Object.defineProperty(window, 'isSecureContext', { value: false });")
    page.open(link)
    page.page.get_by_role("button", name="复制全文").click()
    page.see("已复制", "#after")
    copied = page.page.evaluate("navigator.clipboard.readText()")
    assert copied == f"要复制的话。\n\n{Texts().ai_label}"


def test_a_button_in_wechat_returns_to_the_chat(theatre, phone):
    link = theatre.answered("好的。", "bridge")
    page = phone()
    page.page.add_init_script(
        "window.WeixinJSBridge = { call: function (what) { document.title = what; } };"
    )
    page.open(link)
    page.page.get_by_role("button", name="回到聊天").click()
    assert page.page.title() == "closeWindow"


def test_the_button_back_to_the_chat_is_hidden_outside_wechat(theatre, phone):
    page = phone()
    page.open(theatre.answered("好的。", "no-bridge"))
    page.see("已写完")
    assert not page.page.locator("#close").is_visible()


def test_larger_text_is_remembered(theatre, phone):
    page = phone()
    page.open(theatre.answered(long_answer(9_000), "large", "一个长问题"))
    page.see("已写完")
    small = page.page.locator("#answer p").first.evaluate("p => getComputedStyle(p).fontSize")
    page.page.locator("#larger").click()
    page.page.reload()
    large = page.page.locator("#answer p").first.evaluate("p => getComputedStyle(p).fontSize")
    assert float(large.removesuffix("px")) > float(small.removesuffix("px"))
    page.look("answer-large", full=False)


def test_a_page_that_is_opened_again_begins_where_its_reader_stopped(theatre, phone):
    link = theatre.answered(long_answer(9_000), "returns", "一个长问题")
    page = phone()
    page.open(link)
    page.see("已写完")
    page.page.evaluate("window.scrollTo(0, 2000)")
    page.page.goto("about:blank")
    page.open(link)
    expect(page.page.locator("#larger")).to_be_attached()
    assert abs(page.page.evaluate("window.scrollY") - 2000) < 100
