"""The history on a phone: light and dark, searched, downloaded, erased."""

from __future__ import annotations

import pytest

from tests.browser.conftest import LARGE, SMALL
from tests.browser.texts import RICH


def talk(theatre, user: str) -> str:
    """Have a conversation and return the link to the history."""
    for question, answer in (("天为什么是蓝的？", "因为**瑞利散射**。"), ("写一个 LRU 缓存", RICH)):
        theatre.answered(answer, user, question)
    theatre.stage.say("/stop", user)
    theatre.answered("晚安。", user, "睡了")
    return theatre.history(user)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [SMALL, LARGE], ids=["360", "412"])
def test_the_history_is_a_readable_dialogue(theatre, phone, viewport, scheme):
    link = talk(theatre, f"history-{scheme}-{viewport['width']}")
    page = phone(viewport=viewport, color_scheme=scheme, device_scale_factor=2)
    page.open(link)
    page.see("天为什么是蓝的？")
    page.see("已结束")
    page.look(f"history-{scheme}-{viewport['width']}")
    page.look(f"history-top-{scheme}-{viewport['width']}", full=False)


def test_a_search_marks_its_matches(theatre, phone):
    page = phone(device_scale_factor=2)
    page.open(talk(theatre, "searching"))
    page.page.get_by_role("searchbox").fill("散射")
    page.page.get_by_role("button", name="搜索").click()
    page.see("找到 1 个问答")
    assert page.page.locator("mark").all_inner_texts() == ["散射"]
    assert "LRU" not in page.page.locator("main").inner_text()
    page.look("history-search", full=False)
    page.page.get_by_role("link", name="显示全部").click()
    page.see("晚安。")


def test_code_in_the_history_can_be_copied(theatre, phone):
    page = phone(permissions=["clipboard-read", "clipboard-write"])
    page.open(talk(theatre, "history-copy"))
    dialogue = page.page.locator(".dialogue", has=page.page.locator(".code"))
    dialogue.locator("summary").first.click()
    page.page.locator(".code .copy").first.click()
    page.see("已复制")
    assert "class LRUCache" in page.page.evaluate("navigator.clipboard.readText()")


def test_the_history_is_downloaded_as_a_file(theatre, phone):
    page = phone(accept_downloads=True)
    page.open(talk(theatre, "download"))
    with page.page.expect_download() as started:
        page.page.get_by_role("link", name="下载（Markdown）").click()
    download = started.value
    assert download.suggested_filename == "history.md"
    text = download.path().read_text("utf-8")
    assert "> 天为什么是蓝的？" in text
    assert "class LRUCache" in text


@pytest.mark.parametrize("script", [True, False])
def test_a_user_erases_the_history(theatre, phone, script):
    link = talk(theatre, f"erasing-{script}")
    page = phone(java_script_enabled=script)
    page.excuse("404")
    page.open(link)
    page.page.get_by_role("link", name="删除全部历史").click()
    page.see("删除后无法恢复")
    if script:
        page.look("history-erase", full=False)
    page.page.get_by_role("link", name="不删了").click()
    page.see("天为什么是蓝的？")
    page.page.get_by_role("link", name="删除全部历史").click()
    page.page.get_by_role("button", name="全部删除").click()
    page.see("已全部删除")
    page.open(link)
    page.see("这个链接已失效")


def test_an_empty_history_says_so(theatre, phone):
    page = phone()
    page.open(theatre.history("nobody-yet"))
    page.see("还没有对话")
    page.look("history-empty", full=False)
