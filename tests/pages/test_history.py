"""A user's own history: read, searched, downloaded, erased."""

from __future__ import annotations

import re

import pytest

from tests.support.model_server import answer_at
from tests.support.story import Story, configuration
from wxgpt.wechat import messages
from wxgptd import config as cfg
from wxgptd.domain.model.values import User
from wxgptd.domain.replies.texts import Texts

ANSWER = "**天空**是蓝色的。\n\n因为空气把蓝光散射得更多。"
TEXTS = Texts()


def path_of(reply: str) -> str:
    return re.search(r"/[ah]/[\w-]{22}", reply).group()


def history_of(story: Story) -> str:
    return path_of(story.say("/history"))


def test_a_history_shows_the_sessions_of_its_user_newest_first():
    story = Story(answer_at(0.1, ANSWER))
    for user in ("alice", "bob"):
        story.open(user)
        for n in range(2):
            story.send(f"{user} 的问题 {n}", user)
            story.advance(0.5)
        story.say("/stop", user)
        story.open(user)
        story.send(f"{user} 的新问题", user)
        story.advance(0.5)
    body = story.get(history_of(story)).body
    assert "bob" not in body
    assert (
        body.index("alice 的新问题") < body.index("alice 的问题 0") < body.index("alice 的问题 1")
    )
    assert TEXTS.history_stopped in body
    assert "<strong>天空</strong>" in body


def sessions_of(body: str) -> list[str]:
    return re.findall(r'data-session="([^"]+)"', body)


def test_a_history_is_a_list_of_folded_conversations_with_titles():
    story = Story(answer_at(0.1, "答。"))
    story.open()
    story.send("第一个问题\n还有第二行")
    story.advance(0.5)
    story.send("接着问")
    story.advance(0.5)
    story.say("/stop")
    story.open()
    story.send("问" * 100)
    story.advance(0.5)
    body = story.get(history_of(story)).body
    titles = re.findall(r"<h2>(.*?)</h2>", body)
    assert titles == ["问" * 60 + "…", "第一个问题"]
    assert "2 个问题" in body
    assert " open>" not in body
    assert body.count('name="dialogue"') == 2, "a browser opens one at a time"


def test_a_long_conversation_is_opened_on_a_page_of_its_own():
    story = Story(answer_at(0.1, "答" * 3_000))
    story.open()
    for n in range(25):
        story.send(f"长-{n}-完")
        story.advance(0.3)
    story.say("/stop")
    story.open()
    story.send("短的")
    story.advance(0.3)
    path = history_of(story)
    body = story.get(path).body
    assert "短的" in body
    assert "长-7-完" not in body
    _short, long = sessions_of(body)
    address = f"{path}?session={long}"
    assert address in body
    assert "打开这个对话（25 个问题）" in body
    found = {
        turn
        for n in (1, 2, 3)
        for turn in re.findall(r"长-\d+-完", story.get(f"{address}&page={n}").body)
    }
    assert len(found) == 25
    assert "短的" not in story.get(address).body
    assert story.get(f"{path}?session=unknown").code == 404


def test_one_conversation_is_downloaded_alone():
    story = Story(answer_at(0.1, "答。"))
    for word in ("甲", "乙"):
        story.open()
        story.send(f"问题{word}")
        story.advance(0.5)
        story.say("/stop")
    path = history_of(story)
    _newest, oldest = sessions_of(story.get(path).body)
    one = story.get(f"{path}/download?session={oldest}")
    assert "问题甲" in one.body
    assert "问题乙" not in one.body
    assert story.get(f"{path}/download?session=unknown").code == 404
    whole = story.get(f"{path}/download").body
    assert "问题甲" in whole
    assert "问题乙" in whole


def test_every_turn_of_a_long_history_is_on_exactly_one_page():
    story = Story(answer_at(0.1, "答。"))
    for n in range(15):
        if n % 5 == 0:
            story.say("/clear") if n else story.open()
        for m in range(3):
            story.send(f"问题-{n}-{m}-完")
            story.advance(0.3)
    path = history_of(story)
    turns = []
    for session in sessions_of(story.get(path).body):
        for number in (1, 2):
            page = story.get(f"{path}?session={session}&page={number}").body
            pages = int(re.search(r"<span>\d / (\d)</span>|$", page)[1] or 1)
            if number <= pages:
                turns += re.findall(r"<p>(问题-\d+-\d+-完)", page)
    assert len(turns) == len(set(turns)) == 45
    assert story.get(f"{path}?page=99").code == story.get(f"{path}?page=x").code == 200


