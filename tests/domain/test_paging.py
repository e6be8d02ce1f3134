"""Where an answer is cut."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wxgptd.domain import paging

TEXTS = st.text(
    st.one_of(
        st.sampled_from("。！？.!? \n，；a天空```~|#👩🏽‍🚀é\r\t"),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=600,
)


def pages(text: str, room: int) -> list[str]:
    found, start = [], 0
    while start < len(text):
        end = paging.cut(text, start, room)
        assert end > start, "a cut that does not move on would never end"
        found.append(text[start:end])
        start = end
    return found


@given(TEXTS, st.integers(min_value=64, max_value=400))
@example("👩‍👩‍👧‍👦" * 40, 64)
def test_pages_joined_are_the_text_and_each_fits(text, room):
    found = pages(text, room)
    assert "".join(found) == text
    assert all(len(page.encode()) <= room for page in found)


@given(TEXTS, st.integers(min_value=64, max_value=400))
def test_a_growing_text_is_cut_at_no_other_place_than_it_has_bytes_for(text, room):
    end = paging.cut(text, 0, room, growing=True)
    assert 0 <= end <= len(text)
    assert len(text[:end].encode()) <= room
    assert end > 0 or not text


def test_a_text_that_fits_is_not_cut():
    assert paging.cut("天是蓝的", 0, 100) == 4


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("第一段。第二句。\n\n第二段很长很长很长", "第一段。第二句。\n\n"),
        ("第一行，还是它\n第二行很长很长很长很长", "第一行，还是它\n"),
        ("第一句话说完了。第二句很长很长很长很长", "第一句话说完了。"),
        ("他说：“真的吗？”然后就走了走了走了走了", "他说：“真的吗？”"),
        ("第一个分句还行，第二个分句很长很长很长长", "第一个分句还行，"),
        ("There are words here and there", "There are words "),
        ("天天天天天天天天天天天天天天天天天天天天", "天天天天天天天天天天天"),
    ],
    ids=["paragraph", "line", "sentence", "quote", "clause", "word", "character"],
)
def test_it_is_cut_where_a_reader_would_cut_it(text, first):
    room = 35 if text[0] != "T" else 20
    assert text[: paging.cut(text, 0, room)] == first


def test_a_number_is_not_cut_at_its_point():
    text = "圆周率大约等于是 3.14159265358979323846"
    assert text[: paging.cut(text, 0, 36)].endswith(" ")


def test_a_code_fence_is_left_whole_where_it_can_be():
    text = "说明文字在这里，说明文字在这里。\n```python\nprint(1)\nprint(2)\n```\n"
    end = paging.cut(text, 0, 70)
    assert text[:end].endswith("。\n")
    assert text[end:].startswith("```")


def test_a_growing_text_ends_at_its_last_finished_sentence():
    text = "第一句。第二句。第三句才说到一"
    assert text[: paging.cut(text, 0, 1_000, growing=True)] == "第一句。第二句。"


def test_an_emoji_of_several_characters_is_not_parted():
    text = "a" * 61 + "👩🏽‍🚀"
    assert paging.cut(text, 0, 70) == 61
