"""The catalogue of texts, and how a settled reply is rendered from it."""

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
    subject = question(answer) if answer is not None else None
    return wording.render(reply, subject, LINK, catalogue or Texts(), CONTEXT)


@pytest.mark.parametrize("notice", list(Notice))
def test_every_notice_can_be_rendered(notice):
    about = "90" if notice in LIMIT_NOTICES else "chatgpt"
    reply_text = render(Reply(ReplyKind.NOTICE, notice=notice, about=about))
    assert reply_text
    assert "{" not in reply_text


@pytest.mark.parametrize("reason", list(FailureReason))
def test_every_failure_can_be_rendered_without_its_detail(reason):
    reply_text = render(Reply(ReplyKind.FAILURE), Failed(reason, "", 0.0, 30.0))
    assert reply_text
    assert "{" not in reply_text


def test_the_text_for_a_busy_server_says_when_to_retry():
    assert "31 秒" in render(Reply(ReplyKind.FAILURE), Failed(FailureReason.BUSY, "", 0.0, 30.2))


@pytest.mark.parametrize("kind", ["image", "voice", "video", "sticker"])
def test_the_text_for_an_unsupported_message_depends_on_its_kind(kind):
    reply_text = render(Reply(ReplyKind.NOTICE, notice="not_understood", about=kind))
    assert reply_text == getattr(Texts(), f"not_understood_{kind}")
    other = render(Reply(ReplyKind.NOTICE, notice="not_understood", about="music"))
    assert other == Texts().not_understood


LABEL = "内容由 AI 生成"


def test_only_a_label_is_added_to_a_complete_answer():
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
def test_text_not_written_by_a_model_is_not_labelled(kind):
    refused = Failed(FailureReason.CONTENT_FILTER, "", 0.0, 0.0)
    assert LABEL not in render(Reply(kind), refused)
    assert LABEL not in render(Reply(ReplyKind.NOTICE, notice="help"))


def test_an_answer_with_more_to_come_explains_how_to_get_it():
    reply_text = render(
        Reply(ReplyKind.ANSWER, start=0, end=3, rest=True), completed("因为。所以。")
    )
    assert reply_text.startswith(f"因为。\n\n{LABEL}\n\n──────────\n发送“<a ")
    assert LINK in reply_text


def test_an_answer_cut_short_is_marked():
    reply_text = render(Reply(ReplyKind.ANSWER, start=0, end=3), completed("因为。", Finish.LENGTH))
    assert reply_text.endswith(filled(Texts().cut_short))


def test_an_interrupted_answer_is_marked():
    broken = Failed(FailureReason.INTERRUPTED, "写了一半", 0.0, 0.0)
    assert render(Reply(ReplyKind.ANSWER, start=0, end=4), broken).endswith(
        filled(Texts().interrupted)
    )


def test_a_partial_answer_comes_with_the_link():
    reply_text = render(Reply(ReplyKind.PARTIAL, end=4, text="第一句。"), Pending())
    assert reply_text.startswith(f"第一句。\n\n{LABEL}\n\n──────────\n还在写……发送“<a ")
    assert LINK in reply_text


def test_an_account_s_welcome_may_list_the_commands():
    context = replace(CONTEXT, welcome="欢迎！发送 {commands}")
    reply_text = wording.render(
        Reply(ReplyKind.NOTICE, notice="welcome"), None, LINK, Texts(), context
    )
    assert words_of(reply_text) == "欢迎！发送 /chatgpt 或 /claude"


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("no_session", "发送 {link}", "uses {link}, but may use: {commands}, {start}, {tap:WORDS}"),
        ("cut_short", "发送 {commands}", "uses {commands}, but may use: {tap:WORDS}"),
        ("help", "一个 { 括号", "has malformed placeholders"),
        ("help", "长" * 400, "is longer than 1000 bytes"),
    ],
)
def test_invalid_placeholders_are_rejected(name, text, fault):
    assert any(fault in reported for reported in texts.faults(name, text))


def test_the_default_catalogue_is_valid():
    for name in texts.names():
        assert list(texts.faults(name, getattr(Texts(), name))) == []


@given(st.text(min_size=1, max_size=3_000), st.text(max_size=300))
def test_no_reply_is_longer_than_wechat_accepts(answer, footer):
    from wxgptd.domain.text import paging

    catalogue = Texts(more=footer.replace("{", "").replace("}", "")[:300])
    for style in Style:
        shown = paging.readable(answer, style)
        end = paging.cut(shown, 0, wording.room(catalogue, LINK), style)
        reply = Reply(ReplyKind.ANSWER, start=0, end=end, style=style, rest=end < len(shown))
        reply_text = render(reply, completed(answer), catalogue)
        assert len(reply_text.encode("utf-8", "replace")) <= MAX_REPLY_BYTES


def test_a_notice_too_long_for_wechat_is_cut():
    many = {f"a{n}": f"/assistant-number-{n}" for n in range(200)}
    context = replace(CONTEXT, commands=many)
    reply_text = wording.render(Reply(ReplyKind.NOTICE, notice="help"), None, "", Texts(), context)
    assert len(reply_text.encode()) <= MAX_REPLY_BYTES