def test_clearing_revokes_the_history_link():
    story = Story(answer_at(0.1, ANSWER))
    story.open()
    path = history_of(story)
    assert story.get(path).code == 200
    story.say("/clear")
    assert story.get(path).code == 404


def story_with(*questions: str, answer: str = ANSWER, **config) -> Story:
    story = Story(answer_at(0.1, answer), configuration(**config))
    story.open()
    for question in questions:
        story.send(question)
        story.advance(0.5)
    return story


def test_history_links_outlive_clearing_if_configured():
    story = story_with("一？", links=cfg.Links(clear_ends_history=False))
    path = history_of(story)
    story.say("/clear")
    assert story.get(path).code == 200
    story.restart()
    assert story.get(path).code == 200
    assert TEXTS.history_cleared in story.get(path).body


# Search.


def questions_in(body: str) -> list[str]:
    questions = re.findall(r'<div class="question"><p>(.*?)</p>', body, re.DOTALL)
    return [re.sub("<[^>]*>", "", question) for question in questions]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("gpu", ["GPU 是什么？"]),
        ("是什么", ["GPU 是什么？", "“天空”是什么颜色？"]),
        ("是什么 GPU", ["GPU 是什么？"]),
        ("散射", ["GPU 是什么？", "“天空”是什么颜色？", "&lt;b&gt; 怎么用？"]),
        ("<b>", ["&lt;b&gt; 怎么用？"]),
        ("没有这个", []),
    ],
)
def test_a_search_finds_turns_that_contain_all_its_words(query, expected):
    story = story_with("GPU 是什么？", "“天空”是什么颜色？", "<b> 怎么用？")
    from urllib.parse import quote

    body = story.get(f"{history_of(story)}?q={quote(query)}").body
    assert questions_in(body) == expected
    assert (TEXTS.history_not_found in body) == (not expected)
    assert (f"找到 {len(expected)} 个问答" in body) == bool(expected)


def test_matches_are_marked_and_the_query_stays_in_the_field_and_links():
    story = story_with(*[f"问题 {n} 的答案？" for n in range(3)])
    for n in range(30):
        if n % 3 == 0:
            story.say("/stop")
            story.open()
        story.send(f"更多 {n} 的答案？")
        story.advance(0.3)
    body = story.get(f"{history_of(story)}?q=%E7%AD%94%E6%A1%88").body
    assert "更多 29 的<mark>答案</mark>？" in body
    assert 'value="答案"' in body
    assert "?page=2&amp;q=%E7%AD%94%E6%A1%88" in body


@pytest.mark.parametrize("query", ["a" * 5_000, "%00", "%ff%fe", "&q=1&q=2", "%22%3E%3Cscript%3E"])
def test_no_search_breaks_the_page(query):
    story = story_with("一？")
    response = story.get(f"{history_of(story)}?q={query}")
    assert response.code == 200
    assert "<script>" not in response.body


# Download.


def test_the_download_is_the_whole_history_as_markdown_oldest_first():
    story = story_with("第一个\n问题？", "第二个问题？")
    story.say("/stop")
    story.open()
    story.send("第三个问题？")
    story.advance(0.5)
    response = story.get(f"{history_of(story)}/download")
    assert response.headers.getRawHeaders("Content-Type") == ["text/markdown; charset=utf-8"]
    assert "attachment" in response.headers.getRawHeaders("Content-Disposition")[0]
    text = response.body
    assert "> 第一个\n> 问题？" in text
    assert text.index("第一个") < text.index("第二个") < text.index("第三个")
    assert text.count("**天空**是蓝色的。") == 3
    assert text.count("**回答**") == 3
    assert re.search(r"## \d{4}-\d\d-\d\d \d\d:\d\d · AI 助手 · 已结束", text)


def test_unclosed_code_does_not_swallow_the_rest_of_the_download():
    story = story_with("一？", "二？", answer="看：\n\n````python\nprint(1)")
    text = story.get(f"{history_of(story)}/download").body
    assert text.count("print(1)\n````\n\n---") == 2


