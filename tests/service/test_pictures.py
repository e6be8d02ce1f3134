"""Pictures are sent to models with vision."""

from __future__ import annotations

import base64

import pytest

from tests.support.model_server import answer_at
from tests.support.outside import Recorder
from tests.support.story import Story, configuration
from wxgpt.wechat import messages
from wxgptd import config as cfg
from wxgptd.domain.model.events import AnswerFailed

URL = "http://mmbiz.qpic.cn/mmbiz_jpg/abc/0"
JPEG = b"\xff\xd8\xff\xe0" + b"x" * 1_000
DATA_URL = "data:image/jpeg;base64," + base64.b64encode(JPEG).decode()


def make_story(answer=lambda *_: JPEG, *, vision: bool = True, **pictures) -> Story:
    assistant = cfg.Assistant(base_url="http://model.test/v1", model="m", vision=vision)
    config = configuration(assistant={"chatgpt": assistant}, pictures=cfg.Pictures(**pictures))
    story = Story(answer_at(0.1, "一只猫。"), config)
    story.wechat_pictures = Recorder(answer)
    story.outside.hosts["mmbiz.qpic.cn"] = story.wechat_pictures
    story.open()
    return story


def send_picture(story: Story, url: str = URL) -> str | None:
    sent = story.deliver(messages.image_message(url))
    story.advance(1)
    return sent.reply


def test_a_picture_is_sent_to_the_model_as_a_data_url():
    story = make_story()
    assert send_picture(story) == "一只猫。"
    assert story.model.calls[0]["messages"] == [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": DATA_URL}}]}
    ]


def test_follow_up_questions_include_the_picture_without_fetching_it_again():
    story = make_story()
    send_picture(story)
    story.send("它什么颜色？")
    story.advance(1)
    first, answer, second = story.model.calls[1]["messages"]
    assert first["content"][0]["image_url"]["url"] == DATA_URL
    assert (answer["content"], second["content"]) == ("一只猫。", "它什么颜色？")
    assert len(story.wechat_pictures.requests) == 1


def test_only_the_newest_pictures_are_sent_again():
    story = make_story()
    for n in range(6):
        send_picture(story, f"{URL}?n={n}")
    with_picture = [
        message
        for message in story.model.calls[-1]["messages"]
        if isinstance(message["content"], list)
    ]
    assert len(with_picture) == 4


def test_an_earlier_picture_no_longer_available_is_left_out():
    story = make_story()
    send_picture(story)
    story.crash()
    story.start()
    story.outside.hosts["mmbiz.qpic.cn"] = Recorder(
        lambda request, _: request.setResponseCode(404) or b""
    )
    sent = story.send("它什么颜色？")
    story.advance(1)
    assert sent.reply == "一只猫。"
    assert story.model.messages()[0] == ("user", "[图片]")


def test_a_picture_for_a_model_without_vision_gets_an_explanation():
    story = make_story(vision=False)
    assert send_picture(story) == "目前看不了图片，请用文字描述你的问题。"
    assert story.wechat_pictures.requests == []


def test_a_picture_outside_a_session_is_ignored():
    story = make_story()
    story.say("/stop")
    assert send_picture(story) is None


@pytest.mark.parametrize(
    ("host", "name", "another"),
    [
        ("[::1]:9000", "::1", "[::1]:9001"),
        ("[::1]", "::1", "[::11]"),
        ("one_api:3000", "one_api", "one_api:3001"),
        ("pictures_1", "pictures_1", "xpictures_1"),
    ],
)
def test_a_configured_host_is_allowed_in_any_notation(host, name, another):
    story = make_story(hosts=[host])
    story.outside.hosts[name] = story.wechat_pictures
    assert send_picture(story, f"http://{host}/0") == "一只猫。"
    assert (
        send_picture(story, f"http://{another}/0") == "这张图片打不开，或者太大了，请换一张再发。"
    )


@pytest.mark.parametrize(
    "url",
    [
        "http://evil.example/mmbiz.qpic.cn/0",
        "http://mmbiz.qpic.cn.evil.example/0",
        "http://evilqpic.cn/0",
        "http://mmbiz.qpic.cn@127.0.0.1/0",
        "http://mmbiz.qpic.cn:8080/0",
        "http://169.254.169.254/latest/meta-data",
        "ftp://mmbiz.qpic.cn/0",
        "file:///etc/passwd",
        "http://[::1/0",
        "http://mmbiz.qpic.cn:x/0",
    ],
)
def test_pictures_are_fetched_from_no_other_host(url):
    story = make_story()
    assert send_picture(story, url) == "这张图片打不开，或者太大了，请换一张再发。"
    assert story.wechat_pictures.requests == []


