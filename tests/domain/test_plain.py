"""Markdown rendered as text that reads well in WeChat."""

from __future__ import annotations

import sys
import time
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.markdown import PIECES, text
from wxgptd.domain.text.formula import formula
from wxgptd.domain.text.plain import plain


@pytest.mark.parametrize(
    ("markdown", "shown"),
    [
        ("# 标题", "【标题】"),
        ("### 标题 **粗** ##", "【标题 粗】"),
        ("#标签", "#标签"),
        ("这是**重点**和*斜体*，__也是__ _它_", "这是重点和斜体，也是 它"),
        ("***都是***", "都是"),
        ("~~删去~~", "删去"),
        ("2 * 3 * 4 和 snake_case_name", "2 * 3 * 4 和 snake_case_name"),
        ("运行 `ls -l **` 看看", "运行 ls -l ** 看看"),
        ("`` a`b ``", "a`b"),
        ("[官网](https://a.b/c_(d))", "官网 (https://a.b/c_(d))"),
        ('[**官网**](https://a.b "标题")', "官网 (https://a.b)"),
        ("[https://a.b](https://a.b)", "https://a.b"),
        ("![图](https://a.b/x.png)", "图 (https://a.b/x.png)"),
        ("<https://a.b>", "https://a.b"),
        ("一<br>二", "一\n二"),
        (r"\*不是斜体\*", "*不是斜体*"),
        ("- 一\n* 二\n+ 三", "• 一\n• 二\n• 三"),
        ("- 一\n  - 二\n    - 三", "• 一\n  ◦ 二\n    ◦ 三"),
        ("1. 一\n2) 二", "1. 一\n2) 二"),
        ("- [x] 做完\n- [ ] 没做", "☑ 做完\n☐ 没做"),
        ("> 引用\n>> 再引", "│ 引用\n│ │ 再引"),
        ("上\n\n---\n\n下", "上\n\n————————\n\n下"),
        ("上\n\n\n\n下", "上\n\n下"),
        ("看：\n```python\nx = 2 ** 3\n\n\ny\n```\n完", "看：\n\nx = 2 ** 3\n\n\ny\n\n完"),
        ("```\n没写完", "没写完"),
        ("````md\n```\n内\n```\n````", "```\n内\n```"),
        ("| 名 | 价 |\n|---|--:|\n| 梨 | **5** |\n\n完", "名：价\n• 梨：5\n\n完"),
        ("| a | b | c |\n|:-|-|-|\n| 1 | | 3 |", "• a: 1\n  c: 3"),
        ("| 一行 | 不是表 |\n完", "| 一行 | 不是表 |\n完"),
        ((r"| a\|b | c |" "\n|-|-|"), "a|b: c"),
        ("价格 $5 和 $6。", "价格 $5 和 $6。"),
        (r"设 $\alpha_1^2 \le 3$，则 \(x \times y\)", "设 α₁² ≤ 3，则 x × y"),
        ("$$\nE = mc^2\n$$", "E = mc²"),
        ("\\[\n\\sum_{i} x_i\n\\]\n完", "∑_i x_i\n完"),
        (r"$$\frac{1}{2}$$", "1/2"),
        ("设置 $PATH，正则是 `^\\d+$`。", "设置 $PATH，正则是 ^\\d+$。"),
        ("用 `$HOME` 和 $PATH 以及 `${x}`", "用 $HOME 和 $PATH 以及 ${x}"),
        ("2*3*4=24，5*6*7，2**3**2", "2*3*4=24，5*6*7，2**3**2"),
        ("正则 .*? 和 \\*转义\\* 结束", "正则 .*? 和 *转义* 结束"),
        ("`__init__.py` 与 __init__.py", "__init__.py 与 __init__.py"),
        ("/usr/*/bin/*", "/usr/*/bin/*"),
        ("下一行\\\n在这里", "下一行\n在这里"),
        ("[x](http://a.b/\ud83d)", "x (http://a.b/%EF%BF%BD)"),
        ("价格~~100~~80元，5~~10元，8~~12元", "价格~~100~~80元，5~~10元，8~~12元"),
        ("面积 2*π*r，(1+2)*(3+4)*(5+6)，(2)**(3)**(4)", "面积 2*π*r，(1+2)*(3+4)*(5+6)，(2)**(3)**(4)"),
        ("456\n+ 456\n- 12\n\n= 900", "456\n+ 456\n- 12\n\n= 900"),
        ("每天2小时*5天*4周=40小时，10元*3次*2天", "每天2小时*5天*4周=40小时，10元*3次*2天"),
        ("(1+2)*3*(4+5)=81，3.*4*.5，10*（1+2）*3，２*３*４", "(1+2)*3*(4+5)=81，3.*4*.5，10*（1+2）*3，２*３*４"),
        ("（*）和（*），5*和6*", "（*）和（*），5*和6*"),
        ("**2024年**有**3**个，共**12.5%**。", "2024年有3个，共12.5%。"),
        ("据[1][2]所说[3]。见[^1]。\n\n[^1]: 第一条", "据[1][2]所说[3]。见[1]。\n\n[1] 第一条"),
        ("1. [ ] 买\n2. [x] 卖", "1. ☐ 买\n2. ☑ 卖"),
        ("iPhone**Pro**版，a**b**c，x**2**y", "iPhonePro版，a**b**c，x**2**y"),
        ("a &lt; b &amp;&amp; c &#39;", "a < b && c '"),
        ("[维基](https://zh.wikipedia.org/wiki/快)", "维基 (https://zh.wikipedia.org/wiki/%E5%BF%AB)"),
    ],
)  # fmt: skip
def test_markdown_is_rendered_as_plain_text(markdown, shown):
    assert plain(markdown) == shown


