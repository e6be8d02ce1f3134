"""More questions than the machine can answer: some are turned away, and nothing collapses."""

from __future__ import annotations

import pytest

from tests.support.model_server import answer_at
from tests.support.story import Story, configuration
from wxgpt.wechat import messages
from wxgptd.service.state.overload import MAX_TURN_S, PERSISTS_S, Overload

BUSY = configuration().texts.overloaded
LONG_S = 2 * MAX_TURN_S


class Reactor:
    """Unlike `Clock`, it leaves a call of no delay to the next turn, as real reactors do."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.calls: list = []

    def seconds(self):
        return self.now

    def callLater(self, delay_s, call):
        assert delay_s == 0
        self.calls.append(call)

    def turn(self):
        calls, self.calls = self.calls, []
        for call in calls:
            call()

    def advance(self, seconds):
        self.turn()
        self.now += seconds
        self.turn()


def turn(clock: Reactor, overload: Overload, *messages_after_s: float) -> list[bool]:
    """Let messages arrive in one turn, each after so many seconds of work; return what is found."""
    found = []
    for after_s in messages_after_s:
        clock.now += after_s
        found.append(overload.check())
    clock.turn()
    return found


@pytest.fixture
def clock():
    return Reactor()


@pytest.fixture
def overload(clock):
    return Overload(clock)


def test_short_turns_are_no_overload(clock, overload):
    for _ in range(1_000):
        assert turn(clock, overload, 0, 0.9 * MAX_TURN_S) == [False, False]


def test_a_burst_is_no_overload(clock, overload):
    assert turn(clock, overload, 0, LONG_S) == [False, False]
    assert turn(clock, overload, 0.01) == [False]
    clock.advance(PERSISTS_S)
    assert turn(clock, overload, 0, LONG_S) == [False, False]


def test_a_queue_that_persists_is(clock, overload):
    turns = round(PERSISTS_S / LONG_S) + 1
    found = [turn(clock, overload, 0, LONG_S)[-1] for _ in range(turns)]
    assert found[0] is False
    assert found[-1] is True
    assert turn(clock, overload, 0, 0.01) == [True, True], "until a turn has been short"
    assert turn(clock, overload, 0.01) == [False]


def test_so_is_a_queue_within_one_turn(clock, overload):
    assert turn(clock, overload, 0, PERSISTS_S, 0.1)[1:] == [False, True]


def test_overload_ends_although_no_message_arrives(clock, overload):
    for _ in range(round(PERSISTS_S / LONG_S) + 1):
        turn(clock, overload, 0, LONG_S)
    clock.advance(0.01)
    clock.advance(60)
    assert turn(clock, overload, 0) == [False]


def test_an_idle_process_is_not_woken(clock, overload):
    turn(clock, overload, 0)
    clock.turn()
    assert clock.calls == []


def overloaded() -> Story:
    story = Story(answer_at(1, "好。"))
    story.open()
    story.open(user="bob")
    story.clock.rightNow += 0.001
    story.send("一？", user="bob", advance=False)
    story.clock.rightNow += PERSISTS_S + MAX_TURN_S
    return story


def test_an_overloaded_daemon_turns_new_questions_away_and_answers_the_others():
    story = overloaded()
    recorded = len(story.store.events())
    assert story.send("为什么？", advance=False).reply == BUSY
    assert story.send("/chatgpt 为什么？", user="carol", advance=False).reply == BUSY
    assert story.send("hello", user="dave", advance=False).reply is None, "outside of a session"
    assert len(story.store.events()) == recorded, "nothing about them is recorded"
    story.advance(3)
    assert len(story.model.calls) == 1
    later = story.send("为什么？")
    story.advance(3)
    assert later.reply == "好。", "the load is over"


def test_stopping_works_in_an_overload():
    story = overloaded()
    assert story.send("停止", user="bob", advance=False).reply not in {None, BUSY}


def test_a_question_that_was_turned_away_gets_the_same_reply_later():
    story = overloaded()
    message = messages.text_message("一？")
    assert story.deliver(message, advance=False).reply == BUSY
    story.advance(5)
    assert story.deliver(message).reply == BUSY
    assert len(story.model.calls) == 1, "only the one that was admitted"


def test_the_operator_is_told():
    story = overloaded()
    story.send("为什么？", advance=False)
    assert story.service.base.fullness.recent() == {"load": 0.0}
