"""The front page, the foot of every page, and the 404 page."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from tests.support.model_server import answer_at
from tests.support.story import Story, configuration
from wxgptd import config as cfg
from wxgptd.config import site as checks
from wxgptd.domain.replies.texts import Texts

TEXTS = Texts()
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
HTML = "text/html,application/xhtml+xml"


def story(**site) -> Story:
    return Story(answer_at(0.1, "好。"), configuration(site=cfg.Site(**site)))


def test_the_front_page_says_what_it_is():
    response = story().get("/")
    assert response.code == 200
    assert TEXTS.site_title in response.body
    assert "内容由 AI 生成" in response.body
    assert "<img" not in response.body
    assert "script-src" in response.headers.getRawHeaders("content-security-policy")[0]


def test_the_front_page_shows_the_account(tmp_path):
    picture = tmp_path / "qr.png"
    picture.write_bytes(PNG)
    shown = story(name="小明的号 <b>", about="只聊天文。", qr_code=picture)
    body = shown.get("/").body
    assert "小明的号 &lt;b&gt;" in body
    assert "只聊天文。" in body
    assert 'src="/qr-code"' in body
    assert shown.get("/qr-code").headers.getRawHeaders("content-type") == ["image/png"]


def test_there_is_no_qr_code_unless_the_operator_has_one():
    assert story().get("/qr-code").code == 404


FOOT = {
    "icp": ({"icp": "京ICP备12345678号-1"}, '<a href="https://beian.miit.gov.cn/"'),
    "police": (
        {"police": "京公网安备11010502000000号"},
        '<a href="https://beian.mps.gov.cn/#/query/webSearch?code=11010502000000"',
    ),
    "mail": ({"contact": "me@example.com"}, '<a href="mailto:me@example.com"'),
    "phone": ({"contact": "微信 abc"}, "<span>微信 abc</span>"),
    "link": ({"links": ("隐私 政策 https://e.com/p",)}, '<a href="https://e.com/p"'),
}


@pytest.mark.parametrize(("site", "expected"), FOOT.values(), ids=FOOT)
def test_the_foot_is_on_every_page(site, expected):
    shown = story(**site)
    shown.open()
    history = shown.say("/history").partition("https://chat.example.com")[2].partition("#")[0]
    for path in ("/", "/nothing", history, f"{history}/erase", "/a/unknown"):
        response = shown.get(path, accept=HTML)
        assert expected in response.body, path


def test_a_page_that_does_not_exist_is_a_plain_page_in_the_visitors_language():
    shown = story()
    chinese = shown.get("/nothing", accept=HTML, accept_language="zh-CN,en;q=0.5")
    assert chinese.code == 404
    assert TEXTS.page_not_found in chinese.body
    english = shown.get("/nothing", accept=HTML, accept_language="en-GB,zh;q=0.5")
    assert "There is no page at this address." in english.body
    assert '<html lang="en">' in english.body
    assert shown.get("/nothing").body == "not found\n", "programs get plain text"
    for path in ("/static/nothing", f"/a/{'A' * 22}/nothing", f"/h/{'A' * 22}/nothing"):
        assert TEXTS.page_not_found in shown.get(path, accept=HTML).body


MISTAKES = {
    "no address": ({"links": ("隐私政策",)}, "WORDS ADDRESS"),
    "no words": ({"links": ("https://e.com",)}, "WORDS ADDRESS"),
    "script": ({"links": ("点我 javascript:alert(1)",)}, "WORDS ADDRESS"),
    "empty": ({"links": ("",)}, "WORDS ADDRESS"),
    "police without a number": ({"police": "京公网安备"}, "police"),
    "no file": ({"qr_code": Path("/nowhere/qr.png")}, "cannot be read"),
    "no picture": ({"qr_code": Path(__file__)}, "is not a picture"),
}


@pytest.mark.parametrize(("site", "expected"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_the_site_is_reported(site, expected):
    (mistake,) = checks.mistakes(cfg.Site(**site))
    assert mistake.startswith("site.")
    assert expected in mistake
