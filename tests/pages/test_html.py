"""Model text as HTML: readable, and harmless whatever it contains."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.markdown import blocks
from wxgptd.pages import html
from wxgptd.pages.code import highlighted

ALLOWED = re.compile(
    r"</?(?:a|blockquote|br|code|del|em|h[1-6]|hr|li|ol|p|pre|s|span|strong|sup|table|tbody|td|th|thead|tr|ul"
    r"|math|menclose|m(?:frac|i|n|o|over|padded|phantom|root|row|space|sqrt|style|sub|subsup|sup|table|td|text|tr|under|underover))"
    r'(?: (?:href|rel|class|tabindex|start|display|stretchy|fence|form|columnalign|linethickness|width|accent|displaystyle|scriptlevel|largeop|separator|minsize|maxsize|mathvariant|lspace|rspace|movablelimits)="[^"<>]*")*\s*/?>'
    r'|<div class="code" data-language="[^"<>]*"><pre tabindex="0">|<div class="wide" tabindex="0" role="group">|</div>'
)


def to_html(text: str) -> str:
    return "".join(blocks(text))


def assert_harmless(page: str) -> None:
    rest = ALLOWED.sub("", page)
    assert "<" not in rest, rest
    for address in re.findall(r'href="([^"]*)"', page):
        assert re.match(r"(?i)https?://", address), address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# 标题", "<h1>标题</h1>"),
        (
            "**粗** *斜* ~~删~~ `码`",
            "<p><strong>粗</strong> <em>斜</em> <s>删</s> <code>码</code></p>",
        ),
        ("1. 一\n2. 二", "<ol>\n<li>一</li>\n<li>二</li>\n</ol>"),
        ("> 引", "<blockquote>\n<p>引</p>\n</blockquote>"),
        ("| a | b |\n|---|---|\n| 1 | 2 |", "<td>1</td>"),
        (
            "[链接](https://example.com/)",
            '<a href="https://example.com/" rel="noopener noreferrer nofollow">',
        ),
        ("见[文档][1]。\n\n[1]: https://example.com/doc\n\n完", 'href="https://example.com/doc"'),
        ("```python\nprint(1)\n```", 'class="language-python"'),
        ("```\n<b>\n```", "&lt;b&gt;"),
        (
            "**注意：**后面，用**“它”**的。",
            "<strong>注意：</strong>后面，用<strong>“它”</strong>的",
        ),
        ("**重点（必看）**吗？** 不 **", "<p><strong>重点（必看）</strong>吗？** 不 **</p>"),
        ("a **b**c 2*3*4 _x_y", "<p>a **b**c 2*3*4 _x_y</p>"),
        ("| a<br>b |\n|---|\n| 1<BR />2 |", "<td>1<br>\n2</td>"),
        ("| a |\n|--:|\n| 1 |", '<td class="right">1</td>'),
        ("![图](https://example.com/i.png)", 'href="https://example.com/i.png"'),
        ("据[1][2]所说", "<p>据[1][2]所说</p>"),
        (
            "据[1][2]所说\n\n[1]: https://a.b/1\n[2]: https://a.b/2",
            '<a href="https://a.b/2" rel="noopener noreferrer nofollow">[2]</a>所说',
        ),
        (
            "据[1]所说\n\n[1]: https://a.b/1",
            '据<a href="https://a.b/1" rel="noopener noreferrer nofollow">[1]</a>所说',
        ),
        ("见[^1]。\n\n[^1]: 第一条 **粗**", "<p>见<sup>1</sup>。</p>"),
        (
            "见[^1]。\n\n[^1]: 第一条 **粗**",
            '<p class="footnote"><sup>1</sup> 第一条 <strong>粗</strong></p>',
        ),
        ("看 www.example.com 或 HTTPS://EXAMPLE.COM/a。", '<a href="HTTPS://EXAMPLE.COM/a"'),
        ("a < b && c > d", "a &lt; b &amp;&amp; c &gt; d"),
    ],
)
def test_markdown_from_models_is_rendered(text, expected):
    page = to_html(text)
    assert expected in page
    assert_harmless(page)


ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<iframe src=//evil.test></iframe>",
    "<a href='javascript:alert(1)'>x</a>",
    "<style>*{background:url(//evil.test)}</style>",
    "<link rel=stylesheet href=//evil.test>",
    "<meta http-equiv=refresh content='0;url=//evil.test'>",
    "<form action=//evil.test><input name=a></form>",
    "<base href=//evil.test>",
    "<object data=//evil.test></object>",
    "<details open ontoggle=alert(1)>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java\tscript:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](vbscript:msgbox)",
    "[x](data:text/html,<script>alert(1)</script>)",
    "[x](data:image/svg+xml;base64,PHN2Zz4=)",
    "[x](file:///etc/passwd)",
    "[x](//evil.test/path)",
    "[x](mailto:a@evil.test)",
    "[x]: javascript:alert(1)\n\n[x]",
    "![x](javascript:alert(1))",
    "![x](https://evil.test/pixel.gif)",
    "<javascript:alert(1)>",
    '[x](https://a.test/"onmouseover="alert(1))',
    "[x](https://a.test 'a\"onmouseover=alert(1)')",
    "```html\n<script>alert(1)</script>\n```",
    "```<script>alert(1)</script>\nx\n```",
    '```"onmouseover="alert(1)\nx\n```',
    "`<script>`<script>alert(1)</script>",
    "<!--><script>alert(1)</script>-->",
    "<![CDATA[<script>alert(1)</script>]]>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "<p>\n\n<script>\n\nalert(1)\n\n</script>",
    "| <script>alert(1)</script> |\n|---|\n| <img src=x onerror=alert(1)> |",
    "* <script>alert(1)</script>\n  * <svg onload=alert(1)>",
    "> > > <iframe srcdoc='<script>alert(1)</script>'>",
    "# <script>alert(1)</script>",
    "\\<script>alert(1)</script>",
    "<scr<script>ipt>alert(1)</script>",
    "<IMG SRC=&#x6A&#x61&#x76&#x61&#x73&#x63&#x72&#x69&#x70&#x74:alert(1)>",
    "<math><mi xlink:href='data:x,<script>alert(1)</script>'>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "\x00<script>alert(1)</script>",
    "<a\x0bhref='javascript:alert(1)'>x</a>",
    "{{ 7*7 }}{% raw %}",
    "</article></main><script>alert(1)</script>",
    "[a](https://user:pass@evil.test)<img/src=x/onerror=alert(1)>",
]


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("around", ["%s", "前 %s 后", "- %s", "> %s"])
def test_no_attack_yields_active_or_remote_content(attack, around):
    assert_harmless(to_html(around % attack))


@given(st.text(st.sampled_from("<>&\"'`[]()!*_#|-\\\n aσ:/=jscript"), max_size=200))
def test_no_text_yields_active_or_remote_content(text):
    assert_harmless(to_html(text))


def test_text_beyond_the_limit_is_shown_unrendered():
    text = "字。\n\n" * 30_000
    page = to_html(text)
    assert 'class="plain"' in page
    assert page.count("字") == 30_000
    assert_harmless(page)


@pytest.mark.parametrize(
    "code", [" " * 2_900, " \n" * 1_400, "a" * 2_900], ids=["spaces", "lines", "letters"]
)
def test_code_that_makes_lexers_slow_is_not_highlighted(code):
    assert "<" not in highlighted(code, "c")
    assert code[:50].strip() in to_html(f"```c\n{code}\n```")


def test_code_is_highlighted_in_known_languages():
    assert "<span" in to_html("```python\ndef f(): pass\n```")
    assert "<span" not in to_html("```autoit\ndef f(): pass\n```")


# The first wall alone: the output of markdown-it and the formula converter.

FIRST_WALL = [
    r"$\text{a<b}$", r"$\text{<!--}$ 后面", r"$\textbf{<b>x</b>}$", r"$\mbox{<i>}$", r"$x\tag{<u>1}$",
    r"$\text{</mtext></math><script>alert(1)</script>}$", r"$\operatorname{<a>}$", r"$\mathrm{<p>}$",
    r"$\color{\"><p>}x$", r"$\href{javascript:alert(1)}{x}$", r"$\class{formula}{x}$", r"$\style{x}{y}$",
    r"$\text{&lt;b&gt;}$", r"$\text{&#x0003C;b&#x0003E;}$", r"$\hspace{\"<b>}$", r"\[\text{<table>}\]",
    "| $\\text{<td>}$ |\n|---|\n| 1 |", *ATTACKS,
]  # fmt: skip


def before_cleaning(text: str) -> str:
    return html.first_wall(text, {})


@pytest.mark.parametrize("text", FIRST_WALL)
def test_the_first_wall_alone_lets_no_tag_through(text):
    assert_harmless_tags(before_cleaning(text))


_PIECES = [
    "$", "$$", r"\(", r"\)", r"\[", r"\]", r"\text{", r"\textbf{", r"\mbox{", r"\tag{", r"\href{", r"\class{",
    "{", "}", "<", ">", "<b>", "</mtext>", "<!--", "-->", "&lt;", "&#x0003C;", '"', "'", "`", "```", "|",
    "\n", " ", "a", "天", r"\frac", "^", "_", "&", r"\\", r"\begin{cases}", r"\end{cases}", "[", "](http://x)",
]  # fmt: skip


@given(st.lists(st.sampled_from(_PIECES), max_size=40).map("".join))
@settings(max_examples=500, deadline=None)
def test_the_first_wall_lets_no_tag_through_for_any_text(text):
    assert_harmless_tags(before_cleaning(text))


def assert_harmless_tags(page: str) -> None:
    """Assert that every tag is one we use for Markdown or math, with only our own attributes."""
    rest = TAG.sub("", page)
    assert "<" not in rest, rest
    assert "class=" not in CLASSES.sub("", page)


TAG = re.compile(
    r"</?(?:a|blockquote|br|code|del|em|h[1-6]|hr|li|ol|p|pre|s|span|strong|sup|table|tbody|td|th|thead|tr|ul"
    r"|math|menclose|m(?:frac|i|n|o|over|padded|phantom|root|row|space|sqrt|style|sub|subsup|sup|table|td|text|tr|under|underover|multiscripts))"
    r'(?: [a-z]+="[^"<]*")*\s*/?>'
)
CLASSES = re.compile(
    r'class="(?:[a-z]{1,2}|written|source|left|center|right|formula (?:inline|block)|language-[^"]*)"'
)


def test_text_in_a_formula_is_kept_and_does_not_swallow_the_rest():
    page = to_html(r"当 $\text{a<b}$ 时，$\text{<!--}$ 后面的话还在")
    assert "a&lt;b" in page
    assert "&lt;!--" in page
    assert "后面的话还在" in page


@pytest.mark.parametrize("name", ["formula", "page", "turn", "status", "code", "k turn"])
def test_page_classes_are_stripped_from_model_text(name):
    for tag in ("p", "span", "code", "td"):
        element = f'<{tag} class="{name}">a</{tag}>'
        assert "class" not in html._cleaner.clean(f"<table><tr>{element}</tr></table>")
