"""The reply window: WeChat's three attempts, and answers that take from 0.1 s to 40 s."""

from __future__ import annotations

import pytest

from tests.support.model_server import answer_at, streamed
from tests.support.story import Story
from wxgpt.wechat import messages, peer

ANSWER = "天空是蓝色的，因为空气把蓝光散射得更多。"
IN_TIME = [(0.1, 1), (4.5, 1), (4.9, 1), (5.1, 2), (9.9, 2), (12.0, 3), (14.5, 3)]
TOO_LATE = [16.0, 40.0]


@pytest.mark.parametrize(("seconds", "attempts"), IN_TIME)
def test_an_on_time_answer_goes_to_the_open_attempt(seconds, attempts):
    story = Story(answer_at(seconds, ANSWER))
    story.open()
    sent = story.send("为什么？")
    story.advance(20)
    assert sent.reply == ANSWER
    assert sent.results == ["timeout"] * (attempts - 1) + ["reply"]
    assert sent.delivery.took_s == pytest.approx(seconds, abs=0.15)
    assert len(story.model.calls) == 1


@pytest.mark.parametrize("seconds", TOO_LATE)
def test_a_late_answer_becomes_a_link_before_wechat_hangs_up(seconds):
    story = Story(answer_at(seconds, ANSWER))
    story.open()
    sent = story.send("为什么？")
    story.advance(16)
    assert sent.results == ["timeout", "timeout", "reply"]
    assert 14.4 < sent.delivery.took_s < 14.8
    assert "https://chat.example.com/a/" in sent.reply
    story.advance(30)
    assert ANSWER in story.get(path_of(sent.reply)).body
    assert len(story.model.calls) == 1


@pytest.mark.parametrize("seconds", TOO_LATE)
def test_a_partial_answer_is_cut_at_a_sentence(seconds):
    sentences = [f"这是第 {n} 句，说到一半，" if n % 2 else f"又到句号了 {n}。" for n in range(20)]
    story = Story(streamed(seconds, sentences))
    story.open()
    sent = story.send("为什么？")
    story.advance(16)
    text = sent.reply.split("\n\n──")[0]
    assert "".join(sentences).startswith(text)
    assert text.endswith("。")
    assert "还在写" in sent.reply


def path_of(reply: str) -> str:
    """Return the path of the link in a reply."""
    return "/a/" + reply.split("/a/")[1].split(maxsplit=1)[0]


# Disruptions.


@pytest.mark.parametrize(("seconds", "attempts"), [*IN_TIME, (16.0, 3), (40.0, 3)])
def test_an_early_hang_up_does_not_lose_the_answer(seconds, attempts):
    story = Story(answer_at(seconds, ANSWER))
    story.open()
    wechat = peer.Peer(
        story.webhook(),
        http=story.wechat()._http,
        clock=story.world_clock,
        wall=story.wall,
        patience_s=0.05,
    )
    url, body = wechat.request("alice", messages.text_message("为什么？"))
    first = [start(story, wechat, url, body, 1)]
    story.advance(0.2)
    assert first[0].results == ["timeout"]
    second = story.attempt(url, body, number=2)
    story.advance(5)
    third = story.attempt(url, body, number=3)
    story.advance(5)
    replies = [sent.delivery.shown for sent in (second, third) if not sent.delivery.fault]
    assert replies, "no attempt got a reply"
    assert replies[-1] == ANSWER or "https://chat.example.com/a/" in replies[-1]
    assert len(story.model.calls) == 1


def start(story, wechat, url, body, number):
    from twisted.internet.defer import Deferred

    from tests.support.story import Sent

    attempts = []

    async def deliver():
        attempt = await wechat.attempt(url, body, "alice", number, story.world_clock.seconds())
        attempts.append(attempt)
        return peer.Delivery((attempt,), attempt.detail, attempt.result != "reply")

    sent = Sent(Deferred.fromCoroutine(deliver()))
    sent.attempts = attempts
    story.flush()
    return sent


@pytest.mark.parametrize("seconds", [0.1, 4.5, 4.9, 5.1, 9.9, 12.0, 14.5, 16.0, 40.0])
def test_a_lost_reply_is_repeated_verbatim_to_a_late_attempt(seconds):
    story = Story(answer_at(seconds, ANSWER))
    story.open()
    url, body = story.wechat().request("alice", messages.text_message("为什么？"))
    replies = []
    for number in range(1, 6):
        sent = story.attempt(url, body, number=number)
        story.advance(5.1)
        if not sent.delivery.fault:
            replies.append(sent.reply)
    assert len(replies) >= 2
    assert len(set(replies)) == 1
    assert len(story.model.calls) == 1


def test_a_settled_window_stops_repeating_its_reply_after_a_minute():
    story = Story(answer_at(0.1, ANSWER))
    story.open()
    url, body = story.wechat().request("alice", messages.text_message("为什么？"))
    first = story.attempt(url, body)
    story.advance(1)
    assert first.reply == ANSWER
    story.advance(58)
    repeated = story.attempt(url, body)
    story.advance(0.1)
    assert repeated.reply == ANSWER
    story.advance(3)
    late = story.attempt(url, body)
    story.advance(0.1)
    assert late.delivery.attempts[0].result == "success"
    story.advance(3_600)
    much_later = story.attempt(
        *story.wechat().request(
            "alice", {"MsgType": "text", "Content": "为什么？", "MsgId": msg_id(body)}
        )
    )
    story.advance(0.1)
    assert much_later.delivery.attempts[0].result == "success"
    assert len(story.model.calls) == 1


