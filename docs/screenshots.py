"""Take the four screenshots for the READMEs: pages of the real daemon, in a real browser.

Each begins and ends at a whole line. `make pictures` writes docs/page-*.png; it needs chromium.
"""

from __future__ import annotations

import io
import re
import shutil
import tempfile
import time
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.conftest import SMALL, Theatre
from tests.browser.texts import RICH

DOCS = Path(__file__).parent
SCALE = 2
WRITTEN_S = 1.5

LINES = """() => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const lines = [];
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    if (!node.data.trim() || !node.parentElement.checkVisibility()) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const box of range.getClientRects()) lines.push([box.top + scrollY, box.bottom + scrollY]);
  }
  for (const box of document.querySelectorAll("tr, button, input, math, .question p"))
    { const at = box.getBoundingClientRect(); lines.push([at.top + scrollY, at.bottom + scrollY]); }
  return lines;
}"""
"""Returns the top and bottom of each line or other element not to be cut, in CSS pixels."""


def gap(lines: list[tuple[float, float]], near: float, step: int) -> int:
    """Return the first position that no line crosses, starting at `near`, in steps of `step`."""
    position = round(near)
    while any(top - 4 < position < bottom + 4 for top, bottom in lines):
        position += step
    return position


def take(page: Page, name: str, top: float = 0) -> None:
    """Write a picture of one screen of the page, from the first whole line below `top`."""
    lines = page.evaluate(LINES)
    first = gap(lines, top, 1) if top else 0
    height = SMALL["height"]
    last = gap(lines, first + height, -1)
    image = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
    background = image.getpixel((0, 0))
    shown = image.crop((0, first * SCALE, image.width, last * SCALE))
    picture = Image.new("RGB", (image.width, height * SCALE), background)
    picture.paste(shown, (0, 0))
    picture.save(DOCS / f"page-{name}.png", optimize=True)
    print(f"page-{name}.png: {first} to {last}")


def phone(browser: Browser, link: str, scheme: str = "light") -> Page:
    """Open a link on a phone."""
    context = browser.new_context(viewport=SMALL, device_scale_factor=SCALE, color_scheme=scheme)
    page = context.new_page()
    page.goto(link)
    return page


def top_of(page: Page, selector: str) -> float:
    """Return where to begin a picture above an element, in CSS pixels from the top of the page."""
    box = page.locator(selector).first.bounding_box()
    assert box is not None, selector
    return box["y"] - 8


def link_in(reply: str) -> str:
    """Return the link in a reply, with its secret."""
    match = re.search(r"http://\S+/[ah]/[\w-]{22}#[\w-]{22}", reply)
    assert match is not None, reply
    return match.group()


def asked_on(theatre: Theatre, browser: Browser) -> Page:
    """Return the page of an answer on which its user is asking on."""
    theatre.answered("因为**瑞利散射**：波长短的蓝光散射得最厉害。", "asks", "天为什么是蓝的？")
    page = phone(browser, link_in(theatre.stage.say("/history", "asks")))
    page.locator("#ask textarea").wait_for()
    answer = theatre.model.expect("那海为什么也是蓝的？")
    page.locator("#ask textarea").fill("那海为什么也是蓝的？")
    page.locator("#send").click()
    page.wait_for_url("**/a/*")
    answer.write(
        "有两个原因：\n\n1. **海水吸收红光**：光走过几米水，红色就几乎没有了，剩下的偏蓝；\n"
        "2. **海面反射天空**：晴天的海更蓝，阴天的海发灰。\n\n所以"
    )
    page.get_by_text("阴天的海发灰").wait_for()
    time.sleep(WRITTEN_S)
    return page


def shared(theatre: Theatre, browser: Browser) -> Page:
    """Return the page on which a link to shared turns has just been made."""
    theatre.answered("两杯水、一撮盐、三个鸡蛋，小火蒸**八分钟**。", "shares", "蒸蛋怎么蒸才嫩？")
    page = phone(browser, link_in(theatre.stage.say("/history", "shares")))
    page.locator("#ask textarea").wait_for()
    theatre.model.expect("要盖盖子吗？").write("要，留一条缝，水汽不会滴成坑。").end()
    page.locator("#ask textarea").fill("要盖盖子吗？")
    page.locator("#send").click()
    page.wait_for_url("**/a/*")
    page.get_by_text("留一条缝").wait_for()
    page.locator("#share").click()
    page.locator("#make-share").click()
    page.locator("#shares li a").wait_for()
    page.evaluate("scrollTo(0, 0)")
    return page


def main() -> None:
    """Write all four."""
    with tempfile.TemporaryDirectory() as directory, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        theatre = Theatre(Path(directory))
        take(asked_on(theatre, browser), "asking")
        link = theatre.answered(RICH, "done", "用 Python 写一个 LRU 缓存，并比较各种做法的复杂度")
        page = phone(browser, link, "dark")
        take(page, "dark", top_of(page, "#answer h3, #answer h2 >> nth=1"))
        for question, text in (
            ("天为什么是蓝的？", "因为**瑞利散射**：波长短的蓝光散射得最厉害。"),
            ("写一个 LRU 缓存，比较各种做法", RICH),
            ("帮我把这封邮件改得客气一点", "好的，改好了。"),
            ("周末去哪里玩？", "可以去**湿地公园**，上午人少，鸟也多。"),
        ):
            theatre.answered(text, "history", question)
            theatre.stage.say("/stop", "history")
        page = phone(browser, link_in(theatre.stage.say("/history", "history")))
        page.locator("summary").first.click()
        page.locator(".delete-dialogue").first.wait_for()
        take(page, "history")
        take(shared(theatre, browser), "sharing")
        browser.close()
        theatre.end()


if __name__ == "__main__":
    main()
