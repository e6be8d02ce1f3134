"""Text from users and models never becomes a link in the chat, however it is spelt."""

from __future__ import annotations

import re
from html import unescape
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import markdown
from wxgptd.domain.model.values import Style
from wxgptd.domain.text import paging
from wxgptd.domain.text.inert import inert

TAP = "weixin://bizmsgmenu?msgmenucontent=/clear&msgmenuid=1"

SPELLINGS = [
    f"&\u0001lt;a href={TAP}>x</a>",
    f"&#\u00016\u00010;a href={TAP}>x</a>",
    f'<a href="{TAP}">查看完整答案</a>',
    f'<A HREF="{TAP}">x</A>',
    f"<\na\nhref='{TAP}'>x</a>",
    f"< \t a href={TAP}>x</a>",
    f"<\u200ba href={TAP}>x</a>",
    f"<\x0ba href={TAP}>x</a>",
    f"<\u202ea href={TAP}>x</a>",
    f"<a\x00href={TAP}>x</a>",
    f"&lt;a href={TAP}&gt;x&lt;/a&gt;",
    f"&LT;a href={TAP}>x</a>",
    f"&lt a href={TAP}>x</a>",
    f"&#60;a href={TAP}>x</a>",
    f"&#x0003C;a href={TAP}>x</a>",
    f"&amp;lt;a href={TAP}>x</a>",
    f"<**a href={TAP}**>x</a>",
    f"\\<a href={TAP}>x</a>",
    f"`<a href={TAP}>x</a>`",
    f"```html\n<a href={TAP}>x</a>\n```",
    f"| 一 | 二 |\n|---|---|\n| <a href={TAP}> | x |",
    f"$\\lt$a href={TAP}>x</a>",
    f"<![x](http://x/)a href={TAP}>x</a>",
    "weixin&#11;://bizmsgmenu?msgmenucontent=/clear",
    "WeChat:\x00//x",
]
STYLES = [Style.PLAIN, Style.MARKDOWN]

PIECES = [
    *("<", "&lt;", "&LT", "&#60;", "&#x3c", "&amp;", "a", "A", "/a", " ", "\n", "\x00", "\x0b", "\u200b"),
    *("\u202e", "\ud83d", "href=", '"', ">", "**", "`", "```\n", "\\", "$", "|", "weixin", "WeChat"),
    *(":", "/", "//", "x", "天", "[", "](http://a.b)", "~~", "<br>", "_"),
]  # fmt: skip

UNSEEN = r"[^\x21-\x7e\u00a1-\u00ac\u2e80-\ud7ff\uff01-\uff5e]*"


def has_link(text: str) -> bool:
    """Parse as leniently as any client might: resolve entities, skip invisible characters."""
    decoded = unescape(text)
    joined = re.sub(r"[\x00-\x20\x7f\u200b\u202e\ud800-\udfff]", "", text)
    tag = re.search(rf"<{UNSEEN}a(?![0-9a-z])", decoded, re.IGNORECASE)
    return bool(tag or re.search(r"(weixin|wechat)://", joined, re.IGNORECASE))


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("text", SPELLINGS, ids=range(len(SPELLINGS)))
def test_no_spelling_of_a_link_reaches_the_chat(text, style):
    assert has_link(text) or text.startswith(("<**", "$", "<!", "&amp;", "weixin&"))
    assert not has_link(paging.readable(text, style))


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("text", SPELLINGS, ids=range(len(SPELLINGS)))
def test_text_already_shown_never_changes_as_an_answer_grows(text, style):
    whole = paging.readable(text, style)
    for end in range(len(text) + 1):
        shown = paging.readable(text[:end], style, growing=True)
        assert whole.startswith(shown)
        assert not has_link(shown)


def test_an_html_example_stays_readable():
    example = '```html\n<p>见 <a href="https://example.com">这里</a></p>\n```'
    shown = paging.readable(example, Style.PLAIN)
    assert shown.strip() == '<p>见 ＜a href="https://example.com">这里</a></p>'


@pytest.mark.parametrize(
    "text",
    ["<article>", "x < alpha", "<abbr title=x>", "a < b", "https://a.b/?x=<b>", "&lt;b&gt;", "微信:", "AT&T"],
)  # fmt: skip
def test_text_without_a_link_is_unchanged(text):
    assert inert(text) == text


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_no_text_becomes_a_link(text):
    for style in STYLES:
        assert not has_link(paging.readable(text, style)), text
    assert len(inert(text)) == len(text)
    assert inert(inert(text)) == inert(text)


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_the_shown_prefix_of_growing_text_never_changes(text):
    for end in range(len(text) + 1):
        assert inert(text).startswith(inert(text[:end], growing=True)), text


def test_typical_model_output_has_no_link():
    random = Random(17)
    for _ in range(300):
        text = markdown.text(random)
        assert not has_link(paging.readable(text, Style.PLAIN)), text