def _status(code: int):
    def answer(request, _):
        request.setResponseCode(code)
        request.setHeader(b"location", b"http://169.254.169.254/")
        return JPEG

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        _status(302),
        _status(404),
        lambda *_: b"<html>",
        lambda *_: b"",
        lambda *_: JPEG + b"x" * 9_000,
        lambda *_: None,
    ],
    ids=["redirect", "missing", "not a picture", "empty", "too large", "no response"],
)
def test_a_picture_that_cannot_be_fetched_gets_an_explanation(answer):
    story = make_story(answer, max_size=8_000)
    sent = story.deliver(messages.image_message(URL))
    story.advance(12)
    assert sent.reply == "这张图片打不开，或者太大了，请换一张再发。"
    assert story.model.calls == []


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n123", "image/png"),
        (b"GIF89a123", "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
    ],
)
def test_the_image_type_is_detected_from_the_first_bytes(body, kind):
    story = make_story(lambda *_: body)
    send_picture(story)
    url = story.model.calls[0]["messages"][0]["content"][0]["image_url"]["url"]
    assert url.startswith(f"data:{kind};base64,")


def test_a_picture_question_is_asked_again_after_a_crash():
    story = make_story(lambda *_: None)
    sent = story.deliver(messages.image_message(URL))
    story.advance(1)
    story.crash()
    story.outside.hosts["mmbiz.qpic.cn"] = Recorder(lambda *_: JPEG)
    story.start()
    story.advance(10)
    assert sent.reply == "一只猫。"


def test_no_pictures_are_sent_once_vision_is_turned_off():
    story = make_story()
    send_picture(story)
    story.crash()
    story.config.assistant["chatgpt"] = cfg.Assistant(base_url="http://model.test/v1", model="m")
    story.start()
    story.send("它什么颜色？")
    story.advance(1)
    assert story.model.messages()[0] == ("user", "[图片]")


def test_a_shared_picture_is_fetched_and_cached_once():
    story = make_story()
    for user in ("bob", "carol"):
        story.open(user)
    for user in ("alice", "bob", "carol"):
        story.deliver(messages.image_message(URL), user)
    story.advance(1)
    pictures = story.service.base.settings.pictures
    assert list(pictures._remembered) == [URL]
    assert pictures._size == len(DATA_URL)
    assert len(story.wechat_pictures.requests) == 1


def test_picture_questions_over_the_memory_limit_wait_but_others_do_not(monkeypatch):
    monkeypatch.setattr("wxgptd.service.wiring.answers.PICTURE_BYTES", 3_000_000)
    story = make_story(max_size=1_000_000)
    story.model.respond = lambda _: answer_at(4, "一只猫。")
    for number in range(4):
        story.open(f"user{number}")
    story.outside.hosts["mmbiz.qpic.cn"] = Recorder(lambda *_: JPEG + b"x" * 900_000)
    sent = [
        story.deliver(messages.image_message(f"{URL}?n={number}"), f"user{number}")
        for number in range(4)
    ]
    text_only = story.send("没有图片的问题")
    story.advance(1)
    assert len(story.model.calls) == 3, "two pictures and the text"
    assert "pictures" in story.service.base.fullness.recent()
    story.advance(4)
    assert text_only.reply == "一只猫。"
    story.advance(5)
    assert [question.reply for question in sent] == ["一只猫。"] * 4


@pytest.mark.parametrize("how", ["stop", "/clear"])
def test_a_cancelled_picture_fetch_is_not_a_fetch_failure(how):
    story = make_story()
    story.outside.hosts["mmbiz.qpic.cn"] = Recorder(lambda *_: None)  # it never answers
    story.open()
    story.deliver(messages.image_message(URL))
    story.advance(1)
    before = len(story.store.events())
    if how == "stop":
        story.service.end()
    else:
        story.send(how)
    story.flush()
    failed = [event for event in story.store.events()[before:] if isinstance(event, AnswerFailed)]
    assert [event.reason for event in failed] == ([] if how == "stop" else ["stopped"])
