"""The pages in a real browser of a phone's size, with the real daemon behind them."""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path

import pytest

from tests.support.processes import Stage

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]
PHONE = {"width": 360, "height": 740}
ARTEFACTS = Path(os.environ.get("WXGPTD_ARTEFACTS", "build/screenshots"))


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-background-networking", "--disable-sync"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    # A first attempt is answered at once as if it were the last: the tests need not wait.
    stage = Stage(tmp_path_factory.mktemp("browser"))
    stage.start_model(extra="[window]\ndeliberate_timeouts_per_5min = 0\n")
    stage.start_daemon()
    yield stage
    stage.end()


class Page:
    """A page of a phone, and what went wrong on it."""

    def __init__(self, browser, **context) -> None:
        self.context = browser.new_context(viewport=PHONE, **context)
        self.page = self.context.new_page()
        self.faults: list[str] = []
        self.page.on("console", lambda one: one.type == "error" and self.faults.append(one.text))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.foreign: list[str] = []
        self.page.on("request", lambda one: self.foreign.append(one.url))

    def shot(self, name: str) -> None:
        ARTEFACTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=str(ARTEFACTS / f"{name}.png"), full_page=True)

    def width(self) -> int:
        return self.page.locator("html").evaluate("page => page.scrollWidth")

    @property
    def answer(self) -> str:
        return self.page.locator("#answer").inner_text()

    def wait_for(self, text: str, patience_ms: int = 20_000) -> None:
        from playwright.sync_api import expect

        expect(self.page.locator("body")).to_contain_text(text, timeout=patience_ms)

    def close(self) -> None:
        self.context.close()
        assert self.faults == []


@pytest.fixture
def phone(browser):
    pages: list[Page] = []

    def open_page(**context) -> Page:
        pages.append(Page(browser, **context))
        return pages[-1]

    yield open_page
    for page in pages:
        page.close()


def ask(stage: Stage, text: str, user: str) -> str:
    stage.send("/chatgpt", "--user", user)
    reply = stage.send(text, "--user", user)["reply"]
    return re.search(r"http://\S+/a/[\w-]+", reply).group()


def test_an_answer_grows_before_the_reader_s_eyes(stage, phone):
    link = ask(stage, "用 9 秒写 500 字，介绍自己", "grows")
    page = phone()
    page.page.goto(link)
    assert "介绍自己" in page.page.inner_text(".question")
    first = len(page.answer)
    page.wait_for("正在书写")
    page.shot("answer-writing")
    time.sleep(2)
    assert len(page.answer) > first, "the page does not grow"
    page.wait_for("回答完毕")
    assert page.answer.rstrip().endswith("（演示结束）")
    assert page.width() <= PHONE["width"]
    assert all(url.startswith(f"http://127.0.0.1:{stage.port}/") for url in page.foreign)
    page.shot("answer-done")
    live = page.answer
    page.page.reload()
    assert page.answer == live, "what grew is not what a reload shows"


def test_without_a_script_the_page_reloads_itself(stage, phone):
    link = ask(stage, "用 8 秒写 300 字，没有脚本", "noscript")
    page = phone(java_script_enabled=False)
    page.page.goto(link)
    page.wait_for("回答完毕")
    assert "演示结束" in page.answer


def test_where_events_are_blocked_polling_brings_the_answer(stage, phone):
    link = ask(stage, "用 9 秒写 300 字，没有事件流", "blocked")
    page = phone()
    page.page.route("**/events*", lambda route: route.abort())
    page.page.goto(link)
    page.wait_for("回答完毕")
    assert "演示结束" in page.answer
    page.faults = [fault for fault in page.faults if "ERR_FAILED" not in fault]


def test_the_page_goes_on_by_itself_after_a_restart(stage, phone):
    link = ask(stage, "用 8 秒写 300 字，中途重启", "restart")
    page = phone()
    page.page.goto(link)
    page.wait_for("正在书写")
    time.sleep(1)
    stage.kill()
    stage.start_daemon()
    page.wait_for("回答完毕", patience_ms=40_000)
    assert page.answer.count("（演示结束）") == 1
    assert page.answer.count("收到了") == 1, "two answers are joined"
    page.faults = [fault for fault in page.faults if "ERR_" not in fault and "503" not in fault]


def test_clearing_takes_an_open_page_away(stage, phone):
    link = ask(stage, "用 20 秒写 300 字，然后清空", "cleared")
    page = phone()
    page.page.goto(link)
    page.wait_for("正在书写")
    stage.send("/clear", "--user", "cleared")
    page.wait_for("链接不存在或已过期")
    page.faults = [fault for fault in page.faults if "404" not in fault]


def test_the_history_in_the_dark(stage, phone):
    for text in ("/chatgpt", "历史问题一", "历史问题二", "/stop"):
        stage.send(text, "--user", "history")
        time.sleep(1.2)
    reply = stage.send("/history", "--user", "history")["reply"]
    page = phone(color_scheme="dark")
    page.page.goto(re.search(r"http://\S+/h/[\w-]+", reply).group())
    page.wait_for("历史问题二")
    page.wait_for("已结束")
    assert page.width() <= PHONE["width"]
    page.shot("history-dark")
