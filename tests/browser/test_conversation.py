"""Everything else that users do on pages: share, choose a model, say why, delete; and its budgets."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import answered_link, ask
from tests.browser.texts import RICH
from wxgptd.domain.replies.texts import Texts

TEXTS = Texts()
READ = "navigator.clipboard.readText()"


def history_link(theatre, user: str) -> str:
    """Return the link to a history as the chat got it, with its secret."""
    reply = theatre.stage.say("/history", user)
    return re.search(r"http://\S+/h/[\w-]{22}#[\w-]{22}", reply).group()


def two_turns(theatre, phone, user: str, **context):
    """Return a page on which a second question was asked and answered."""
    page = phone(**context)
    page.open(answered_link(theatre, user))
    theatre.model.expect(f"还有呢 {user}").write("还有瑞利散射。").end()
    ask(page, f"还有呢 {user}")
    page.see("还有瑞利散射。")
    expect(page.page.locator("#share")).to_be_visible()
    return page


def test_chosen_turns_are_shared_and_the_link_is_withdrawn(theatre, phone):
    page = two_turns(theatre, phone, "sharer")
    page.page.locator("#share").click()
    expect(page.page.locator(".pick input")).to_have_count(2)
    page.page.locator(".pick input").first.uncheck()
    page.look("share-choosing")
    page.page.locator("#make-share").click()
    shared = page.page.locator("#shares li a")
    expect(shared).to_be_visible()
    expect(page.page.locator(".pick")).to_have_count(0)
    page.look("share-made")
    reader = phone()
    reader.excuse("404")
    reader.open(shared.get_attribute("href"))
    reader.see("还有瑞利散射。")
    assert "因为空气" not in reader.page.content()
    assert "/a/" not in reader.page.content()
    expect(reader.page.locator("#ask")).to_have_count(0)
    reader.look("shared")
    page.page.reload()
    page.page.locator("#shares summary").click()
    expect(page.page.locator("#shares li")).to_have_count(1)
    page.page.get_by_role("button", name=TEXTS.page_withdraw).click()
    page.see(TEXTS.page_withdrawn)
    reader.page.reload()
    reader.see(TEXTS.page_share_gone)


def test_a_shared_link_lets_no_script_write(theatre, phone):
    page = two_turns(theatre, phone, "tries")
    page.page.locator("#share").click()
    page.page.locator("#make-share").click()
    shared = page.page.locator("#shares li a").get_attribute("href")
    reader = phone()
    reader.excuse("40[0-9]")
    reader.open(shared)
    statuses = reader.page.evaluate(
        """async path => {
          const kinds = ["claim", "ask", "share", "withdraw", "stop", "feedback", "delete"];
          const sent = kinds.map(kind => fetch(path + "/" + kind, {
            method: "POST", headers: { "Content-Type": "application/json" }, body: "{}",
          }));
          return (await Promise.all(sent)).map(response => response.status);
        }""",
        shared,
    )
    assert set(statuses) == {404}


def test_an_answer_is_asked_of_another_model(theatre, phone):
    page = two_turns(theatre, phone, "models")
    models = page.page.locator("#model")
    expect(models.locator("option")).to_have_count(3)
    theatre.model.expect("还有呢 models").write("另一个模型说的。").end()
    models.select_option("demo-pro")
    page.see("另一个模型说的。")
    expect(page.page.locator(".turn")).to_have_count(3)
    asked = theatre.stage.wxgpt(
        "tail", "--user", "models", "--kind", "QuestionAsked", "-o", "ndjson"
    )
    assert '"model": "demo-pro"' in asked.stdout.splitlines()[-1]


def test_a_reader_says_why(theatre, phone):
    page = two_turns(theatre, phone, "why")
    page.page.locator(".rate").last.click()
    words = page.page.locator("#words input")
    words.fill("没说到点子上")
    page.look("rating", full=False)
    words.press("Enter")
    expect(page.page.locator("#words")).to_be_hidden()
    said = theatre.stage.wxgpt("usage", "--feedback")
    assert "没说到点子上" in said.stdout


def test_the_page_is_copied_as_markdown(theatre, phone):
    page = two_turns(theatre, phone, "md", permissions=["clipboard-read", "clipboard-write"])
    page.page.get_by_role("button", name=TEXTS.page_copy_markdown).click()
    page.see(TEXTS.page_copied, "#after")
    text = page.page.evaluate(READ)
    assert text.startswith("> 为什么 md\n\n因为空气")
    assert text.rstrip().endswith(TEXTS.ai_label)


def test_a_long_history_is_a_short_list(theatre, phone):
    for number in range(5):
        answered_link(theatre, "lists", f"**第 {number} 个回答。**" + "很长的话。" * 200)
        theatre.stage.say("/stop", "lists")
    page = phone()
    page.open(history_link(theatre, "lists"))
    dialogues = page.page.locator(".dialogue")
    expect(dialogues).to_have_count(5)
    height = page.page.evaluate("document.documentElement.scrollHeight")
    assert height < 1_500, "it was a wall of text"
    expect(page.page.get_by_text("第 4 个回答。")).to_be_hidden()
    page.look("history-list")
    page.page.locator("summary").nth(0).click()
    expect(page.page.get_by_text("第 4 个回答。")).to_be_visible()
    page.page.locator("summary").nth(1).click()
    expect(page.page.get_by_text("第 3 个回答。")).to_be_visible()
    expect(page.page.get_by_text("第 4 个回答。")).to_be_hidden()
    page.look("history-opened", full=False)


def test_a_conversation_is_copied_shared_and_deleted_from_the_history(theatre, phone):
    theatre.stage.say("/chatgpt", "keeps")
    link = history_link(theatre, "keeps")
    page = phone(permissions=["clipboard-read", "clipboard-write"])
    page.open(link)
    theatre.model.expect("为什么 keeps").write("因为空气把蓝光散射得更多。").end()
    ask(page, "为什么 keeps")
    page.see(TEXTS.page_done)
    page.open(link.partition("#")[0])
    page.page.locator("summary").first.click()
    page.page.locator(".dialogue .copy").click()
    page.see(TEXTS.page_copied)
    assert "因为空气" in page.page.evaluate(READ)
    page.page.locator(".share-dialogue").click()
    shared = page.page.locator("#shares li a").get_attribute("href")
    delete = page.page.locator(".delete-dialogue")
    delete.click()
    expect(delete).to_have_text(TEXTS.history_delete_sure)
    page.look("history-delete", full=False)
    delete.click()
    page.see(TEXTS.history_deleted)
    expect(page.page.locator(".dialogue")).to_have_count(0)
    reader = phone()
    reader.excuse("404")
    reader.open(shared)
    reader.see(TEXTS.page_share_gone)
    page.page.reload()
    page.see(TEXTS.history_empty)


def test_two_devices_write_on_one_page(theatre, phone):
    first = phone()
    first.open(answered_link(theatre, "two"))
    expect(first.page.locator("#ask textarea")).to_be_visible()
    # The second device gets a link of its own in the chat.
    second = phone()
    second.open(answered_link(theatre, "two", "第二个回答。"))
    for page, question in ((first, "第一台问"), (second, "第二台问")):
        theatre.model.expect(question).write(f"回答{question}。").end()
        ask(page, question)
        page.see(f"回答{question}。")
    first.page.reload()
    first.see("回答第二台问。")


def test_without_cookies_the_page_says_how_to_go_on(theatre, phone):
    link = answered_link(theatre, "cookieless")
    page = phone()
    page.excuse("401")
    # A browser that blocks cookies neither keeps nor sends them.
    page.page.route("**/claim", drop_cookie)
    page.open(link)
    page.see("因为空气")
    page.see(TEXTS.page_no_cookies)
    expect(page.page.locator("#ask textarea")).to_be_hidden()
    expect(page.page.locator("#share")).to_be_hidden()


def drop_cookie(route) -> None:
    response = route.fetch()
    route.request.frame.page.context.clear_cookies()  # fetching has kept it
    headers = {name: value for name, value in response.headers.items() if name != "set-cookie"}
    route.fulfill(status=response.status, headers=headers, body=response.body())


def test_a_question_asked_offline_is_sent_when_the_network_is_back(theatre, phone):
    page = phone()
    page.excuse("ERR_|Failed to load resource")
    page.open(answered_link(theatre, "offline"))
    expect(page.page.locator("#ask textarea")).to_be_visible()
    page.context.set_offline(True)
    ask(page, "没有网")
    page.see(TEXTS.page_not_sent)
    assert page.page.locator("#ask textarea").input_value() == "没有网"
    page.context.set_offline(False)
    theatre.model.expect("没有网").write("有网了。").end()
    page.page.locator("#send").click()
    page.see("有网了。")
    assert theatre.model.asked.count("没有网") == 1


def test_the_back_button_returns_to_the_conversation(theatre, phone):
    page = two_turns(theatre, phone, "back")
    page.open(f"{theatre.origin}")
    page.page.go_back()
    page.see("还有瑞利散射。")
    theatre.model.expect("回来再问").write("回来的回答。").end()
    ask(page, "回来再问")
    page.see("回来的回答。")


def test_fifty_turns_stay_usable(theatre, phone):
    page = phone()
    page.open(answered_link(theatre, "fifty"))
    expect(page.page.locator("#ask textarea")).to_be_visible()
    for number in range(52):
        theatre.model.expect(f"第{number}问").write(f"第{number}答。").end()
        reply = theatre.stage.say(f"第{number}问", "fifty")
        assert reply
    page.page.reload()
    expect(page.page.locator(".turn")).to_have_count(51)
    page.see("2 个问答")
    theatre.model.expect("最后一问").write("最后一答。").end()
    ask(page, "最后一问")
    page.see("最后一答。")
    page.look("fifty-turns", full=False)


BUDGET = """
window.measured = { shift: 0, longest: 0, paints: [] };
new PerformanceObserver(function (list) {
  list.getEntries().forEach(function (entry) {
    if (!entry.hadRecentInput) window.measured.shift += entry.value;
  });
}).observe({ type: "layout-shift", buffered: true });
new PerformanceObserver(function (list) {
  list.getEntries().forEach(function (entry) {
    window.measured.longest = Math.max(window.measured.longest, entry.duration);
  });
}).observe({ type: "longtask", buffered: true });
"""


@pytest.mark.parametrize("reads", ["from the top", "at the end"])
def test_nothing_moves_while_an_answer_is_written(theatre, phone, reads):
    user = f"still {reads}"
    page = phone()
    page.page.add_init_script(BUDGET)
    page.open(answered_link(theatre, user))
    expect(page.page.locator("#ask textarea")).to_be_visible()
    answer = theatre.model.expect("写长一点")
    ask(page, "写长一点")
    pieces = [RICH[at : at + 120] for at in range(0, len(RICH), 120)]
    for number, piece in enumerate(pieces):
        answer.write(piece)
        if number == 0:
            page.see(piece[:4])
            page.page.evaluate("window.measured.shift = 0")
        if reads == "at the end" and number % 4 == 0:
            page.page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        page.page.wait_for_timeout(60)
    answer.end()
    turn = page.page.locator(".turn").nth(1)
    expect(turn.locator(".status")).to_have_text(TEXTS.page_done)
    assert page.page.evaluate("window.measured.shift") < 0.1


def test_the_page_is_within_its_budgets(theatre, phone):
    link = theatre.answered(RICH * 10, "budget")
    page = phone()
    page.page.add_init_script(BUDGET)
    sizes: list[int] = []
    session = page.context.new_cdp_session(page.page)
    session.send("Network.enable")
    session.send("Performance.enable")
    session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    page.open(link)
    page.see(TEXTS.page_done)
    page.page.wait_for_load_state("networkidle")
    assert len(sizes) <= 7, "the page, its style, its icon and four scripts"
    assert sum(sizes) < 60_000, sizes
    metrics = {m["name"]: m["value"] for m in session.send("Performance.getMetrics")["metrics"]}
    assert metrics["Nodes"] < 20_000
    assert metrics["ScriptDuration"] < 1.0, "seconds of CPU"
    assert page.page.evaluate("window.measured.shift") < 0.1
    # Generous: the tests share their machine.
    assert page.page.evaluate("window.measured.longest") < 1_000
