"""Search terms, marked in the HTML of a page."""

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
def test_only_visible_text_is_marked(html, query, marked):
    assert mark(html, words_of(query)) == marked


@given(st.text("ab<&\"' p", max_size=40), st.text('ab<&" mp', max_size=10))
def test_marking_only_adds_mark_tags(text, query):
    html = "".join(blocks(text)) + escape(text, quote=False)
    assert re.sub("</?mark>", "", mark(html, words_of(query))) == html


def test_the_number_of_words_in_a_query_is_limited():
    assert len(words_of("a " * 100)) == MAX_WORDS
