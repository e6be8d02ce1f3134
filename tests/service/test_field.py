"""Problems reported with real model servers, replayed on the wire."""

from __future__ import annotations

import re

import pytest

from tests.support.builders import words_of
from tests.support.field import files, script, written
from tests.support.model_server import answer_at, streamed
from tests.support.story import Story, configuration
from wxgptd.domain.replies.texts import Texts

POEM = "春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。"
HALF = "春眠不觉晓，处处闻啼鸟。"
THOUGHT = "用户问诗"
TEXTS = Texts()


class Outcome:
    """A question's outcome: in the chat, on the history page, and in the next prompt."""

    def __init__(self, path) -> None:
        self.story = Story(
            lambda _: script(path), configuration(texts=Texts(ai_label="", unseen=""))
        )
        self.story.open()
        self.story.open("bob")
        sent = self.story.send("背一首诗")
        self.story.advance(16)
        self.reply = words_of(sent.reply)
        self.calls = len(self.story.model.calls)

    @property
    def history(self) -> str:
        link = re.search(r"/h/[\w-]+", self.story.say("/history")).group()
        return self.story.get(f"{link}/download").body

    @property
    def next_prompt(self) -> str:
        self.story.model.respond = lambda _: answer_at(0.1, "好")
        self.story.send("再来")
        self.story.advance(2)
        return "\n".join(message["content"] for message in self.story.model.calls[-1]["messages"])


def ids(path) -> str:
    return f"{path.parent.name}/{path.name}"


COMPLETE = [
    *files("01-stop-in-every-chunk", "a-*"),
    *files("02-whole-message-at-the-end", "*"),
    *files("03-no-finish-reason", "[ae]-*"),
    *files("04-thoughts-in-other-marks", "*"),
    *files("06-what-a-200-says", "[def]-*"),
    *files("25-ok-odd-http", "[abcdeijlmnopq]-*"),
]


@pytest.mark.parametrize("path", COMPLETE, ids=ids)
def test_the_answer_is_complete_and_appears_exactly_once(path):
    outcome = Outcome(path)
    assert outcome.reply == POEM
    assert outcome.calls == 1
    history = outcome.history
    assert history.count("春眠不觉晓") == 1
    assert THOUGHT not in history + outcome.reply
    prompt = outcome.next_prompt
    assert prompt.count("春眠不觉晓") == 1
    assert THOUGHT not in prompt


def test_text_after_tool_calls_is_part_of_the_answer():
    [path] = files("01-stop-in-every-chunk", "c-*")
    assert Outcome(path).reply == HALF


def test_an_interrupted_answer_is_reported_as_interrupted():
    [path] = files("03-no-finish-reason", "g-*")
    outcome = Outcome(path)
    assert HALF in outcome.reply
    assert "回答中断" in outcome.reply


def test_a_missing_finish_reason_does_not_open_the_circuit_breaker():
    [path] = files("03-no-finish-reason", "a-*")
    story = Story(lambda _: script(path))
    for user in "abcd":
        story.open(user)
        sent = story.send("背一首诗", user)
        story.advance(2)
        assert sent.reply == POEM
    assert len(story.model.calls) == 4


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("a-*", TEXTS.failure_too_long.split("{")[0].strip()),
        ("b-*", TEXTS.failure_quota),
        ("c-*", TEXTS.failure_busy.split("{")[0].strip()),
    ],
)
def test_an_error_in_a_200_response_is_recognised(name, sentence):
    [path] = files("06-what-a-200-says", name)
    outcome = Outcome(path)
    assert sentence in outcome.reply
    [failed] = [
        event for event in outcome.story.store.events() if type(event).__name__ == "AnswerFailed"
    ]
    assert "connection was lost" not in failed.detail
    assert any(word in failed.detail for word in ("maximum context", "insufficient balance", "qps"))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("f-*", "回答较长，先写到这里"),
        ("s-*", "回答较长，先写到这里"),
        ("g-*", TEXTS.failure_refused),
        ("r-*", TEXTS.failure_refused),
        ("h-*", "回答中断"),
        ("t-*", TEXTS.failure_misconfigured),
        ("u-*", "请稍后重试"),
        ("v-*", "请稍后重试"),
        ("x-*", TEXTS.failure_refused),
        ("y-*", TEXTS.failure_quota),
        ("z-*", "回答中断"),
    ],
)
def test_a_truncated_filtered_or_rejected_answer_is_not_shown_as_complete(name, shown):
    [path] = files("25-ok-odd-http", name)
    assert shown in Outcome(path).reply


def test_line_separators_are_part_of_the_answer():
    [path] = files("25-ok-odd-http", "k-*")
    assert Outcome(path).reply.startswith("春眠")


