"""Where an answer is cut."""

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


LINK = "https://chat.example.com/a/abcdefghijklmnopqrstuv"
CATALOGUE = Texts(ai_label="")
CONTEXT = ReplyContext(commands={}, titles={}, ttl_s=300.0, days=7)


def replies(answer: str, style: Style, room: int) -> tuple[str, list[str], list[str]]:
    """The readable text, its slices, and the replies that they make."""
    shown = paging.readable(answer, style)
    completed = Completed(answer, Finish.STOP, "m", 0.0, 0.0)
    about = Question(DeliveryKey("q"), "?", 0.0, LinkHash(b""), answer=completed)
    slices, said, start = [], [], 0
    while start < len(shown):
        end = paging.cut(shown, start, room, style)
        rest = bool(shown[end:].strip())
        reply = Reply(ReplyKind.ANSWER, "", "", about.delivery, start, end, "", style, rest)
        slices.append(shown[start:end])
        said.append(wording.render(reply, about, LINK, CATALOGUE, CONTEXT))
        start = end
    return shown, slices, said


def squeezed(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("style", list(Style))
def test_a_hundred_thousand_texts_come_back_whole_page_by_page(style):
    random = Random(31_415)
    room = wording.room(CATALOGUE, LINK)
    fences = re.compile(r"(?m)^[^\S\n]*(`{3,}|~{3,})[^`\n]*$")
    for number in range(50_000):
        answer = text(random, 30 if number % 20 else 400)
        tight = random.randrange(60, room) if number % 2 else room
        shown, slices, said = replies(answer, style, tight)
        assert "".join(slices) == shown
        assert all(len(one.encode("utf-8", "replace")) <= wording.MAX_REPLY_BYTES for one in said)
        # What users read, put together again, is what the answer says; fences come and go.
        more = wording._fill(CATALOGUE.more, link=LINK)
        read = "\n".join(one.removesuffix(more).rstrip("\n") for one in said)
        if style is Style.MARKDOWN:
            read, shown = fences.sub("", read), fences.sub("", shown)
            if len(said) > 1 and re.search("```|~~~", answer):
                continue  # what a fence is and what belongs to one, pages change
        assert squeezed(read) == squeezed(shown)


def test_what_a_conversation_is_told_page_by_page_is_the_whole_answer():
    """The same through decisions and state: the question, and `继续` until nothing is left."""
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
        whole = "\n".join(one.removesuffix(more) for one in read)
        assert squeezed(whole) == squeezed(paging.readable(answer, Style.PLAIN))


def test_a_long_answer_s_pages_show_every_line_of_it_once():
    lines = [f"第 {n} 行，说明第 {n} 件事。" for n in range(300)]
    _, slices, said = replies("\n".join(lines), Style.PLAIN, wording.room(CATALOGUE, LINK))
    assert len(slices) > 3
    found = [line for one in said for line in one.split("\n") if line.startswith("第")]
    assert found == lines


def test_code_that_is_cut_in_two_is_code_in_both():
    code = "\n".join(f"print({n})" for n in range(60))
    answer = f"看：\n```python\n{code}\n```\n完。"
    shown = paging.readable(answer, Style.MARKDOWN)
    assert shown == answer
    found, start = [], 0
    while start < len(shown):
        end = paging.cut(shown, start, 300, Style.MARKDOWN)
        found.append(paging.page(shown, start, end, Style.MARKDOWN))
        assert len(found[-1].encode()) <= 300
        start = end
    assert len(found) > 2
    for one in found:
        assert one.count("```") % 2 == 0, one
    assert all(one.startswith("```python\nprint(") for one in found[1:-1])
    assert found[-1].endswith("完。")


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
    answer = "说明文字在这里，说明文字在这里。\n```python\nprint(1)\nprint(2)\n```\n"
    end = paging.cut(answer, 0, 74, Style.MARKDOWN)
    assert answer[:end].endswith("。\n")
    assert answer[end:].startswith("```")


def test_a_growing_text_ends_at_its_last_finished_sentence():
    text = "第一句。第二句。第三句才说到一"
    assert text[: paging.cut(text, 0, 1_000, growing=True)] == "第一句。第二句。"


def test_an_emoji_of_several_characters_is_not_parted():
    text = "a" * 61 + "👩🏽‍🚀"
    assert paging.cut(text, 0, 70) == 61