def msg_id(body: bytes) -> str:
    return body.decode().split("<MsgId>")[1].split("<")[0]


@pytest.mark.parametrize("seconds", [16.0, 40.0])
def test_a_fourth_attempt_gets_the_same_reply_as_the_third(seconds):
    story = Story(streamed(seconds, ["第一句。", "第二句。", "第三句。", "第四句。"]))
    story.open()
    url, body = story.wechat().request("alice", messages.text_message("为什么？"))
    attempts = []
    for number in (1, 2, 3):
        attempts.append(story.attempt(url, body, number=number))
        story.advance(5.1)
    fourth = story.attempt(url, body, number=4)
    story.advance(0.1)
    assert fourth.reply == attempts[2].reply


PHASES = {
    "while the first attempt is held": 2.0,
    "just after the first hang-up": 5.2,
    "while the second attempt is held": 7.0,
}


@pytest.mark.parametrize("seconds", [0.1, 4.5, 4.9, 5.1, 9.9, 12.0, 14.5, 16.0, 40.0])
@pytest.mark.parametrize("at", PHASES.values(), ids=PHASES.keys())
def test_a_restart_loses_no_question(seconds, at):
    story = Story(answer_at(seconds, ANSWER))
    story.open()
    sent = story.send("为什么？")
    story.advance(at)
    story.restart()
    story.advance(60)
    assert sent.reply == ANSWER or "https://chat.example.com/a/" in sent.reply
    if sent.reply != ANSWER:
        assert ANSWER in story.get(path_of(sent.reply)).body
    # Once for the question, and once for the restart if there was no answer yet.
    assert len(story.model.calls) == (1 if seconds < at else 2)


@pytest.mark.parametrize("seconds", [12.5, 14.5, 16.0, 40.0])
def test_continue_fetches_the_answer_after_a_restart_during_the_last_attempt(seconds):
    story = Story(answer_at(seconds, ANSWER))
    story.open()
    sent = story.send("为什么？")
    story.advance(12)
    story.restart()
    story.advance(1)
    assert sent.delivery.fault, "WeChat has no attempt left that could be answered"
    story.advance(seconds)
    assert story.say("继续") == ANSWER
    assert len(story.model.calls) == 2


@pytest.mark.parametrize("seconds", [0.1, 16.0])
def test_late_attempts_get_the_same_reply_after_a_restart(seconds):
    story = Story(streamed(seconds, ["第一句。", "第二句。"], first_s=0.05))
    story.open()
    fields = messages.text_message("为什么？")
    url, body = story.wechat().request("alice", fields)
    replies = []
    for number in (1, 2, 3):
        sent = story.attempt(url, body, number=number)
        story.advance(5.1)
        if not sent.delivery.fault:
            replies.append(sent.reply)
    story.restart()
    late = story.attempt(url, body, number=4)
    story.advance(0.1)
    assert late.reply == replies[-1]


def test_the_next_attempt_asks_a_question_that_was_not_durable_before_a_restart():
    story = Story(answer_at(1, ANSWER))
    story.open()
    story.store.stalled = True
    sent = story.send("为什么？")
    story.advance(2)
    assert story.model.calls == [], "the model was called before the question was durable"
    story.store.stalled = False
    story.restart()
    story.advance(10)
    assert sent.reply == ANSWER
    assert len(story.model.calls) == 1


def test_an_attempt_that_never_hangs_up_is_closed_without_a_response():
    story = Story(answer_at(30, ANSWER))
    story.open()
    patient = peer.Peer(
        story.webhook(),
        http=story.wechat()._http,
        clock=story.world_clock,
        wall=story.wall,
        patience_s=30.0,
    )
    url, body = patient.request("alice", messages.text_message("为什么？"))
    sent = start(story, patient, url, body, 1)
    story.advance(7.8)
    assert not sent.done
    story.advance(0.4)
    assert sent.results == ["closed"]


def test_the_last_attempt_is_recognised_by_its_timing_if_an_earlier_one_is_lost():
    story = Story(answer_at(40, ANSWER))
    story.open()
    url, body = story.wechat().request("alice", messages.text_message("为什么？"))
    first = story.attempt(url, body)
    story.advance(10)
    assert first.delivery.fault
    last = story.attempt(url, body, number=3)  # the second attempt was lost
    story.advance(5)
    assert "https://chat.example.com/a/" in last.reply


def test_simultaneous_attempts_share_one_answer():
    story = Story(answer_at(2, ANSWER))
    story.open()
    url, body = story.wechat().request("alice", messages.text_message("为什么？"))
    attempts = [story.attempt(url, body), story.attempt(url, body)]
    story.advance(3)
    assert [attempt.reply for attempt in attempts] == [ANSWER, ANSWER]
    assert len(story.model.calls) == 1
