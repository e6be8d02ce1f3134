"""Generated content is labelled in the chat, in pushes, on pages and in files."""

from __future__ import annotations

import html
import json
import re

from tests.service.test_pushing import late_story, pushing_story
from tests.support.model_server import answer_at, error
from tests.support.story import Story, configuration
from wxgptd.domain.replies.texts import Texts

ANSWER = "天空是蓝色的。"
LABEL = Texts().ai_label


def labelled_story(respond) -> Story:
    return Story(respond, configuration(texts=Texts()))


def reply_to_question(story: Story) -> str:
    story.open()
    sent = story.send("为什么？")
    story.advance(16)
    return sent.reply


def test_an_answer_is_labelled_in_the_chat():
    assert reply_to_question(labelled_story(answer_at(1, ANSWER))) == f"{ANSWER}\n\n{LABEL}"


def test_a_link_to_a_pending_answer_is_not_labelled():
    assert LABEL not in reply_to_question(labelled_story(answer_at(40, ANSWER)))


def test_an_answer_fetched_later_is_labelled_once():
    story = labelled_story(answer_at(40, ANSWER))
    reply_to_question(story)
    story.advance(30)
    assert story.say("继续") == f"{ANSWER}\n\n{LABEL}"
    long = labelled_story(answer_at(1, "很长的回答。" * 400))
    assert LABEL in reply_to_question(long)
    assert LABEL not in long.say("继续")


def test_an_empty_label_turns_labelling_off():
    story = Story(answer_at(1, ANSWER), configuration(texts=Texts(ai_label="")))
    assert reply_to_question(story) == ANSWER


def test_pushed_parts_are_labelled_by_wechat():
    story = late_story("".join(f"第 {n:04} 句话在这里说完了。" for n in range(150)))
    story.advance(10)
    assert len(story.api.sent) > 1
    assert all(story.api.labelled)


def test_a_pushed_failure_is_not_labelled():
    story = pushing_story(error(400, "no", at_s=20))
    reply_to_question(story)
    story.advance(30)
    assert story.api.labelled == [False]


def aigc_of(page: str) -> dict[str, str]:
    [content] = re.findall(r'<meta name="AIGC" content="([^"]*)">', page)
    return json.loads(html.unescape(content))


def test_pages_and_files_carry_aigc_metadata():
    story = labelled_story(answer_at(40, ANSWER))
    link = re.search(r"/a/[\w-]+", reply_to_question(story)).group()
    story.advance(30)
    answer = aigc_of(story.get(link).body)
    assert answer["Label"] == "1"
    assert answer["ContentProducer"] == answer["ContentPropagator"] == "chat.example.com"
    assert list(answer) == [
        "Label", "ContentProducer", "ProduceID", "ReservedCode1", "ContentPropagator",
        "PropagateID", "ReservedCode2",
    ]  # fmt: skip
    assert link.removeprefix("/a/") not in json.dumps(answer)
    page = re.search(r"/h/[\w-]+", story.say("/history")).group()
    history = aigc_of(story.get(page).body)
    assert history["ProduceID"] != answer["ProduceID"]
    file = story.get(f"{page}/download").body
    front_matter = re.match(r"---\nAIGC: (\{.*\})\n---\n", file)
    assert json.loads(front_matter.group(1)) == history
    assert Texts().page_ai_notice in file


def test_a_download_is_labelled_even_if_the_page_notice_is_off():
    story = Story(answer_at(1, ANSWER), configuration(texts=Texts(page_ai_notice="")))
    reply_to_question(story)
    page = re.search(r"/h/[\w-]+", story.say("/history")).group()
    assert story.get(f"{page}/download").body.rstrip().endswith(LABEL)


# Typing.


def test_typing_is_shown_while_an_answer_is_written_if_the_account_may_push():
    story = pushing_story(answer_at(20, ANSWER))
    story.open()
    story.send("为什么？")
    story.advance(14)
    assert story.api.typing == [("alice", "Typing")]
    story.advance(2)
    assert story.api.typing == [("alice", "Typing")] * 2
    story.advance(6)
    assert story.api.typing == [("alice", "Typing")] * 2 + [("alice", "CancelTyping")]


def test_an_immediate_answer_shows_no_typing():
    story = pushing_story(answer_at(0.5, ANSWER))
    story.open()
    story.send("为什么？")
    story.advance(20)
    assert story.api.typing == []


def test_typing_ends_after_half_a_minute():
    story = pushing_story(answer_at(100, ANSWER))
    story.open()
    story.send("为什么？")
    story.advance(90, 0.5)
    assert story.api.typing == [("alice", "Typing")] * 3


def test_a_denied_typing_indicator_is_tried_once_and_pushing_still_works():
    story = pushing_story(answer_at(20, ANSWER))
    story.api.typing_error = 48001
    story.open()
    story.send("为什么？")
    story.advance(30)
    story.send("再问？")
    story.advance(30)
    assert story.api.typing == [("alice", "Typing")]
    assert [text for _, text in story.api.sent] == [ANSWER, ANSWER]


def test_an_account_without_push_makes_no_api_calls():
    story = Story(answer_at(20, ANSWER))
    story.open()
    story.send("为什么？")
    story.advance(30)
    assert "api.weixin.qq.com" not in story.outside.hosts
