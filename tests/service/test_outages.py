"""Every user gets text or a link, however WeChat's attempts are disrupted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.model_server import answer_at
from tests.support.story import WALL, Story
from wxgpt.wechat import messages

STEP_S = 0.25
SLOW = answer_at(40, "终于写完了。")
PAGE_LINK = "https://chat.example.com/a/"


def can_be_answered(up_s: float, *, listening: bool) -> bool:
    """Return whether an attempt arrives, or is still waiting, once the daemon is back at `up_s`.

    `up_s` counts from when the message was sent; attempts are made at 0, 5 and 10 s.
    """
    waits_until = 14.5 if listening else 10.0
    return up_s < waits_until


def stories(length: float, *, listening: bool, clock_offset: float) -> Iterator[tuple[float, str]]:
    """Yield phases and replies; a phase is an outage's start relative to the message."""
    # No phase coincides with an attempt.
    for phase in (0.25 + 0.75 * step for step in range(-20, 13)):
        if phase + length < 0 or not can_be_answered(phase + length, listening=listening):
            continue
        story = Story(SLOW, clock_offset=clock_offset)
        story.advance(0.75)
        story.open()
        story.advance(30, STEP_S)
        if phase < 0:
            story.go_down(listening=listening)
            story.advance(-phase, STEP_S)
        sent = story.send("一问", advance=False)
        if phase >= 0:
            story.advance(phase, STEP_S)
            story.go_down(listening=listening)
            story.advance(length, STEP_S)
        else:
            story.advance(length + phase, STEP_S)
        story.start()
        story.advance(16, STEP_S)
        assert sent.delivery is not None
        yield phase, sent.delivery.shown or "nothing"


@pytest.mark.parametrize("listening", [True, False], ids=["queued", "refused"])
@pytest.mark.parametrize("length", range(1, 15))
def test_every_message_gets_a_reply_despite_an_outage(length, listening):
    for phase, shown in stories(length, listening=listening, clock_offset=0.0):
        assert PAGE_LINK in shown, f"an outage of {length} s from {phase} on: {shown}"


@pytest.mark.parametrize("clock_offset", [0.4, 3.0, 30.0, 200.0, -0.4, -3.0, -200.0])
@pytest.mark.parametrize("length", [2, 5, 7, 11])
def test_a_clock_that_is_wrong_is_detected(length, clock_offset):
    for phase, shown in stories(length, listening=True, clock_offset=clock_offset):
        assert PAGE_LINK in shown, f"an outage of {length} s from {phase} on: {shown}"


@pytest.mark.parametrize("clock_offset", [0.0, 0.9, 7.3, 200.0, -0.9, -200.0])
def test_a_question_without_an_outage_gets_its_full_window(clock_offset):
    story = Story(answer_at(13.9, "刚好。"), clock_offset=clock_offset)
    for tenths in range(0, 10, 3):  # at any point within a second
        story.open()
        story.advance(20.05 + tenths / 10)
        sent = story.send("问")
        story.advance(15)
        assert sent.reply == "刚好。"
        assert sent.results == ["timeout", "timeout", "reply"]


@pytest.mark.parametrize("created", ["0", "1", "", "x", "99999999999", "9" * 30, "-5", "１２"])
def test_an_implausible_createtime_is_ignored(created):
    story = Story(answer_at(13.9, "刚好。"))
    story.open()
    story.advance(20)
    for question in ("一", "二"):  # the next question is unaffected too
        sent = story.deliver({**messages.text_message(question), "CreateTime": created})
        story.advance(15)
        assert sent.reply == "刚好。"
    sent = story.send("三")
    story.advance(15)
    assert sent.reply == "刚好。"


def test_a_message_sent_just_before_startup_is_answered_after_an_idle_hour():
    story = Story(SLOW, clock_offset=2.0)
    story.open()
    story.advance(240, 1.0)
    story.send("早先的问题")
    story.advance(60, 1.0)
    story.go_down(listening=True)
    story.advance(3_600, 5.0)
    sent = story.send("/chatgpt 一小时里唯一的问题", advance=False)
    story.advance(5, STEP_S)
    story.start()
    story.advance(9.5)
    assert PAGE_LINK in sent.reply
    assert [round(attempt.began_s) for attempt in sent.attempts] == [0, 5, 10]


def test_the_clock_offset_is_learned_and_survives_a_restart():
    def offset_s() -> float:
        return story.service.base.metrics.registry.get_sample_value("wxgptd_clock_offset_seconds")

    story = Story(SLOW, clock_offset=3.0)
    story.advance(0.5)
    assert offset_s() == 0.0
    story.open()
    assert offset_s() == pytest.approx(3.5, abs=0.06)
    story.advance(59.75, STEP_S)
    story.say("/help")
    learned = offset_s()
    assert learned == pytest.approx(3.3, abs=0.06)
    story.advance(30.5, STEP_S)
    story.say("/help")
    story.restart()
    assert offset_s() == learned
    story.advance(90_000, 900.0)
    assert offset_s() == 0.0  # samples older than a day do not count


@pytest.mark.parametrize("step_s", [6.0, 13.0, -13.0])
@pytest.mark.parametrize("restarts", [1, 2])
def test_a_clock_that_was_set_while_the_daemon_was_down_is_learned_again(step_s, restarts):
    story = Story(SLOW, clock_offset=20.0)
    story.open()
    story.clock_offset += step_s
    for _ in range(restarts):
        story.restart()
        for _ in range(4):
            story.advance(600, 5.0)
            story.say("/help")
    story.open()
    story.send("问")
    story.advance(16)
    [asked] = [event for event in story.store.events() if type(event).__name__ == "QuestionAsked"]
    assert asked.delay_s == 0.0


def test_messages_that_waited_for_a_restart_do_not_replace_the_learned_offset():
    story = Story(SLOW, clock_offset=3.0)
    story.open()
    story.advance(30.3, STEP_S)
    story.say("/help")
    before = story.service.state.clock_offset.seconds(story.service.base.event_clock.now())
    story.go_down(listening=True)
    waiting = [story.send("/help", f"user{number}", advance=False) for number in range(8)]
    story.advance(6, STEP_S)
    story.start()
    story.advance(10)
    assert all(sent.done for sent in waiting)
    after = story.service.state.clock_offset.seconds(story.service.base.event_clock.now())
    assert after == before


def test_the_log_records_when_a_message_was_sent_and_its_delay():
    story = Story(SLOW)
    story.open()
    story.advance(10)
    url, body = story.wechat().request("alice", messages.text_message("问"))
    story.advance(6)
    story.attempt(url, body)
    [asked] = [event for event in story.store.events() if type(event).__name__ == "QuestionAsked"]
    assert asked.sent_at == int(WALL) + 10
    assert asked.delay_s == pytest.approx(6.0, abs=0.1)
