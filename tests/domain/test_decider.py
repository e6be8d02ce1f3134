"""Commands applied to a user's state, and the events they produce."""

from __future__ import annotations

import pytest

from tests.support.builders import (
    ASSISTANTS,
    History,
    asked,
    complete,
    fail,
    kinds,
    offer,
    opened,
    receive,
)
from wxgptd.domain.decide import commands as c
from wxgptd.domain.decide.decider import MAX_RESTARTS, decide, recover
from wxgptd.domain.model import events as e
from wxgptd.domain.model.session import Failed, Pending
from wxgptd.domain.model.state import EMPTY
from wxgptd.domain.model.values import (
    AnswerUsage,
    CloseReason,
    DeliveryKey,
    FailureReason,
    Finish,
    Ignorable,
    Policy,
    ReplyKind,
    Subscribe,
    Unsubscribe,
    Unsupported,
)

TTL = Policy().session_ttl_s
LINK_TTL = Policy().link_ttl_s


# Outside a session.


@pytest.mark.parametrize(
    "content", ["你好", "", "/etc/hosts", Unsupported("image"), Ignorable("view")]
)
def test_a_message_outside_a_session_produces_no_events(content):
    assert History().say(content, "m1") == []


def test_an_opening_command_opens_a_session_and_confirms_it():
    events = History().say("/chatgpt", "m1", session="s1")
    assert kinds(events) == ["SessionOpened", "CommandGiven", "ReplyOffered"]
    assert events[0].session == "s1"
    assert events[0].assistant == "chatgpt"
    assert events[2].notice == "session_opened"


def test_text_after_an_opening_command_is_asked_at_once():
    events = History().say("/chatgpt 为什么？", "m1")
    assert kinds(events) == ["SessionOpened", "QuestionAsked"]
    assert events[1].text == "为什么？"


@pytest.mark.parametrize(
    ("command", "notice"),
    [("/stop", "no_session"), ("/help", "help"), ("/clear", "session_opened")],
)
def test_commands_also_work_outside_a_session(command, notice):
    assert History().say(command, "m1")[-1].notice == notice


def test_continue_outside_a_session_is_ignored_if_there_is_nothing_to_continue():
    assert History().say("继续", "m1") == []


def test_any_text_opens_a_session_and_is_asked_if_no_command_is_needed():
    policy = Policy(open_with=ASSISTANTS["/claude"])
    history = History()
    events = history.say("为什么？", "m1", policy=policy)
    assert kinds(events) == ["SessionOpened", "QuestionAsked"]
    assert events[0].assistant == "claude"
    history.do(complete("m1", "因为。"))
    history.do(offer("m1"))
    assert kinds(history.say("继续", "m2", at=1e4, policy=policy))[0] == "SessionClosed"
    assert History().say("", "m1", policy=policy) == []
    events = History().say(Unsupported("voice"), "m1", policy=policy)
    assert kinds(events) == ["MessageDeclined", "ReplyOffered"]


# In a session.


def test_a_message_is_a_question():
    events = opened().say("  为什么？ ", "q1", at=1.0)
    assert kinds(events) == ["QuestionAsked"]
    assert events[0].text == "为什么？"
    assert events[0].delivery == "q1"


def test_each_message_extends_the_session():
    history = opened(at=0.0)
    history.say("一？", "q1", at=TTL - 1)
    assert kinds(history.say("二？", "q2", at=2 * TTL - 2)) == ["QuestionAsked"]


def test_a_message_after_the_session_ttl_closes_the_session():
    history = opened(at=0.0)
    assert kinds(history.say("一？", "q1", at=TTL)) == ["SessionClosed"]
    assert history.events[-1].reason is CloseReason.EXPIRED


def test_repeating_an_opening_command_keeps_the_session_open():
    history = opened()
    events = history.say("/chatgpt", "m2")
    assert kinds(events) == ["CommandGiven", "ReplyOffered"]
    assert events[1].notice == "session_already_open"