def test_a_late_answer_is_pushed_unescaped():
    from tests.service.test_pushing import pushing_story

    [path] = files("24-ok-push-unescaped", "*.http")
    story = pushing_story(lambda _: script(path))
    story.open()
    story.send("背一首诗")
    story.advance(60)
    [(_, message)] = story.api.sent
    assert message == '慢慢来：1<2 & 3>2 <b>粗</b> 😀 “引号” 反斜杠 "双引号"\n第二行'


@pytest.mark.parametrize("path", files("12-picture-as-text", "*.http"), ids=ids)
def test_an_inline_picture_becomes_a_placeholder_everywhere(path):
    outcome = Outcome(path)
    assert outcome.reply == "画好了：\n[图片]"
    assert outcome.calls == 1
    assert "base64" not in outcome.history
    assert "画好了：\n[图片]" in outcome.next_prompt
    assert "base64" not in outcome.next_prompt


# How the chat and the page render a model's markup.


class Rendered:
    """A model's markup, as rendered in the chat and on the page."""

    def __init__(self, markdown: str, size: int = 10_000) -> None:
        pieces = [markdown[at : at + size] for at in range(0, len(markdown), size)]
        self.story = Story(streamed(1, pieces), configuration(texts=Texts(ai_label="", unseen="")))
        self.story.open()
        sent = self.story.send("写")
        self.story.advance(16)
        self.raw = sent.reply
        self.chat = words_of(sent.reply)
        history = re.search(r"/h/[\w-]+", self.story.say("/history")).group()
        body = self.story.get(history).body
        self.page = body[body.index('<div class="answer') :]


CHAT = {
    "09-asterisks-in-chat/a-*": "使用Python装饰器来实现缓存功能。",
    "09-asterisks-in-chat/d-*": "2**10=1024，a*b*c",
    "10-addresses-on-the-page/a-*": (
        "源码在 https://git.example.com/team/tool/blob/main/src/__main__.py 里"
    ),
    "10-addresses-on-the-page/d-*": "见 https://example.com/a?b=1，或 https://example.com/c。",
    "12-picture-as-text/d-*": "图 (https://example.com/a.png) 和 https://example.com/b.png",
    "19-page-against-chat/a-*": "总结如下：一段话\n————————\n下一段",
    "19-page-against-chat/b-*": "计算过程：\n\n456\n+456\n————————\n912",
    "19-page-against-chat/c-*": "☐ 待办\n☑ 完成",
    "19-page-against-chat/d-*": "│ 引用\n│\n│ code\n│\n│ 结束",
    "19-page-against-chat/e-*": "四格缩进的普通段落",
}
PAGE = {
    "09-asterisks-in-chat/a-*": ["<strong>装饰器</strong>", "<strong>缓存</strong>"],
    "09-asterisks-in-chat/d-*": ["<p>2**10=1024，a*b*c</p>"],
    "10-addresses-on-the-page/a-*": [
        (
            '<a href="https://git.example.com/team/tool/blob/main/src/__main__.py" '
            'rel="noopener noreferrer nofollow">'
            "https://git.example.com/team/tool/blob/main/src/__main__.py</a> 里"
        )
    ],
    "10-addresses-on-the-page/d-*": [
        (
            '<a href="https://example.com/a?b=1" rel="noopener noreferrer nofollow">'
            "https://example.com/a?b=1</a>，或"
        ),
        ">https://example.com/c</a>。",
    ],
    "12-picture-as-text/d-*": [
        '<p><a href="https://example.com/a.png" rel="noopener noreferrer nofollow">图</a> 和 ',
        ">[图片]</a></p>",
    ],
    "19-page-against-chat/a-*": ["<p>总结如下：一段话</p>", "<hr>", "<p>下一段</p>"],
    "19-page-against-chat/b-*": ["456\n+456</p>", "<hr>", "<p>912</p>"],
    "19-page-against-chat/c-*": ['<li class="task">☐ 待办</li>', '<li class="task">☑ 完成</li>'],
    "19-page-against-chat/d-*": ["<blockquote>", "<pre tabindex", "<code>code\n</code>", "结束"],
    "19-page-against-chat/e-*": ["<p>四格缩进的普通段落</p>"],
}


@pytest.mark.parametrize("case", CHAT)
@pytest.mark.parametrize("size", [1, 5, 10_000])
def test_the_chat_and_the_page_show_the_intended_text(case, size):
    [path] = files(*case.split("/"))
    rendered = Rendered(written(path), size)
    assert rendered.chat == CHAT[case]
    for part in PAGE[case]:
        assert part in rendered.page, rendered.page
    assert not re.search(r"<h[1-6]", rendered.page)


@pytest.mark.parametrize("path", files("26-links-that-a-model-writes", "*.md"), ids=ids)
@pytest.mark.parametrize("size", [1, 5])
def test_no_model_text_becomes_an_html_link_in_the_chat(path, size):
    rendered = Rendered(written(path), size)
    assert "<a" not in rendered.raw
    assert "查看完整答案" in rendered.raw
