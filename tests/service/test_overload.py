"""More questions than the machine can answer: some are turned away, and nothing collapses."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from tests.support.model_server import answer_at
from tests.support.story import Story, configuration
from wxgpt.wechat import messages
from wxgptd.service.state.overload import AGAIN_S, BURST_S, MAX_TURN_S, RECENT_S, Overload

BUSY = configuration().texts.overloaded
TURN_S = 0.05


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


@pytest.fixture
def reactor():
    return Reactor()


@pytest.fixture
def overload(reactor):
    return Overload(reactor)


def busy(reactor: Reactor, overload: Overload, seconds: float) -> list[bool]:
    """Let a message arrive in each turn, all of which take long; return what is found."""
    found = []
    for _ in range(round(seconds / TURN_S)):
        found.append(overload.check())
        reactor.now += TURN_S
        reactor.turn()
    return found


def idle(reactor: Reactor) -> None:
    """Let a turn find nothing to do."""
    reactor.turn()
    reactor.turn()


def test_a_burst_is_no_overload(reactor, overload):
    for _ in range(5):
        assert not any(busy(reactor, overload, BURST_S))
        idle(reactor)


def test_a_queue_that_persists_is(reactor, overload):
    found = busy(reactor, overload, BURST_S + 1)
    assert not any(found[: round(BURST_S / TURN_S)])
    assert all(found[round(BURST_S / TURN_S) + 1 :])


def test_it_is_over_with_the_first_idle_turn(reactor, overload):
    busy(reactor, overload, BURST_S + 1)
    idle(reactor)
    assert overload.check() is False


def test_a_queue_that_comes_back_soon_is_noticed_sooner(reactor, overload):
    busy(reactor, overload, BURST_S + 1)
    idle(reactor)
    found = busy(reactor, overload, AGAIN_S + 1)
    assert found.index(True) == round(AGAIN_S / TURN_S) + 1
    idle(reactor)
    reactor.now += RECENT_S
    assert not any(busy(reactor, overload, BURST_S))


def test_a_machine_that_stood_still_is_not_overloaded(reactor, overload):
    overload.check()
    reactor.now += 60.0
    assert overload.check() is False
    reactor.turn()
    assert overload.check() is False


def test_long_turns_count(reactor, overload):
    found = []
    for _ in range(round(BURST_S) + 2):
        found.append(overload.check())
        reactor.now += 1.5 * MAX_TURN_S
        reactor.turn()
    assert found[0] is False
    assert found[-1] is True


def test_overload_ends_although_no_message_arrives(reactor, overload):
    busy(reactor, overload, BURST_S + 1)
    for _ in range(100):
        idle(reactor)
        reactor.now += 1.0
    assert overload.check() is False


def test_an_idle_process_is_not_woken(reactor, overload):
    overload.check()
    reactor.now += 0.01
    reactor.turn()
    assert reactor.calls, "the next turn may be busy as well"
    idle(reactor)
    assert reactor.calls == []


class TurningClock(Clock):
    """Leaves a call of no delay to the next turn: each `advance` is one turn."""

    def callLater(self, delay_s, call, *args, **kwargs):
        return super().callLater(delay_s or 1e-6, call, *args, **kwargs)


class TurningStory(Story):
    clock_type = TurningClock


def rest(story: Story) -> None:
    """Let the daemon have turns in which there is nothing to do."""
    for _ in range(3):
        story.clock.advance(0.001)


def overloaded() -> Story:
    """Return a story in which bob's question was admitted, and no other will be."""
    story = TurningStory(answer_at(1, "好。"))
    story.open()
    story.open(user="bob")
    rest(story)
    story.send("一？", user="bob", advance=False)
    for _ in range(round(BURST_S) + 1):
        story.clock.advance(MAX_TURN_S)
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
    rest(story)
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
    rest(story)
    story.advance(5)
    rest(story)
    assert story.deliver(message).reply == BUSY
    assert len(story.model.calls) == 1, "only the one that was admitted"


def test_the_operator_is_told():
    story = overloaded()
    story.send("为什么？", advance=False)
    assert story.service.base.fullness.recent() == {"load": 0.0}