def test_opening_another_assistant_closes_the_first_session():
    history = opened()
    events = history.say("/claude", "m2", session="s2")
    assert kinds(events) == ["SessionClosed", "SessionOpened", "CommandGiven", "ReplyOffered"]
    assert events[0].reason is CloseReason.REPLACED
    assert history.state.live.assistant == ASSISTANTS["/claude"]


WRITTEN = c.PartialAnswer(
    question=DeliveryKey("q1"),
    text="写了一半",
    usage=AnswerUsage(ASSISTANTS["/chatgpt"], prompt_tokens=3, completion_tokens=4, cost=0.5),
)


def test_stop_ends_the_session_and_keeps_partial_answers():
    history = asked("q1")
    history.say("二？", "q2")
    events = history.say("/stop", "m3", written=(WRITTEN,))
    assert kinds(events) == [
        "CommandGiven",
        "AnswerFailed",
        "AnswerFailed",
        "SessionClosed",
        "ReplyOffered",
    ]
    first, second = events[1:3]
    assert (first.question, first.text, first.usage.tokens, first.usage.cost) == (
        "q1",
        "写了一半",
        7,
        0.5,
    )
    assert (second.question, second.text, second.usage.tokens) == ("q2", "", 0)
    assert history.state.unanswered == ()


@pytest.mark.parametrize("word", ["停止", "停止。", "停一下", "stop"])
def test_the_word_stop_ends_the_running_answer_but_not_the_session(word):
    history = asked("q1")
    history.say("二？", "q2")
    events = history.say(word, "m3", written=(WRITTEN,))
    assert kinds(events) == ["CommandGiven", "AnswerFailed", "ReplyOffered"]
    assert events[1].text == "写了一半"
    assert events[2].notice == "answer_stopped"
    assert history.state.live is not None
    assert history.state.next_questions() == ("q2",)
    history.say(word, "m4")
    assert history.state.unanswered == ()
    assert kinds(history.say(word, "m5")) == ["CommandGiven", "SessionClosed", "ReplyOffered"]


def test_clear_abandons_the_running_answer():
    history = asked("q1")
    events = history.say("/clear", "m2", session="s2")
    assert kinds(events) == [
        "AnswerFailed",
        "SessionClosed",
        "SessionOpened",
        "CommandGiven",
        "ReplyOffered",
    ]
    assert history.state.unanswered == ()
    assert history.state.live.id == "s2"


def test_clear_reopens_the_same_assistant():
    history = History()
    history.say("/claude", "m1")
    history.say("/clear", "m2", session="s2")
    assert history.state.live.assistant == ASSISTANTS["/claude"]


@pytest.mark.parametrize("kind", ["image", "voice", "video", "location", "link"])
def test_an_unsupported_kind_of_message_is_declined_with_a_notice(kind):
    events = opened().say(Unsupported(kind), "m2")
    assert kinds(events) == ["MessageDeclined", "ReplyOffered"]
    assert events[1].notice == "not_understood"


def test_an_empty_message_is_declined():
    assert kinds(opened().say(" \n", "m2")) == ["MessageDeclined", "ReplyOffered"]


def test_an_overlong_question_is_declined():
    events = opened().say("长" * 6_000, "m2")
    assert events[-1].notice == "question_too_long"


def test_closing_sessions_does_not_raise_the_limit_on_running_questions():
    history = History()
    for n in range(3):
        opener = ("/chatgpt", "/claude")[n % 2]
        assert kinds(history.say(f"{opener} 第 {n} 个？", f"q{n}"))[-1] == "QuestionAsked"
    assert kinds(history.say("/claude 第四个？", "q4"))[-2:] == ["MessageDeclined", "ReplyOffered"]


def test_an_overlong_question_after_an_opening_command_is_declined_too():
    events = History().say("/chatgpt " + "长" * 6_000, "m1")
    assert kinds(events) == ["MessageDeclined", "ReplyOffered"]