def test_a_revoked_history_link_has_no_subpages():
    story = story_with("一？")
    path = history_of(story)
    story.say("/clear")
    assert story.get(f"{path}/download").code == 404
    assert story.get(f"{path}/erase").code == 404
    assert story.get(f"{path}/other").code == 404
    assert story.get("/h/short/download").code == 404


# Erasure.


def confirmation_in(body: str) -> str:
    return re.search(r'name="confirmation" value="([^"]+)"', body).group(1)


def test_a_user_erases_everything_after_confirming():
    story = story_with("一？")
    page = path_of(story.say("/history"))
    warning = story.get(f"{page}/erase")
    assert TEXTS.history_erase_warning in warning.body
    assert story.get(page).code == 200, "opening the form erases nothing"
    response = story.post(f"{page}/erase", {"confirmation": confirmation_in(warning.body)})
    assert (response.code, TEXTS.history_erased in response.body) == (200, True)
    assert story.get(page).code == 404
    assert type(story.store.events()[-1]).__name__ == "UserErased"
    assert story.service.state.journal.state(User("main", "alice")).version == 0
    story.restart()
    assert story.get(page).code == 404


@pytest.mark.parametrize("form", [{}, {"confirmation": ""}, {"confirmation": "x" * 22}])
def test_a_form_without_the_right_confirmation_erases_nothing(form):
    story = story_with("一？")
    page = path_of(story.say("/history"))
    response = story.post(f"{page}/erase", form)
    assert TEXTS.history_erase_warning in response.body
    assert story.get(page).code == 200


def test_a_confirmation_does_not_erase_another_user():
    story = story_with("一？")
    mine = path_of(story.say("/history"))
    story.open("bob")
    other = path_of(story.say("/history", "bob"))
    confirmation = confirmation_in(story.get(f"{other}/erase").body)
    story.post(f"{mine}/erase", {"confirmation": confirmation})
    assert story.get(mine).code == 200


def test_erasure_includes_the_answer_being_written_and_its_page():
    story = Story(answer_at(60, ANSWER))
    story.open()
    sent = story.send("很久？")
    story.advance(15)
    answer = path_of(sent.reply)
    page = path_of(story.say("/history"))
    confirmation = confirmation_in(story.get(f"{page}/erase").body)
    story.post(f"{page}/erase", {"confirmation": confirmation})
    assert story.get(answer).code == 404
    assert len(story.service.answers.answer_runner._flights) == 0


def test_only_history_pages_may_submit_forms():
    story = story_with("一？")
    page = path_of(story.say("/history"))
    for path in (page, f"{page}/erase"):
        (policy,) = story.get(path).headers.getRawHeaders("Content-Security-Policy")
        assert "form-action 'self'" in policy
    (policy,) = story.get("/a/" + "A" * 22).headers.getRawHeaders("Content-Security-Policy")
    assert "form-action 'none'" in policy


def erase(story: Story) -> None:
    page = path_of(story.say("/history"))
    body = story.get(f"{page}/erase").body
    story.post(f"{page}/erase", {"confirmation": confirmation_in(body)})


@pytest.mark.parametrize("way", ["the page", "leaving"])
def test_erasure_does_not_reset_the_daily_limits(way):
    story = story_with("一？", "二？", limits=cfg.Limits(questions_per_day=2))
    if way == "the page":
        erase(story)
    else:
        story.deliver(messages.event_message("unsubscribe"))
    story.open()
    assert "今天的提问次数用完了" in story.say("三？")
    story.world_clock.advance(0)
    story.advance(86_400, step=3_600)
    story.open()
    story.send("第二天？")
    story.advance(0.5)
    assert "第二天？" in story.get(path_of(story.say("/history"))).body


def test_a_blocked_user_stays_blocked_after_erasure():
    story = story_with("一？")
    page = path_of(story.say("/history"))
    control = story.service.admin.children[b"users"]._control
    control.users.change_standing("main", "alice", "blocked", 0.0)
    body = story.get(f"{page}/erase").body
    story.post(f"{page}/erase", {"confirmation": confirmation_in(body)})
    assert "无法使用" in story.say("/chatgpt")
