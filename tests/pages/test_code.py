"""Syntax highlighting, in pieces of bounded size."""

from __future__ import annotations

import re
from html import unescape

from hypothesis import given
from hypothesis import strategies as st

from wxgptd.pages import code
from wxgptd.pages.code import highlighted

PYTHON = "def f(x):\n    return x  # 注释\n\n\n"


def text_of(html: str) -> str:
    return unescape(re.sub("<[^>]*>", "", html))


@given(st.text(st.sampled_from("ab\n \"'#<&\t\\"), max_size=300))
def test_highlighting_changes_no_characters(source):
    assert text_of(highlighted(source, "python")) == source


def test_a_long_block_is_highlighted_in_pieces_that_do_not_depend_on_later_text():
    source = PYTHON * 500
    pieces = code._pieces(source)
    assert "".join(pieces) == source
    assert max(map(len, pieces)) <= code.MAX_PIECE_CHARS
    assert code._pieces(source[:5_000])[:-1] == pieces[: len(code._pieces(source[:5_000])) - 1]
    html = highlighted(source, "python")
    assert text_of(html) == source
    assert html.count('<span class="k">def</span>') > 200 / 2
    assert "<span" not in html[-1_000:], "code beyond the limit is not highlighted"


def test_languages_without_a_fast_lexer_are_not_highlighted():
    assert highlighted("x", "autoit") == highlighted("x", "") == highlighted("x", "p" * 100) == ""