def test_one_question_runs_while_two_wait_and_a_fourth_is_declined():
    history = asked("q1")
    assert kinds(history.say("二？", "q2")) == ["QuestionAsked"]
    assert kinds(history.say("三？", "q3")) == ["QuestionAsked"]
    events = history.say("四？", "q4")
    assert kinds(events) == ["MessageDeclined", "ReplyOffered"]
    assert events[1].notice == "too_many_waiting"
    assert history.state.next_questions() == ("q1",)
    history.do(complete("q1", "一。"))
    assert history.state.next_questions() == ("q2",)


# Deliveries.


def test_a_known_message_only_counts_as_another_attempt():
    history = asked("q1")
    events = history.say("为什么？", "q1", at=5.0)
    assert kinds(events) == ["AttemptRepeated"]
    assert events[0].number == 2
    assert history.state.windows["q1"].attempts == 2


def test_a_question_is_never_asked_twice_even_if_redelivered_late():
    history = asked("q1")
    history.do(complete("q1", "因为。"))
    for n in range(1, 9):
        history.say("还有？", f"q{n + 1}", at=n * TTL * 0.9)
        history.do(complete(f"q{n + 1}", "有。"))
    assert "q1" not in history.state.windows
    assert history.say("为什么？", "q1", at=8 * TTL * 0.9 + 1) == []


def test_a_redelivered_command_runs_only_once():
    history = opened()
    history.say("/clear", "m2", session="s2")
    history.say("一？", "q1")
    assert kinds(history.say("/clear", "m2", session="s3")) == ["AttemptRepeated"]
    assert history.state.live.id == "s2"


# Subscribing and unsubscribing.


def test_a_subscriber_is_welcomed_if_a_welcome_is_configured():
    assert kinds(History().say(Subscribe("7"), "e1")) == ["UserSubscribed"]
    events = History().say(Subscribe(), "e1", policy=Policy(welcome=True))
    assert kinds(events) == ["UserSubscribed", "ReplyOffered"]
    assert events[1].notice == "welcome"


def test_unsubscribing_closes_the_session_and_then_erases_the_user():
    history = asked("q1")
    events = history.say(Unsubscribe(), "e1")
    assert kinds(events) == ["AnswerFailed", "SessionClosed", "UserUnsubscribed", "UserErased"]
    assert events[1].reason is CloseReason.UNSUBSCRIBED
    assert history.state == EMPTY._replace(version=len(history.events))


def test_an_unknown_user_who_unsubscribes_produces_no_events():
    assert History().say(Unsubscribe(), "e1") == []


def test_erasing_a_user_first_abandons_answers_and_closes_the_session():
    history = asked("q1")
    history.say("二？", "q2")
    events = history.do(c.EraseUser(at=9.0, reason=CloseReason.OPERATOR))
    assert kinds(events) == ["AnswerFailed", "AnswerFailed", "SessionClosed", "UserErased"]
    assert History().do(c.EraseUser(at=9.0, reason=CloseReason.OPERATOR)) == ()


def test_unsubscribing_also_erases_answers_of_past_sessions():
    history = asked("q1")
    history.do(complete("q1", "很长的回答。" * 20))
    history.do(offer("q1", room=40))
    history.say("二？", "q2")
    history.say("/claude", "m1")
    assert kinds(history.say(Unsubscribe(), "e1")) == [
        "AnswerFailed",
        "SessionClosed",
        "UserUnsubscribed",
        "UserErased",
    ]
    history.say(Subscribe(), "e2")
    assert history.say("继续", "m2") == []


def test_history_issues_a_link():
    events = History().say("/history", "m1")
    assert kinds(events) == ["CommandGiven", "HistoryLinkIssued", "ReplyOffered"]


# Replies.


def test_a_complete_answer_is_offered_in_full():
    history = asked("q1")
    history.do(complete("q1", "因为。"))
    (event,) = history.do(offer("q1"))
    assert (event.kind, event.start, event.end) == (ReplyKind.ANSWER, 0, 3)
    assert event.text == "", "an answer already in the log must not be logged again"


def test_a_window_is_settled_once():
    history = asked("q1")
    history.do(complete("q1", "因为。"))
    history.do(offer("q1"))
    assert history.do(offer("q1")) == ()


