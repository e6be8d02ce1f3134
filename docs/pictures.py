"""Draw the animations in the READMEs: a chat without wxgptd, with it, and the page.

The conversation is real: `wxgpt demo --keep` runs the daemon and the demonstration model, `wxgpt
send` plays WeChat, and a browser opens the link in the reply. Only the chat's appearance is drawn.
`make pictures` writes docs/images; it needs chromium.
"""

from __future__ import annotations

import base64
import dataclasses
import html
import io
import json
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from string import Template

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

IMAGES = Path(__file__).parent / "images"
SIZE = {"width": 930, "height": 580}
PHONE_WIDTH = 284
PAGE = {"width": 360, "height": 660}
"""A small phone, which is then drawn PHONE_WIDTH wide."""

SCALE = 1.5
COLOURS = 64
"""The number of colours in a frame; more would only make the file larger."""

FRAME_MS = 380
LAST_MS = 4_000
WINDOW_S = 15
"""When WeChat stops waiting, in seconds after the message."""

WAIT_S = 60.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Language:
    """The words of one animation. `texts` replaces texts that are Chinese by default."""

    name: str
    opening: str
    question: str
    fault: str
    """What WeChat shows if an account does not answer in time; in English, a translation."""
    account: str
    captions: tuple[str, str, str]
    attempts: tuple[str, str, str]
    clock: str
    texts: dict[str, str]


CHINESE = Language(
    name="zh",
    opening="/chatgpt",
    question="用 25 秒写 180 字，介绍一下 wxgptd",
    fault="该公众号提供的服务出现故障，请稍后再试",
    account="我的公众号",
    captions=("不用 wxgptd", "用 wxgptd", "点开链接"),
    attempts=("微信第一次请求", "微信第二次请求", "微信第三次请求"),
    clock="{seconds} 秒",
    texts={},
)

ENGLISH = Language(
    name="en",
    opening="/chatgpt",
    question="In 25 seconds and 280 characters: what is wxgptd?",
    fault="The service of this Official Account is currently unavailable. Try again later.",
    account="My account",
    captions=("Without wxgptd", "With wxgptd", "The page the link opens"),
    attempts=("WeChat asks", "WeChat asks again", "WeChat asks a third time"),
    clock="{seconds} s",
    texts={
        "still_writing": (
            "──────────\nSend “{tap:继续|more}” to read on; still writing…\nFull answer: {link}"
        ),
        "ai_label": "AI-generated",
        "page_title": "Answer",
        "page_question": "Question",
        "page_thinking": "Thinking…",
        "page_writing": "Writing…",
        "page_done": "Complete",
        "page_elapsed": "{count} s so far",
        "page_copy_all": "Copy the answer",
        "page_ai_notice": "AI-generated: check what matters",
        "page_back": "Go back to the chat to ask on.",
    },
)


@dataclasses.dataclass(frozen=True)
class Recording:
    """What happened: the reply, when it came, and the page at each second after that."""

    reply: str
    replied_s: int
    attempts_s: tuple[int, ...]
    pages: dict[str, list[bytes]]
    """A PNG a second, by colour scheme."""


@contextmanager
def demonstration(language: Language) -> Iterator[list[str]]:
    """Run `wxgpt demo --keep`; yield the `wxgpt` command line for its daemon."""
    wxgpt = [sys.executable, "-m", "wxgpt"]
    demo = subprocess.Popen(
        [*wxgpt, "demo", "--keep"], stdout=subprocess.PIPE, encoding="utf-8", text=True
    )
    assert demo.stdout is not None
    try:
        config = next(
            Path(found[1])
            for line in demo.stdout
            if (found := re.search(r"--config (\S+) chat", line))
        )
        threading.Thread(target=demo.stdout.read, daemon=True).start()
        wxgpt += ["--config", str(config)]
        if language.texts:
            lines = [f"{key} = {json.dumps(text)}" for key, text in language.texts.items()]
            with config.open("a", encoding="utf-8") as file:
                file.write("\n".join(["", "[texts]", *lines, ""]))
            subprocess.run([*wxgpt, "reload"], check=True, stdout=subprocess.DEVNULL)
        yield wxgpt
    finally:
        demo.terminate()
        demo.wait()


