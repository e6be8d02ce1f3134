"""Where an answer is cut into pages."""

from __future__ import annotations

import re
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.builders import asked, complete, offer
from tests.support.markdown import text
from wxgptd.domain.model.session import Completed, Question
from wxgptd.domain.model.values import DeliveryKey, Finish, LinkHash, Reply, ReplyKind, Style
from wxgptd.domain.replies import wording
from wxgptd.domain.replies.texts import Texts
from wxgptd.domain.replies.wording import ReplyContext
from wxgptd.domain.text import paging

TEXTS = st.text(
    st.one_of(
        st.sampled_from("。！？.!? \n，；a天空```~|#👩🏽‍🚀é\r\t"),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=600,
)


def pages(text: str, room: int) -> list[str]:
    slices, start = [], 0
    while start < len(text):
        end = paging.cut(text, start, room)
        assert end > start, "a cut that does not advance would loop forever"
        slices.append(text[start:end])
        start = end
    return slices


@given(TEXTS, st.integers(min_value=64, max_value=400))
@example("👩‍👩‍👧‍👦" * 40, 64)
def test_joined_pages_equal_the_text_and_each_page_fits(text, room):
    slices = pages(text, room)
    assert "".join(slices) == text
    assert all(len(page.encode()) <= room for page in slices)


@given(TEXTS, st.integers(min_value=64, max_value=400))
def test_the_first_page_of_a_growing_answer_stays_within_the_limit(text, room):
    end = paging.cut(text, 0, room, growing=True)
    assert 0 <= end <= len(text)
    assert len(text[:end].encode()) <= room
    assert end > 0 or not text


LINK = "https://chat.example.com/a/abcdefghijklmnopqrstuv"
CATALOGUE = Texts(ai_label="")
CONTEXT = ReplyContext(commands={}, titles={}, ttl_s=300.0, days=7)


def replies(answer: str, style: Style, room: int) -> tuple[str, list[str], list[str]]:
    """Return the readable text, its slices, and the replies made from them."""
    shown = paging.readable(answer, style)
    completed = Completed(answer, Finish.STOP, "m", 0.0, 0.0)
    question = Question(DeliveryKey("q"), "?", 0.0, LinkHash(b""), answer=completed)
    slices, rendered, start = [], [], 0
    while start < len(shown):
        end = paging.cut(shown, start, room, style)
        rest = bool(shown[end:].strip())
        reply = Reply(ReplyKind.ANSWER, "", "", question.delivery, start, end, "", style, rest)
        slices.append(shown[start:end])
        rendered.append(wording.render(reply, question, LINK, CATALOGUE, CONTEXT))
        start = end
    return shown, slices, rendered


def squeezed(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("style", list(Style))
def test_forty_thousand_texts_are_complete_page_by_page(style):
    random = Random(31_415)
    room = wording.room(CATALOGUE, LINK)
    fences = re.compile(r"(?m)^[^\S\n]*(`{3,}|~{3,})[^`\n]*$")
    for number in range(20_000):
        answer = text(random, 30 if number % 20 else 400)
        tight = random.randrange(60, room) if number % 2 else room
        shown, slices, rendered = replies(answer, style, tight)
        assert "".join(slices) == shown
        assert all(
            len(reply.encode("utf-8", "replace")) <= wording.MAX_REPLY_BYTES for reply in rendered
        )
        # The joined replies equal the answer, except for fences, which pages add and repeat.
        more = wording._fill(CATALOGUE.more, link=LINK)
        read = "\n".join(reply.removesuffix(more).rstrip("\n") for reply in rendered)
        if style is Style.MARKDOWN:
            read, shown = fences.sub("", read), fences.sub("", shown)
            if len(rendered) > 1 and re.search("```|~~~", answer):
                continue  # paging changes what counts as a fence and what is inside one
        assert squeezed(read) == squeezed(shown)


def test_a_user_receives_the_complete_answer_page_by_page():
    """Ask through the decider, then send `继续` until nothing is left."""
    random = Random(27_182)
    for _ in range(300):
        answer = text(random, 500).strip() or "天"
        history = asked("q1")
        history.do(complete("q1", answer))
        history.do(offer("q1"))
        read, number = [], 0
        while True:
            delivery = f"m{number}" if number else "q1"
            window = history.state.windows[delivery]
            question = history.state.question("q1")
            read.append(wording.render(window.reply, question, LINK, CATALOGUE, CONTEXT))
            if not question.has_more():
                break
            number += 1
            history.say("继续", f"m{number}", at=float(number))
            history.do(offer(f"m{number}", at=float(number)))
        more = wording._fill(CATALOGUE.more, link=LINK)
        joined = "\n".join(reply.removesuffix(more) for reply in read)
        assert squeezed(joined) == squeezed(paging.readable(answer, Style.PLAIN))


def test_the_pages_of_a_long_answer_show_every_line_once():
    lines = [f"第 {n} 行，说明第 {n} 件事。" for n in range(300)]
    _, slices, rendered = replies("\n".join(lines), Style.PLAIN, wording.room(CATALOGUE, LINK))
    assert len(slices) > 3
    shown = [line for reply in rendered for line in reply.split("\n") if line.startswith("第")]
    assert shown == lines


def test_code_split_across_pages_is_fenced_on_each_page():
    code = "\n".join(f"print({n})" for n in range(60))
    answer = f"看：\n```python\n{code}\n```\n完。"
    shown = paging.readable(answer, Style.MARKDOWN)
    assert shown == answer
    pages, start = [], 0
    while start < len(shown):
        end = paging.cut(shown, start, 300, Style.MARKDOWN)
        pages.append(paging.page(shown, start, end, Style.MARKDOWN))
        assert len(pages[-1].encode()) <= 300
        start = end
    assert len(pages) > 2
    for page in pages:
        assert page.count("```") % 2 == 0, page
    assert all(page.startswith("```python\nprint(") for page in pages[1:-1])
    assert pages[-1].endswith("完。")


def test_text_that_fits_is_not_cut():
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
def test_text_is_cut_where_a_reader_would_cut_it(text, first):
    room = 35 if text[0] != "T" else 20
    assert text[: paging.cut(text, 0, room)] == first


def test_a_number_is_not_cut_at_its_decimal_point():
    text = "圆周率大约等于是 3.14159265358979323846"
    assert text[: paging.cut(text, 0, 36)].endswith(" ")


def test_a_code_block_that_fits_on_the_next_page_is_not_split():
    answer = "说明文字在这里，说明文字在这里。\n```python\nprint(1)\nprint(2)\n```\n"
    end = paging.cut(answer, 0, 74, Style.MARKDOWN)
    assert answer[:end].endswith("。\n")
    assert answer[end:].startswith("```")


def test_a_growing_answer_ends_at_its_last_finished_sentence():
    text = "第一句。第二句。第三句才说到一"
    assert text[: paging.cut(text, 0, 1_000, growing=True)] == "第一句。第二句。"


def test_an_emoji_of_several_code_points_is_not_split():
    text = "a" * 61 + "👩🏽‍🚀"
    assert paging.cut(text, 0, 70) == 61