def test_a_partial_answer_is_offered_up_to_its_last_sentence_and_logged():
    (event,) = asked("q1").do(offer("q1", written="第一句。第二句才"))
    assert (event.kind, event.start, event.end, event.text) == (
        ReplyKind.PARTIAL,
        0,
        4,
        "第一句。",
    )


def test_a_link_is_offered_if_nothing_is_written_yet():
    (event,) = asked("q1").do(offer("q1", written=" \n"))
    assert event.kind is ReplyKind.LINK


def test_a_failed_answer_is_offered_as_a_failure():
    history = asked("q1")
    history.do(fail("q1"))
    (event,) = history.do(offer("q1"))
    assert event.kind is ReplyKind.FAILURE


def test_the_text_of_an_interrupted_answer_is_offered():
    history = asked("q1")
    history.do(fail("q1", FailureReason.INTERRUPTED, "写了一半"))
    (event,) = history.do(offer("q1"))
    assert (event.kind, event.end) == (ReplyKind.ANSWER, 4)


# 继续


def pages_of(history: History, question: str, room: int = 40) -> list[str]:
    text = history.state.question(DeliveryKey(question)).answer.text
    (first,) = history.do(offer(question, room=room))
    slices = [text[first.start : first.end]]
    for n in range(50):
        events = history.say("继续", f"m{n}")
        if kinds(events) != ["ContinuationAsked"]:
            break
        (event,) = history.do(offer(f"m{n}", room=room))
        slices.append(text[event.start : event.end])
    return slices


def test_continue_returns_the_rest_page_by_page_and_is_then_a_question():
    history = asked("q1")
    text = "".join(f"这是第{n}句话。" for n in range(12))
    history.do(complete("q1", text))
    slices = pages_of(history, "q1")
    assert "".join(slices) == text
    assert len(slices) > 4
    assert kinds(history.events)[-1] == "QuestionAsked"
    assert history.events[-1].text == "继续"


def test_continue_works_after_the_session_has_ended():
    history = asked("q1")
    history.do(complete("q1", "很长的回答。" * 20))
    history.do(offer("q1", room=40))
    history.say("/stop", "m1")
    assert kinds(history.say("继续", "m2")) == ["ContinuationAsked"]


def test_continue_does_not_revive_a_cleared_answer():
    history = asked("q1")
    history.do(complete("q1", "很长的回答。" * 20))
    history.do(offer("q1", room=40))
    history.say("/clear", "m1")
    assert kinds(history.say("继续", "m2")) == ["QuestionAsked"]


def test_continue_waits_for_an_answer_still_being_written():
    history = asked("q1")
    history.do(offer("q1", written="第一句。第二"))
    assert kinds(history.say("继续", "m2")) == ["ContinuationAsked"]
    history.do(complete("q1", "第一句。第二句。"))
    (event,) = history.do(offer("m2"))
    assert (event.start, event.end) == (4, 8)


def test_a_question_s_own_window_gets_the_answer_even_if_continue_got_it_first():
    history = asked("q1")
    history.say("继续", "m2")
    history.do(complete("q1", "因为。"))
    history.do(offer("m2"))
    (event,) = history.do(offer("q1"))
    assert (event.kind, event.start, event.end) == (ReplyKind.ANSWER, 0, 3)


def test_continue_reports_that_the_question_s_own_window_delivered_everything():
    history = asked("q1")
    history.say("继续", "m2")
    history.do(complete("q1", "因为。"))
    history.do(offer("q1"))
    (event,) = history.do(offer("m2"))
    assert (event.kind, event.notice) == (ReplyKind.NOTICE, "all_said")


def test_continue_completes_an_interrupted_answer_rather_than_paging_an_older_one():
    history = asked("q1")
    history.do(complete("q1", "很长的回答。" * 20))
    history.do(offer("q1", room=40))
    history.say("二？", "q2")
    history.do(fail("q2", FailureReason.INTERRUPTED, "写了一半"))
    history.do(offer("q2"))
    assert kinds(history.say("继续", "m3")) == ["QuestionAsked"]


