"""The limit on concurrent answers, and the queue for them."""

from __future__ import annotations

from tests.support.model_server import answer_at
from tests.support.story import Story, configuration
from wxgptd import config as cfg
from wxgptd.domain.model.values import AssistantName
from wxgptd.service.answers.slots import Slots

A, B = AssistantName("a"), AssistantName("b")


class Runner:
    """Slots, and the answers started in them."""

    def __init__(self, limit: int, **limits: int) -> None:
        self.started: list[str] = []
        self.waited = 0
        self.slots = Slots(limit, lambda name: limits.get(name, 0), self._count_waiting)

    def _count_waiting(self) -> None:
        self.waited += 1

    def take(self, assistant: AssistantName, name: str, *, wanted: bool = True) -> None:
        def start() -> bool:
            if wanted:
                self.started.append(name)
            return wanted

        self.slots.take(assistant, start)


def test_the_total_number_of_running_answers_is_limited():
    runner = Runner(2)
    for name in ("1", "2", "3"):
        runner.take(A, name)
    assert runner.started == ["1", "2"]
    assert runner.waited == 1
    runner.slots.give(A)
    assert runner.started == ["1", "2", "3"]


def test_an_assistant_s_own_limit_does_not_delay_other_assistants():
    runner = Runner(10, a=1)
    for name in ("a1", "a2", "a3"):
        runner.take(A, name)
    runner.take(B, "b1")
    assert runner.started == ["a1", "b1"]
    runner.slots.give(A)
    assert runner.started == ["a1", "b1", "a2"]


def test_the_queues_of_assistants_take_turns():
    runner = Runner(1)
    for name in ("a1", "a2", "a3"):
        runner.take(A, name)
    runner.take(B, "b1")
    runner.slots.give(A)
    runner.slots.give(A)
    runner.slots.give(A)
    assert runner.started == ["a1", "a2", "b1", "a3"]


def test_an_abandoned_answer_takes_no_slot():
    runner = Runner(1)
    runner.take(A, "1")
    runner.take(A, "abandoned", wanted=False)
    runner.take(A, "3")
    runner.slots.give(A)
    assert runner.started == ["1", "3"]


def test_slots_are_returned_one_by_one():
    runner = Runner(3)
    for number in range(100):
        runner.take(A, str(number))
    for _ in range(97):
        runner.slots.give(A)
    assert len(runner.started) == 100


def test_lifting_a_limit_starts_all_waiting_answers():
    bounds = {"a": 1}
    started: list[int] = []
    slots = Slots(100_000, lambda name: bounds[name], lambda: None)
    for number in range(5_000):
        slots.take(A, lambda number=number: started.append(number) or True)
    assert started == [0]
    bounds["a"] = 0
    slots.fill()
    assert started == list(range(5_000))


# In the service.


def crowd(limit: int, users: int, **more) -> Story:
    assistant = cfg.Assistant(base_url="http://model.test/v1", model="m", max_running=limit, **more)
    story = Story(answer_at(6, "好的。"), configuration(assistant={"chatgpt": assistant}))
    for number in range(users):
        story.open(f"user{number}")
    return story


def test_questions_over_the_limit_are_queued_and_their_replies_say_so():
    story = crowd(1, 4)
    sent = [story.send(f"问题 {number}", f"user{number}") for number in range(4)]
    story.advance(1)
    assert len(story.model.calls) == 1
    assert story.service.base.fullness.recent().keys() == {"answers"}
    story.advance(14)
    assert [question.reply for question in sent[:2]] == ["好的。"] * 2, "one after the other"
    assert "还在想" in sent[2].reply, "it is being written"
    assert "正在排队" in sent[3].reply
    story.advance(12)
    assert story.say("继续", "user3") == "好的。"


def test_a_question_queued_after_the_users_own_is_reported_as_queued():
    story = Story(answer_at(20, "好的。"))
    story.open()
    sent = [story.send("一？"), story.send("二？")]
    story.advance(15)
    assert "还在想" in sent[0].reply
    assert "正在排队" in sent[1].reply


def test_a_cleared_question_takes_no_slot():
    story = crowd(1, 3)
    for number in range(3):
        story.send(f"问题 {number}", f"user{number}")
    story.say("/clear", "user1")
    story.advance(13)
    asked = [story.model.messages(call)[-1][1] for call in range(len(story.model.calls))]
    assert asked == ["问题 0", "问题 2"]


def test_a_user_s_second_question_waits_for_the_first_and_not_for_a_slot():
    story = crowd(1, 1)
    story.send("一", "user0")
    story.send("二", "user0")
    story.advance(1)
    assert len(story.model.calls) == 1
    story.advance(13)
    assert len(story.model.calls) == 2


def test_questions_are_also_queued_after_a_restart():
    story = crowd(1, 3)
    for number in range(3):
        story.send(f"问题 {number}", f"user{number}")
    story.advance(1)
    story.restart()
    story.advance(1)
    assert len(story.model.calls) == 2, "one call in each process"
    story.advance(20)
    assert len(story.model.calls) == 4


def test_a_failed_answer_returns_its_slot():
    from tests.support.model_server import error

    assistant = cfg.Assistant(base_url="http://model.test/v1", model="m", max_running=1)
    story = Story(error(400, "no"), configuration(assistant={"chatgpt": assistant}))
    for user in ("alice", "bob"):
        story.open(user)
        story.send("问题", user)
        story.advance(1)
    assert len(story.model.calls) == 2