def record(browser: Browser, language: Language) -> Recording:
    """Ask the question, and watch the page of its answer until that is complete."""
    with demonstration(language) as wxgpt:
        user = ["--user", f"reader-{language.name}", "--json"]
        subprocess.run([*wxgpt, "send", *user, language.opening], check=True, capture_output=True)
        sent = subprocess.run(
            [*wxgpt, "send", *user, language.question], check=True, capture_output=True, text=True
        )
        delivery = json.loads(sent.stdout)
        reply = delivery["reply"]
        link = re.search(r"http://\S+/a/[\w-]+", reply)
        assert link is not None, reply
        pages: dict[str, list[bytes]] = {"light": [], "dark": []}
        opened = {}
        for scheme in pages:
            context = browser.new_context(
                viewport=PAGE,
                device_scale_factor=SCALE * PHONE_WIDTH / PAGE["width"],
                color_scheme=scheme,
            )
            opened[scheme] = context.new_page()
            opened[scheme].goto(link.group())
        began = time.monotonic()
        while time.monotonic() - began < WAIT_S:
            for scheme, page in opened.items():
                pages[scheme].append(_lowest(page))
            if not any(page.locator("[aria-busy]").count() for page in opened.values()):
                break
            time.sleep(max(0.0, began + len(pages["light"]) - time.monotonic()))
        return Recording(
            reply=reply,
            replied_s=round(delivery["took_s"]),
            attempts_s=tuple(range(0, WINDOW_S, 5))[: len(delivery["attempts"])],
            pages=pages,
        )


def _lowest(page: Page) -> bytes:
    """Take a picture of the end of the page, where it grows."""
    page.evaluate("window.scrollTo(0, document.documentElement.scrollHeight)")
    return page.screenshot()


STYLE = Template("""
* { box-sizing: border-box; margin: 0; }
body { width: 930px; height: 580px; background: $sheet; color: $ink; display: flex; gap: 18px;
  padding: 12px 18px; font: 14px/1.55 "Noto Sans CJK SC", sans-serif; }
figure { width: 286px; display: flex; flex-direction: column; gap: 8px; }
figcaption { font-weight: bold; font-size: 15px; display: flex; justify-content: space-between; }
figcaption span { font-weight: normal; color: $quiet; font-variant-numeric: tabular-nums; }
.phone { flex: none; height: 524px; border-radius: 18px; overflow: hidden; background: $chat;
  border: 1px solid $line; display: flex; flex-direction: column; }
.bar { padding: 8px; text-align: center; font-weight: bold; border-bottom: 1px solid $line; }
.talk { flex: 1; padding: 12px 10px; display: flex; flex-direction: column; gap: 12px;
  overflow: hidden; }
.row { display: flex; gap: 8px; align-items: flex-start; }
.row.user { flex-direction: row-reverse; }
.face { width: 32px; height: 32px; border-radius: 5px; flex: none; background: $face; }
.user .face { background: $user; }
.bubble { max-width: 208px; padding: 7px 10px; border-radius: 6px; background: $bubble;
  white-space: pre-wrap; overflow-wrap: anywhere; font-size: 13px; line-height: 1.4; }
.user .bubble { background: $green; color: $on_green; }
.notice { text-align: center; color: $quiet; font-size: 12px; padding: 0 12px; }
.fault { color: $fault; }
b { font-weight: normal; color: $link; }
img { width: 284px; display: block; flex: 1; object-fit: cover; object-position: bottom; }
""")