@pytest.mark.parametrize(
    ("tex", "shown"),
    [
        (r"\frac{-b \pm \sqrt{b^2-4ac}}{2a}", "(-b ± √(b²-4ac))/(2a)"),
        (r"\text{速度} = \frac{\text{路程}}{\text{时间}}", "速度 = 路程/时间"),
        (r"x^{10} + y_{12}", "x¹⁰ + y₁₂"),
        (r"1\frac{1}{2}", "1 1/2"),
        (r"\frac{10}{20}3", "10/20·3"),
        (r"\frac{1}{2}\frac{3}{4}", "1/2·3/4"),
        (r"\sqrt{2}3", "√2·3"),
        (r"0.\overline{3}", "0.3\u0305"),
        (r"\unknown{x} \to \infty", r"\unknown{x} → ∞"),
        (r"\left( a \right)", "( a )"),
        (r"\begin{pmatrix} a & b \\ c & d \end{pmatrix}", "a   b\nc   d"),
        (r"O(n \log n)，\lim_{x \to 0}", r"O(n log n)，lim_{x → 0}"),
        (
            r"\sqrt[3]{x+1}，50\%，90^\circ，\mathbb{N}，\binom{n}{k}",
            "³√(x+1)，50%，90°，ℕ，C(n, k)",
        ),
        (r"\vec{v} \cdot \hat{n}，\sum_{i=1}^{n} y_{i}", "v · n，∑_{i=1}ⁿ y_i"),
    ],
)
def test_a_formula_is_rendered_as_people_would_type_it(tex, shown):
    assert formula(tex) == shown


TEXTS = st.lists(st.sampled_from(PIECES), max_size=30).map("".join) | st.text(max_size=200)


@pytest.mark.parametrize(
    "whole", ["---]", '--- "', "- - -:", "甲\n\n---&", "123)", "a\n=]", "1.)x", "- [ ]("]
)
def test_text_already_shown_never_changes_as_a_line_of_markup_grows(whole):
    for at in range(len(whole) + 1):
        assert plain(whole).startswith(plain(whole[:at], growing=True))


