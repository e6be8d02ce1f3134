"""Taps: links that send words when tapped."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.domain.test_inert import PIECES, has_link
from tests.support.builders import History, asked, complete, filled, offer, receive
from wxgptd.domain.intake.phrases import Say, StopAnswer, Vocabulary
from wxgptd.domain.model.events import PushStarted
from wxgptd.domain.model.session import Completed, Question
from wxgptd.domain.model.values import (
    DeliveryKey,
    Finish,
    LinkHash,
    Policy,
    Reply,
    ReplyKind,
    Style,
    Text,
)
from wxgptd.domain.replies import taps, texts, wording
from wxgptd.domain.replies.texts import MAX_REPLY_BYTES, Texts
from wxgptd.domain.replies.wording import ReplyContext
from wxgptd.domain.text import paging

LINK = "https://chat.example.com/a/abcdefghijklmnopqrstuv"
CONTEXT = ReplyContext(
    commands={"chatgpt": "/chatgpt", "claude": "/claude"}, titles={}, ttl_s=300.0, days=7
)


class Client(HTMLParser):
    """Parses a reply as a client does: the text it shows, and the words each link would send."""

    def __init__(self, reply: str) -> None:
        super().__init__(convert_charrefs=True)
        self.sends: list[str] = []
        self.shown = ""
        self.feed(reply)
        self.close()

    def handle_starttag(self, tag, attributes) -> None:
        assert tag == "a"
        [(name, address)] = attributes
        assert name == "href"
        parts = urlsplit(address)
        assert (parts.scheme, parts.netloc) == ("weixin", "bizmsgmenu")
        query = parse_qs(parts.query)
        assert query.pop("msgmenuid") == ["1"]
        [words] = query.pop("msgmenucontent")
        assert not query
        self.sends.append(words)

    def handle_data(self, data) -> None:
        self.shown += data


@pytest.mark.parametrize(
    "words",
    ["继续", "/clear", "/model gpt-4o", "a&b", 'say "hi"', "it's", "<b>", "100%", "a+b", "x=1#y", "a\nb"],
)  # fmt: skip
def test_a_tap_sends_exactly_its_words(words):
    client = Client(taps.link(words, "点我"))
    assert client.sends == [words]
    assert client.shown == "点我"


def test_plain_words_are_not_encoded_in_the_link():
    assert (
        taps.link("继续", "继续看")
        == '<a href="weixin://bizmsgmenu?msgmenucontent=继续&msgmenuid=1">继续看</a>'
    )


@pytest.mark.parametrize(
    ("template", "without_taps"),
    [
        ("{tap:继续}", "继续"),
        ("{tap:继续|看下一段}", "看下一段（继续）"),
        ("点{tap:/chatgpt|开始}（在 /chatgpts）", "点开始（/chatgpt）（在 /chatgpts）"),
        ("{{{tap:继续}}}", "{{继续}}"),
        ("回复“继续”{tap:继续|看下一段}", "回复“继续”看下一段"),
        ("{tap:/stop|停} 或 {tap:/help}", "停（/stop） 或 /help"),
        ("{{tap:x}} {link}", "{{tap:x}} {link}"),
        ("没有", "没有"),
    ],
)
def test_taps_are_replaced_by_words(template, without_taps):
    assert taps.without_taps(template) == without_taps


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{tap:}", "without words to send"),
        ("{tap:|标签}", "without words to send"),
        ("{tap}", "without words to send"),
        ("{tap:{link}}", "braces inside"),
        ("{tap:一|二|三}", "more than one |"),
        ("{tap!r:一}", "did you mean {tap:WORDS}"),
        ("{tap：继续}", "did you mean {tap:WORDS}"),
        ("{Tap:继续}", "did you mean {tap:WORDS}"),
        ("{tap:继续}" * 14, "with its taps"),
        ("{link:一}", "a ! or a :"),
    ],
)
def test_an_invalid_tap_is_rejected(text, fault):
    assert any(fault in reported for reported in texts.faults("more", text))


@pytest.mark.parametrize("name", texts.names())
def test_every_text_may_contain_a_tap(name):
    assert list(texts.faults(name, "说 {tap:继续|看} 吧")) == []


TAPS = re.compile(r"\{tap:([^}|]*)(?:\|([^}]*))?\}")
VOCABULARY = Vocabulary({})


@pytest.mark.parametrize("name", texts.names())
def test_a_text_shows_what_to_type_instead_of_each_tap(name):
    text = getattr(Texts(), name)
    rest = TAPS.sub("", text)
    for words, label in TAPS.findall(text):
        sent, typed = VOCABULARY.read(Text(words)), VOCABULARY.read(Text(label or words))
        assert sent.action != Say(), words
        same = isinstance(typed.action, type(sent.action) | StopAnswer) and typed.action != Say()
        assert same or words in rest or name == "offered_more", (words, label)


@pytest.mark.parametrize("name", texts.names())
def test_a_text_that_mentions_a_command_offers_it_as_a_tap(name):
    text = getattr(Texts(), name)
    rest = TAPS.sub("", text)
    if name.startswith(("page_", "history")):
        return  # pages have no taps
    for words in ("“继续”", "/clear", "/stop", "/help", "/history"):
        if words in rest:
            assert f"{{tap:{words.strip('“”')}" in text


def test_pages_show_words_instead_of_taps():
    pages = texts.without_taps(Texts())
    assert not [name for name in texts.names() if "{tap" in getattr(pages, name)]
    assert pages.failure_interrupted == "回答中断了。发送“继续”接着写，或者重试。"


def rendered(notice: str, about: str = "", catalogue: Texts = Texts(), context=CONTEXT) -> str:
    return wording.render(
        Reply(ReplyKind.NOTICE, notice=notice, about=about), None, LINK, catalogue, context
    )


def test_help_and_the_model_list_are_menus():
    assert Client(rendered("help")).sends == [
        "/chatgpt", "/claude", "继续", "重试", "停止", "/clear", "/history", "/stop",
    ]  # fmt: skip
    client = Client(rendered("models", "small\nsmall\nBig one"))
    assert client.sends == ["/model small", "/model Big one"]
    assert "可以换成：small、Big one。" in client.shown


def test_help_is_correct_if_no_command_is_needed():
    context = replace(CONTEXT, without_command=True, several_models=True)
    client = Client(rendered("help", context=context))
    assert "/chatgpt" not in client.sends
    assert client.sends[-1] == "/model"
    assert client.shown.startswith("直接提问就行，")
    for notice in ("session_stopped", "no_session"):
        assert "直接提问" in rendered(notice, context=context)
        assert "直接提问" not in rendered(notice)


def test_help_is_correct_in_a_session():
    client = Client(rendered("help", "open"))
    assert client.shown.startswith("直接提问就行，")
    assert "/chatgpt" not in client.sends


def test_a_menu_too_long_for_links_is_sent_as_plain_text():
    names = [f"vendor/model-{number:02}-instruct" for number in range(40)]
    reply_text = rendered("models", "\n".join((names[0], *names)))
    assert Client(reply_text).sends == []
    assert len(reply_text.encode()) <= MAX_REPLY_BYTES
    assert names[-1] in reply_text


def test_taps_can_be_turned_off():
    plain = texts.without_taps(Texts())
    context = replace(CONTEXT, taps=False)
    for notice, about in (("help", ""), ("models", "a\na\nb"), ("session_opened", "chatgpt")):
        assert "<" not in rendered(notice, about, plain, context)


# Answers.


def answered(text: str) -> Question:
    completed = Completed(text=text, finish=Finish.STOP, model="m", at=0.0, took_s=1.0, tokens=1)
    question = Question(DeliveryKey("q1"), "问", 0.0, LinkHash(b"."))
    return question.answered(completed, late=False)


@given(st.lists(st.sampled_from(PIECES), max_size=60).map("".join), st.integers(0, 80))
def test_a_reply_has_no_links_except_our_taps(text, end):
    """Apart from our own taps, no client sees a link in any reply."""
    question = answered(text)
    footers = {filled(getattr(Texts(), name), link=LINK, failure="") for name in (
        "more", "cut_short", "interrupted", "failed_midway",
    )}  # fmt: skip
    for rest in (True, False):
        reply_text = wording.render(
            Reply(ReplyKind.ANSWER, question=DeliveryKey("q1"), end=end, rest=rest),
            question, LINK, Texts(), CONTEXT,
        )  # fmt: skip
        for footer in footers:
            reply_text = reply_text.removesuffix(footer)
        assert not has_link(reply_text)


def without_taps(reply_text: str) -> str:
    return re.sub(
        r'<a href="weixin://bizmsgmenu\?msgmenucontent=[^"<>]*&msgmenuid=1">[^<>]*</a>',
        "",
        reply_text,
    )


TEXTS = st.lists(st.sampled_from(PIECES), max_size=60).map("".join) | st.text(max_size=100)


@given(TEXTS)
@example("x" * 18 + "<abbr href=//x>")
@example("x" * 15 + "&lt;abbr href=//x>")
def test_quoted_text_never_becomes_a_link(text):
    for name, about in (
        ("not_understood", text), ("no_such_model", f"m\n{text}"), ("session_opened", text),
        ("welcome", text),
    ):  # fmt: skip
        reply_text = rendered(name, about, context=replace(CONTEXT, welcome="来自 {scene}"))
        assert not has_link(without_taps(reply_text))
    question = Question(DeliveryKey("q1"), text, 0.0, LinkHash(b"."))
    assert not has_link(wording.reminder(question, LINK, Texts()))


@given(TEXTS, st.integers(0, 40), st.integers(0, 80), st.sampled_from(list(Style)))
def test_no_slice_of_an_answer_has_a_link(text, start, end, style):
    question = answered(text)
    whole = paging.readable(text, style)
    reply = Reply(
        ReplyKind.ANSWER, question=DeliveryKey("q1"), start=start, end=end, style=style, rest=True
    )
    assert not has_link(without_taps(wording.render(reply, question, LINK, Texts(), CONTEXT)))
    growing = Reply(ReplyKind.PARTIAL, start=start, end=end, text=whole[start:end], style=style)
    assert not has_link(without_taps(wording.render(growing, question, LINK, Texts(), CONTEXT)))
    push = PushStarted(
        at=0.0, question=DeliveryKey("q1"), start=start, end=end, style=style, rest=True
    )
    for last in (True, False):
        reply_text = wording.pushed(push, question, LINK, Texts(), last=last)
        assert not has_link(without_taps(reply_text))


def test_a_repeated_fence_does_not_create_a_link():
    text = "```<\nx\n" + 'a href="https://evil.example/">x</a>\n' * 100 + "```\n"
    whole = paging.readable(text, Style.MARKDOWN)
    for start in range(5, 60):
        assert not has_link(paging.page(whole, start, start + 500, Style.MARKDOWN))


def test_texts_with_many_taps_leave_room_for_the_answer():
    crowded = replace(
        Texts(),
        more="{tap:继续|点}" * 9 + "{link}",
        unseen="{tap:继续|点}" * 9 + "{question}{link}",
    )
    assert not list(texts.faults("more", crowded.more))
    room = wording.room(crowded, LINK)
    assert room >= wording.LEAST_ROOM_BYTES
    question = answered("很长的回答。" * 600)
    end = paging.cut(question.answer.text, 0, room)
    reminder = wording.reminder(question, LINK, crowded)
    reply_text = wording.render(
        Reply(ReplyKind.ANSWER, question=DeliveryKey("q1"), end=end, rest=True),
        question, LINK, crowded, CONTEXT, reminder,
    )  # fmt: skip
    assert len(reply_text.encode()) <= MAX_REPLY_BYTES


def test_a_welcome_with_many_taps_is_never_cut_inside_a_link():
    context = replace(CONTEXT, welcome="{tap:/help|看看}。" * 60)
    reply_text = rendered("welcome", context=context)
    assert len(reply_text.encode()) <= MAX_REPLY_BYTES
    assert not has_link(without_taps(reply_text))


def test_taps_count_towards_the_reply_size():
    history = asked("q1")
    history.do(complete("q1", "很长的回答。" * 600))
    read = []
    for number, delivery in enumerate(("q1", "m1", "m2", "m3", "m4", "m5", "m6", "m7")):
        if number:
            if not history.state.question("q1").has_more():
                break
            history.say("继续", delivery, at=float(number))
        history.do(offer(delivery, at=float(number), room=wording.room(Texts(), LINK)))
        reply_text = wording.render(
            history.state.windows[delivery].reply,
            history.state.question("q1"),
            LINK,
            Texts(),
            CONTEXT,
        )
        assert len(reply_text.encode()) <= MAX_REPLY_BYTES
        assert Client(reply_text).sends == (
            ["继续"] if history.state.question("q1").has_more() else []
        )
        reply_text = reply_text.removesuffix(filled(Texts().more, link=LINK)).strip()
        assert reply_text.endswith(Texts().ai_label) == (number == 0)
        read.append(reply_text.removesuffix(Texts().ai_label).strip())
    assert "".join(read) == "很长的回答。" * 600


# Tapped messages.


def tapped(words: str, delivery: str, at: float, **more):
    return receive(Text(words, tapped=True), delivery, at, **more)


def notice_of(history, delivery: str) -> str:
    return history.state.windows[delivery].reply.notice


def test_a_tapped_clear_asks_for_confirmation_once():
    history = asked("q1")
    history.do(complete("q1", "好"))
    history.do(tapped("/clear", "m1", 10.0))
    assert notice_of(history, "m1") == "confirm_clear"
    assert history.state.live.questions
    history.do(tapped("/clear", "m2", 20.0))
    assert notice_of(history, "m2") == "session_cleared"
    assert not history.state.live.questions
    history.say("又一个问题？", "q2", at=30.0)
    history.do(tapped("/clear", "m3", 40.0))
    assert notice_of(history, "m3") == "confirm_clear", "a confirmation is valid only once"


def test_another_message_cancels_a_pending_confirmation():
    history = asked("q1")
    history.do(complete("q1", "好"))
    history.do(tapped("/clear", "m1", 10.0))
    history.say("/help", "m2", at=20.0)
    history.do(tapped("/clear", "m3", 30.0))
    assert notice_of(history, "m3") == "confirm_clear"


def test_an_old_confirmation_request_expires():
    history = asked("q1")
    history.do(tapped("/clear", "m1", 10.0))
    history.say("/help", "m2", at=200.0)
    history.do(tapped("/clear", "m3", 10.0 + 301.0))
    assert notice_of(history, "m3") == "confirm_clear"


def test_a_typed_clear_needs_no_confirmation():
    history = asked("q1")
    history.say("/clear", "m1", at=10.0)
    assert notice_of(history, "m1") == "session_cleared"


def test_a_tapped_clear_needs_no_confirmation_if_nothing_is_lost():
    history = History()
    history.do(tapped("/clear", "m1", 10.0))
    assert notice_of(history, "m1") == "session_opened"


def test_percent_encoded_taps_are_decoded():
    history = asked("q1")
    policy = Policy(models={"chatgpt": ("small", "big one")})
    history.say("/chatgpt 看 https://a.b/c%20d", "q2", at=5.0)
    assert history.state.question("q2").text == "看 https://a.b/c%20d", "typed text is not decoded"
    history.do(tapped("/model%20big%20one", "m1", 10.0, policy=policy))
    assert notice_of(history, "m1") == "model_chosen"
    assert history.state.live.model == "big one"


def test_a_tap_counts_as_a_menu_click():
    from wxgptd.domain.model import push_quota

    history = asked("q1", at=0.0)
    state = history.state
    for _ in range(5):
        state = push_quota.counted(state, 100.0)
    assert not push_quota.allows(state, 100.0)
    history.do(tapped("继续", "m1", 200.0))
    state = history.state._replace(pushes=5)
    for _ in range(3):
        assert push_quota.allows(state, 230.0)
        state = push_quota.counted(state, 230.0)
    assert not push_quota.allows(state, 230.0)
    assert not push_quota.allows(history.state._replace(pushes=5), 261.0)
    assert push_quota.allows(history.state, 261.0), "a tap does not use up the five pushes either"
    history.say("继续", "m2", at=300.0)
    assert push_quota.allows(history.state, 300.0 + 47 * 3_600)