SCHEMES = {
    "light": {
        "sheet": "#ffffff", "ink": "#1f2328", "quiet": "#6b7075", "chat": "#ededed", "line": "#d9d9d9",
        "face": "#c4ccd4", "user": "#8fb8de", "bubble": "#ffffff", "green": "#95ec69",
        "on_green": "#10240a", "link": "#4a5f8a", "fault": "#c0392b",
    },
    "dark": {
        "sheet": "#0d1117", "ink": "#e6e6e6", "quiet": "#9aa0a6", "chat": "#191919", "line": "#303236",
        "face": "#4a525a", "user": "#3f6285", "bubble": "#2c2c2c", "green": "#3eb575",
        "on_green": "#06150c", "link": "#8ea6d6", "fault": "#ff8f87",
    },
}  # fmt: skip


def _bubble(text: str, whose: str = "") -> str:
    shown = html.escape(text, quote=False)
    shown = re.sub(r'&lt;a href="weixin:[^>]*?"&gt;(.*?)&lt;/a&gt;', r"<b>\1</b>", shown)
    shown = re.sub(r"https?://127\S+/a/[\w-]+", "https://chat.example.com/a/x7", shown)
    shown = re.sub(r"https://chat\S+", r"<b>\g<0></b>", shown)
    return (
        f'<div class="row {whose}"><div class="face"></div><div class="bubble">{shown}</div></div>'
    )


def _notice(text: str, kind: str = "") -> str:
    return f'<p class="notice {kind}">{html.escape(text)}</p>'


def _chat(caption: str, language: Language, seconds: int, said: list[str]) -> str:
    clock = language.clock.format(seconds=seconds)
    return (
        f"<figure><figcaption>{caption}<span>{clock}</span></figcaption><div class=phone>"
        f"<div class=bar>{language.account}</div><div class=talk>{''.join(said)}</div></div></figure>"
    )


def frame(language: Language, recording: Recording, scheme: str, seconds: int) -> str:
    """Return the HTML of the frame for this many seconds after the question."""
    asked = [_bubble(language.question, "user")]
    tried = [at for at in recording.attempts_s if at <= min(seconds, WINDOW_S)]
    waiting = _notice(f"{language.attempts[len(tried) - 1]}…")
    replied = seconds >= recording.replied_s
    without = [*asked, _notice(language.fault, "fault") if seconds >= WINDOW_S else waiting]
    answered = [*asked, _bubble(recording.reply) if replied else waiting]
    first, second, third = language.captions
    pages = recording.pages[scheme]
    shown = ""
    if replied:
        number = min(seconds - recording.replied_s, len(pages) - 1)
        shown = f'<img src="data:image/png;base64,{base64.b64encode(pages[number]).decode()}">'
    return (
        f"<style>{STYLE.substitute(SCHEMES[scheme])}</style>"
        f"{_chat(first, language, min(seconds, WINDOW_S), without)}"
        f"{_chat(second, language, min(seconds, recording.replied_s), answered)}"
        f"<figure><figcaption>{third}<span>{language.clock.format(seconds=seconds)}</span>"
        f"</figcaption><div class=phone>{shown}</div></figure>"
    )


def draw(browser: Browser, language: Language, recording: Recording, scheme: str) -> None:
    """Write the animation in one language and colour scheme."""
    page = browser.new_page(viewport=SIZE, device_scale_factor=SCALE)
    last = recording.replied_s + len(recording.pages[scheme]) - 1
    frames: list[Image.Image] = []
    for seconds in range(last + 1):
        page.set_content(frame(language, recording, scheme, seconds))
        shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        frames.append(shot.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE))
    page.close()
    # The last frame also comes first, for readers who see a still image, and lasts long enough.
    frames.insert(0, frames[-1])
    durations = [LAST_MS, *([FRAME_MS] * (len(frames) - 2)), LAST_MS]
    path = IMAGES / f"chat-{language.name}-{scheme}.gif"
    frames[0].save(
        path, save_all=True, append_images=frames[1:], duration=durations, loop=0, optimize=True
    )
    print(f"{path}: {path.stat().st_size / 1024:.0f} KiB, {len(frames)} frames")


def main() -> None:
    """Write every animation."""
    IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        for language in (CHINESE, ENGLISH):
            recording = record(browser, language)
            for scheme in SCHEMES:
                draw(browser, language, recording, scheme)
        browser.close()


if __name__ == "__main__":
    main()
