"""Words that are searched for, marked in what is shown."""

from __future__ import annotations

import re
from html import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.markdown import blocks
from wxgptd.pages.search import MAX_WORDS, mark, words_of


@pytest.mark.parametrize(
    ("html", "query", "marked"),
    [
        ("<p>GPU 和 gpu</p>", "gpu", "<p><mark>GPU</mark> 和 <mark>gpu</mark></p>"),
        ("<p>a &amp; b</p>", "amp", "<p>a &amp; b</p>"),
        ('<a href="https://p.test/">p</a>', "p", '<a href="https://p.test/"><mark>p</mark></a>'),
        ("<math><mi>x</mi></math> x", "x", "<math><mi>x</mi></math> <mark>x</mark>"),
        ("ab abc", "ab abc", "<mark>ab</mark> <mark>abc</mark>"),
        ("a.c abc", "a.c", "<mark>a.c</mark> abc"),
        ("<p>x</p>", "", "<p>x</p>"),
        ("<p>it's</p>", "it's", "<p><mark>it's</mark></p>"),
    ],
)
def test_what_is_shown_is_marked_and_nothing_else(html, query, marked):
    assert mark(html, words_of(query)) == marked


@given(st.text("ab<&\"' p", max_size=40), st.text('ab<&" mp', max_size=10))
def test_marking_changes_nothing_but_marks(text, query):
    html = "".join(blocks(text)) + escape(text, quote=False)
    assert re.sub("</?mark>", "", mark(html, words_of(query))) == html


def test_a_query_has_so_many_words():
    assert len(words_of("a " * 100)) == MAX_WORDS