def test_a_retried_continue_repeats_its_own_page():
    history = asked("q1")
    history.do(complete("q1", "很长的回答。" * 20))
    history.do(offer("q1", room=40))
    history.say("继续", "m1")
    history.do(offer("m1", room=40))
    settled = history.state.windows["m1"]
    assert kinds(history.say("继续", "m1")) == ["AttemptRepeated"]
    assert history.state.windows["m1"].reply == settled.reply


# Answers.


def test_a_duplicate_answer_is_ignored():
    history = asked("q1")
    history.do(complete("q1", "因为。"))
    assert history.do(complete("q1", "别的。")) == ()
    assert history.do(fail("q1")) == ()


def test_an_answer_to_an_unknown_question_is_ignored():
    assert opened().do(complete("q9", "什么？")) == ()


def test_an_answer_is_recorded_even_after_its_session_has_ended():
    history = asked("q1")
    history.say("/claude", "m2")
    assert kinds(history.do(complete("q1", "因为。", finish=Finish.LENGTH))) == ["AnswerCompleted"]


# Recovery after a restart.


def test_recover_restarts_the_running_answer_and_leaves_waiting_questions_queued():
    history = asked("q1")
    history.say("二？", "q2")
    assert recover(history.state, 10.0, LINK_TTL) == (
        c.RecordFact(e.AnswerRestarted(at=10.0, question="q1")),
    )


def test_recover_does_nothing_if_every_question_is_answered():
    history = asked("q1")
    history.do(complete("q1", "因为。"))
    assert recover(history.state, 10.0, LINK_TTL) == ()


def test_a_restarted_answer_is_offered_from_its_beginning():
    history = asked("q1")
    history.do(offer("q1", written="旧的一句。旧的"))
    history.do(c.RecordFact(e.AnswerRestarted(at=1.0, question=DeliveryKey("q1"))))
    history.do(complete("q1", "全新的回答。"))
    history.say("继续", "m2")
    (event,) = history.do(offer("m2"))
    assert (event.start, event.end) == (0, 6)


def test_a_question_restarted_too_often_is_abandoned():
    history = asked("q1")
    for n in range(MAX_RESTARTS):
        (command,) = recover(history.state, float(n), LINK_TTL)
        assert isinstance(command.fact, e.AnswerRestarted)
        history.do(command)
    (command,) = recover(history.state, 9.0, LINK_TTL)
    assert isinstance(command.fact, e.AnswerFailed)
    history.do(command)
    assert isinstance(history.state.question(DeliveryKey("q1")).answer, Failed)


def test_a_question_whose_link_has_expired_is_abandoned():
    history = asked("q1")
    history.say("二？", "q2")
    commands = recover(history.state, LINK_TTL + 1, LINK_TTL)
    assert [type(command.fact) for command in commands] == [e.AnswerFailed] * 2


# Everything else.


def test_a_session_closes_when_its_ttl_ends_and_not_before():
    history = opened(at=0.0)
    assert history.do(c.ExpireSession(at=TTL - 0.1)) == ()
    assert kinds(history.do(c.ExpireSession(at=TTL))) == ["SessionClosed"]
    assert history.do(c.ExpireSession(at=TTL)) == ()


def test_an_operator_closes_only_the_named_session():
    history = opened()
    close = c.CloseSession(at=1.0, session="s9", reason=CloseReason.OPERATOR)
    assert history.do(close) == ()
    close = c.CloseSession(at=1.0, session="s1", reason=CloseReason.OPERATOR)
    assert kinds(history.do(close)) == ["SessionClosed"]


def test_the_first_view_of_a_page_is_recorded_once():
    history = asked("q1")
    command = c.RecordFact(e.PageOpened(at=1.0, question=DeliveryKey("q1")))
    assert kinds(history.do(command)) == ["PageOpened"]
    assert history.do(command) == ()


def test_deciding_does_not_change_the_state():
    history = asked("q1")
    before = history.state
    decide(before, receive("二？", "q2"))
    assert history.state is before
    assert isinstance(before.question(DeliveryKey("q1")).answer, Pending)
    assert all(isinstance(event.at, float) for event in history.events)