@given(TEXTS, st.data())
def test_text_already_shown_never_changes_as_an_answer_grows(whole, data):
    at = data.draw(st.integers(0, len(whole)))
    assert plain(whole).startswith(plain(whole[:at], growing=True))


def test_text_already_shown_never_changes_as_ten_thousand_answers_grow():
    random = Random(20_261)
    for _ in range(10_000):
        whole = text(random, 25)
        at = random.randrange(len(whole) + 1)
        assert plain(whole).startswith(plain(whole[:at], growing=True)), (whole, at)


def test_every_finished_part_of_a_growing_answer_is_shown():
    growing = "第一段 **粗**。\n\n- 一\n- 二，还在"
    assert plain(growing, growing=True) == "第一段 粗。\n\n• 一\n• 二，还在"
    assert plain("说到 **一半", growing=True) == "说到"
    assert plain("| 可能 | 是表 |", growing=True) == ""
    assert plain("```\ncode = 1", growing=True) == "code = 1"


@pytest.mark.parametrize(
    "hostile",
    [
        "`" * 200_000, "*" * 200_000, "[" * 200_000, "<" * 200_000, "**a" * 60_000, "$a" * 90_000,
        "_a " * 60_000, "|a" * 60_000 + "\n|-|", "\\(" * 90_000, "~~a" * 60_000, "> " * 90_000,
        "x\n" * 90_000, "![a](" * 40_000, "- " * 90_000, "*_" * 500 + "a" + "_*" * 500,
        "# a" + " " * 99_000 + "x", "# a" + "#" * 99_000 + "x", "~" * 99_000 + "`", " " * 99_000 + "x",
        "[x](" + " " * 99_000, "[x](" + "(" * 99_000, "-" * 99_000 + "x", "- " * 50_000 + "x",
        "|" + "-" * 99_000 + "x", "| a |\n|" + ":-" * 50_000, "> " * 9 + " " * 99_000 + "x", "\t" * 99_000,
        "*" + " " * 99_000 + "[", "$$" + "a" * 99_000, "\\(" + "a" * 99_000, "<http://" + "a" * 99_000,
        "http://a.cn/(" * 7_600, "__a" * 33_000, "://" * 33_000, "![" * 50_000, "(http://a" * 11_000,
        "[*" * 300 + "](u)" * 300, "$" + r"\frac{" * 30_000, "# " * 90_000, "(" * 200_000,
    ],
    ids=lambda text: text[:6],
)  # fmt: skip
def test_no_text_takes_long_to_render(hostile):
    began = time.process_time()
    plain(hostile)
    plain(hostile, growing=True)
    # Of CPU, on a machine that does other things too; coverage makes the parser five times slower.
    limit_s = 15 if sys.gettrace() is None else 60
    assert time.process_time() - began < limit_s


@pytest.mark.parametrize(
    "name",
    ["ln", "lg", "log", "exp", "sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arctan", "sinh",
     "cosh", "tanh", "lim", "max", "min", "sup", "inf", "det", "gcd", "deg", "dim", "ker", "arg",
     "hom", "Pr"],
)  # fmt: skip
@pytest.mark.parametrize("template", [r"$\%s x$", r"\(\%s(x)\)", r"$$2\%s x + 1$$", r"$e^{\%s x}$"])
def test_a_function_name_is_kept(name, template):
    shown = plain(template % name)
    assert name in shown
    assert "\\" not in shown


@pytest.mark.parametrize(
    ("tex", "shown"),
    [
        (r"$a \equiv b \pmod{n}$", "a ≡ b (mod n)"),
        (r"$a \bmod 3$", "a mod 3"),
        (r"$\limsup_{n} a_n$", "lim sup_n a_n"),
        (r"结果是 \ln x 的导数", r"结果是 \ln x 的导数"),
    ],
)
def test_other_operators_are_rendered_readably(tex, shown):
    assert plain(tex) == shown
