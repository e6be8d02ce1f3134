"""LaTeX as MathML, and text that only looks like LaTeX."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.markdown import blocks


def to_html(text: str) -> str:
    return "".join(blocks(text))


@pytest.mark.parametrize(
    "text",
    [
        r"\(x^2\)", "$x^2$", "$$x^2$$", r"\[x^2\]", "\\[\nx^2\n\\]", "$$\nx^2\n$$",
        "其中 $x^2$。", "1. 项\n   \\[\n   x^2\n   \\]", "文字：\n$$\nx^2\n$$\n文字", "> $x^2$",
        "| $x^2$ |\n|---|\n| 1 |",
    ],
)  # fmt: skip
def test_formulas_become_mathml_with_their_source(text):
    page = to_html(text)
    assert "<msup><mi>x</mi><mn>2</mn></msup>" in page
    assert '<span class="source">x^2</span>' in page
    assert page.count("<math") == 1


@pytest.mark.parametrize(
    "text",
    [
        "价格 $5 到 $10", "$5和$10", "US$5，US$6", "$HOME/bin:$PATH", "a$b$c", "$ x $", r"\$x\$",
        "`$x$`", "```\n$x$\n```", "$", "$$", "$$$$", "花 $5、$6，共 $11。", "$5 (约 ¥36)，$6",
    ],
)  # fmt: skip
def test_prices_and_variables_are_not_formulas(text):
    assert "<math" not in to_html(text)


@pytest.mark.parametrize("name", ["align", "align*", "aligned", "equation", "gather", "cases"])
def test_environments_need_no_delimiters(name):
    page = to_html(f"\\begin{{{name}}}\na &= b \\\\\nc &= d\n\\end{{{name}}}")
    assert page.count("<math") == 1
    assert "&amp;</mi>" not in page or name in ("equation", "gather")


def test_an_unclosed_formula_is_shown_as_written_and_ends_with_its_paragraph():
    first, second = blocks("\\[\n\\frac{a}{b}\n\n下一段")
    assert first == '<p class="written">\\[\n\\frac{a}{b}</p>'
    assert second == "<p>下一段</p>"


def test_function_names_have_space_around_them():
    assert '<mo form="prefix" lspace=".17em" rspace=".17em">log</mo>' in to_html(r"$n \log n$")


def test_text_after_a_formula_is_kept():
    assert "</span>。</p>" in to_html("$$x$$。")
    assert "是面积" in to_html("$$x$$ 是面积")


@pytest.mark.parametrize(
    "source",
    [
        r"\frac{", r"\left(", r"x^2^3", r"\begin{matrix} a", "{" * 500, r"\frac" * 500, "_" * 900,
        r"\newcommand{\a}{\b\b}\newcommand{\b}{\a\a}\a", r"\def\a{\a\a}\a", "x" * 2_001,
        r"\DeclareMathOperator{\a}{b}", r"\ce{H2O}",
    ],
)  # fmt: skip
def test_unsupported_formulas_are_shown_as_written(source):
    page = to_html(f"$$\n{source}\n$$")
    assert "<math" not in page
    assert page.startswith('<p><code class="written">')


@given(st.text(st.sampled_from("\\{}[]()^_&$ abx12frac\n"), max_size=120))
def test_no_formula_breaks_the_page(source):
    page = to_html(f"前\n\n$$\n{source}\n$$\n\n$x{source}$")
    assert page.count("<math") == page.count("</math>")
