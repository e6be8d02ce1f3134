"""The catalogue of sentences, and how a settled reply becomes one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.builders import filled, words_of
from wxgptd.domain.decide.limits import LIMIT_NOTICES
from wxgptd.domain.model.session import Completed, Failed, Pending, Question
from wxgptd.domain.model.values import (
    DeliveryKey,
    FailureReason,
    Finish,
    LinkHash,
    Notice,
    Reply,
    ReplyKind,
    Style,
)
from wxgptd.domain.replies import texts, wording
from wxgptd.domain.replies.texts import MAX_REPLY_BYTES, Texts
from wxgptd.domain.replies.wording import ReplyContext

LINK = "https://chat.example.com/a/abcdefghijklmnopqrstuv"
CONTEXT = ReplyContext(
    commands={"chatgpt": "/chatgpt", "claude": "/claude"},
    titles={"chatgpt": "AI 助手"},
    ttl_s=300.0,
    days=7,
    welcome="欢迎",
)


def question(answer) -> Question:
    return Question(DeliveryKey("q1"), "为什么？", 0.0, LinkHash(b""), answer=answer)


def completed(text: str, finish: Finish = Finish.STOP) -> Completed:
    return Completed(text, finish, "m-1", 1.0, 1.0)


def render(reply: Reply, answer=None, catalogue: Texts | None = None) -> str:
    about = question(answer) if answer is not None else None
    return wording.render(reply, about, LINK, catalogue or Texts(), CONTEXT)


@pytest.mark.parametrize("notice", list(Notice))
def test_every_notice_has_a_text_that_can_be_filled(notice):
    about = "90" if notice in LIMIT_NOTICES else "chatgpt"
    said = render(Reply(ReplyKind.NOTICE, notice=notice, about=about))
    assert said
    assert "{" not in said


@pytest.mark.parametrize("reason", list(FailureReason))
def test_every_failure_has_a_text_that_tells_no_detail(reason):
    said = render(Reply(ReplyKind.FAILURE), Failed(reason, "", 0.0, 30.0))
    assert said
    assert "{" not in said


def test_a_busy_server_s_text_says_when_to_come_again():
    assert "31 秒" in render(Reply(ReplyKind.FAILURE), Failed(FailureReason.BUSY, "", 0.0, 30.2))


@pytest.mark.parametrize("kind", ["image", "voice", "video", "sticker"])
def test_what_is_not_understood_is_told_by_its_kind(kind):
    said = render(Reply(ReplyKind.NOTICE, notice="not_understood", about=kind))
    assert said == getattr(Texts(), f"not_understood_{kind}")
    other = render(Reply(ReplyKind.NOTICE, notice="not_understood", about="music"))
    assert other == Texts().not_understood


LABEL = "内容由 AI 生成"


def test_a_whole_answer_has_its_label_and_nothing_else():
    whole = Reply(ReplyKind.ANSWER, start=0, end=3)
    assert render(whole, completed("因为。")) == f"因为。\n\n{LABEL}"
    assert render(whole, completed("因为。"), Texts(ai_label="")) == "因为。"


def test_only_the_first_part_of_an_answer_is_labelled():
    parts = completed("因为。所以。")
    assert LABEL in render(Reply(ReplyKind.ANSWER, start=0, end=3, rest=True), parts)
    assert render(Reply(ReplyKind.ANSWER, start=3, end=6), parts) == "所以。"
    assert LABEL in render(Reply(ReplyKind.PARTIAL, start=0, end=4, text="第一句。"), Pending())
    assert LABEL not in render(Reply(ReplyKind.PARTIAL, start=4, end=8, text="第二句。"), Pending())


@pytest.mark.parametrize("kind", [ReplyKind.LINK, ReplyKind.FAILURE])
def test_what_no_model_wrote_is_not_labelled(kind):
    refused = Failed(FailureReason.CONTENT_FILTER, "", 0.0, 0.0)
    assert LABEL not in render(Reply(kind), refused)
    assert LABEL not in render(Reply(ReplyKind.NOTICE, notice="help"))


def test_an_answer_with_more_to_come_says_how_to_get_it():
    said = render(Reply(ReplyKind.ANSWER, start=0, end=3, rest=True), completed("因为。所以。"))
    assert said.startswith(f"因为。\n\n{LABEL}\n\n──────────\n发送“<a ")
    assert LINK in said


def test_an_answer_that_was_cut_short_says_so():
    said = render(Reply(ReplyKind.ANSWER, start=0, end=3), completed("因为。", Finish.LENGTH))
    assert said.endswith(filled(Texts().cut_short))


def test_an_answer_that_broke_off_says_so():
    broken = Failed(FailureReason.INTERRUPTED, "写了一半", 0.0, 0.0)
    assert render(Reply(ReplyKind.ANSWER, start=0, end=4), broken).endswith(
        filled(Texts().interrupted)
    )


def test_what_was_written_by_then_comes_with_the_link():
    said = render(Reply(ReplyKind.PARTIAL, end=4, text="第一句。"), Pending())
    assert said.startswith(f"第一句。\n\n{LABEL}\n\n──────────\n发送“<a ")
    assert LINK in said


def test_an_account_s_welcome_may_name_the_commands():
    around = replace(CONTEXT, welcome="欢迎！发送 {commands}")
    said = wording.render(Reply(ReplyKind.NOTICE, notice="welcome"), None, LINK, Texts(), around)
    assert words_of(said) == "欢迎！发送 /chatgpt 或 /claude"


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("no_session", "发送 {link}", "uses {link}, but may use: {commands}, {start}, {tap:WORDS}"),
        ("cut_short", "发送 {commands}", "uses {commands}, but may use: {tap:WORDS}"),
        ("help", "一个 { 括号", "has malformed placeholders"),
        ("help", "长" * 400, "is longer than 1000 bytes"),
    ],
)
def test_a_text_that_cannot_be_filled_is_refused_beforehand(name, text, fault):
    assert any(fault in found for found in texts.faults(name, text))


def test_the_catalogue_itself_is_without_fault():
    for name in texts.names():
        assert list(texts.faults(name, getattr(Texts(), name))) == []


@given(st.text(min_size=1, max_size=3_000), st.text(max_size=300))
def test_no_reply_is_longer_than_wechat_takes(answer, footer):
    from wxgptd.domain.text import paging

    catalogue = Texts(more=footer.replace("{", "").replace("}", "")[:300])
    for style in Style:
        shown = paging.readable(answer, style)
        end = paging.cut(shown, 0, wording.room(catalogue, LINK), style)
        reply = Reply(ReplyKind.ANSWER, start=0, end=end, style=style, rest=end < len(shown))
        said = render(reply, completed(answer), catalogue)
        assert len(said.encode("utf-8", "replace")) <= MAX_REPLY_BYTES


def test_a_notice_that_grew_too_long_is_cut_rather_than_refused_by_wechat():
    many = {f"a{n}": f"/assistant-number-{n}" for n in range(200)}
    around = replace(CONTEXT, commands=many)
    said = wording.render(Reply(ReplyKind.NOTICE, notice="help"), None, "", Texts(), around)
    assert len(said.encode()) <= MAX_REPLY_BYTES
