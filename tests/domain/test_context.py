"""The messages that the model receives."""

from __future__ import annotations

from tests.support.builders import asked, complete, fail, opened
from wxgptd.domain.model.values import DeliveryKey, FailureReason
from wxgptd.domain.prompt import context


def sent(history, question, prompt="你是助手"):
    session, _ = history.state.find(DeliveryKey(question))
    return [(m.role, m.content) for m in context.messages(session, DeliveryKey(question), prompt)]


def test_all_turns_of_the_session_precede_the_question():
    history = asked("q1", "一？")
    history.do(complete("q1", "一。"))
    history.say("二？", "q2")
    history.do(complete("q2", "二。"))
    history.say("三？", "q3")
    assert sent(history, "q3") == [
        ("system", "你是助手"),
        ("user", "一？"),
        ("assistant", "一。"),
        ("user", "二？"),
        ("assistant", "二。"),
        ("user", "三？"),
    ]


def test_no_system_message_is_sent_without_a_system_prompt():
    assert sent(asked("q1", "一？"), "q1", prompt="") == [("user", "一？")]


def test_a_failed_question_leaves_no_dangling_turn():
    history = asked("q1", "一？")
    history.do(fail("q1"))
    history.say("二？", "q2")
    assert sent(history, "q2", "") == [("user", "二？")]


def test_a_filtered_answer_is_dropped_from_the_context():
    history = asked("q1", "一？")
    history.do(fail("q1", FailureReason.CONTENT_FILTER, "写了一半"))
    history.say("二？", "q2")
    assert sent(history, "q2", "") == [("user", "二？")]


def test_an_interrupted_answer_stays_in_the_context():
    history = asked("q1", "一？")
    history.do(fail("q1", FailureReason.INTERRUPTED, "写了一半"))
    history.say("后来呢", "q2")
    assert sent(history, "q2", "") == [
        ("user", "一？"),
        ("assistant", "写了一半"),
        ("user", "后来呢"),
    ]


def test_a_later_question_is_not_in_the_context():
    history = asked("q1", "一？")
    history.say("二？", "q2")
    assert sent(history, "q1", "") == [("user", "一？")]


def test_another_session_is_not_in_the_context():
    history = asked("q1", "一？")
    history.do(complete("q1", "一。"))
    history.say("/clear", "c1", session="s2")
    history.say("二？", "q2")
    assert sent(history, "q2", "") == [("user", "二？")]
    assert opened().state.live.questions == {}
