"""Questions asked on a page: the same user, session and limits as in the chat."""

from __future__ import annotations

import pytest

from tests.support.builders import History, complete, fail, kinds, link, receive
from wxgptd.domain.decide import commands as c
from wxgptd.domain.decide import pages
from wxgptd.domain.decide.decider import decide
from wxgptd.domain.model import events as e
from wxgptd.domain.model.page_writing import MAX_WRITERS
from wxgptd.domain.model.values import (
    CloseReason,
    DeliveryKey,
    FailureReason,
    Limits,
    Policy,
    Rating,
    SessionId,
    Standing,
)

COOKIE = b"a cookie's digest"
ASK_FOR_S = 86_400.0


def ask(words: str, key: str, at: float, session: str = "s1", **more) -> c.AskOnPage:
    more.setdefault("session", f"new-{key}")
    message = receive(words, f"page:{key}", at, **more)
    return c.AskOnPage(message=message, session=SessionId(session))


def admit(at: float, issued_at: float, cookie: bytes = COOKIE) -> c.AdmitWriter:
    return c.AdmitWriter(at=at, question=DeliveryKey("m1"), cookie=cookie, issued_at=issued_at)


@pytest.fixture
def answered() -> History:
    """A session with one answered question, whose reader may write."""
    history = History()
    history.do(receive("/chatgpt 为什么？", "m1", 100.0, session="s1"))
    history.do(complete("m1", "因为。", 110.0))
    history.do(admit(120.0, 115.0))
    return history


def test_a_question_on_a_page_belongs_to_the_open_session(answered):
    events = answered.do(ask("还有呢？", "k1", 130.0))
    assert kinds(events) == ["QuestionAsked", "PageOpened"]
    assert events[0].session == "s1"
    assert answered.state.next_questions() == ("page:k1",)


def test_repeating_a_question_on_a_page_has_no_effect(answered):
    answered.do(ask("还有呢？", "k1", 130.0))
    assert answered.do(ask("还有呢？", "k1", 131.0)) == ()
    answered.do(complete("page:k1", "有。", 140.0))
    assert answered.do(ask("还有呢？", "k1", 2_000.0)) == (), "its window is forgotten by now"


def test_a_question_on_the_page_of_an_expired_session_resumes_it(answered):
    events = answered.do(ask("还有呢？", "k1", 5_000.0))
    assert kinds(events) == ["SessionClosed", "SessionResumed", "QuestionAsked", "PageOpened"]
    assert answered.state.live.id == "s1"
    assert list(answered.state.live.questions) == ["m1", "page:k1"]


def test_a_question_on_the_page_of_a_stopped_session_opens_another(answered):
    answered.do(receive("/stop", "m2", 130.0))
    events = answered.do(ask("还有呢？", "k1", 140.0))
    assert kinds(events) == ["SessionOpened", "QuestionAsked", "PageOpened"]
    assert events[0].session == "new-k1"
    assert events[0].assistant == "chatgpt"


def test_a_new_session_has_the_assistant_of_the_page(answered):
    answered.do(receive("/claude", "m2", 130.0, session="s2"))
    answered.do(receive("/stop", "m3", 140.0))
    events = answered.do(ask("还有呢？", "k1", 150.0, session="s1"))
    assert events[0].assistant == "chatgpt"


def test_a_question_goes_to_the_open_session_even_from_the_page_of_another(answered):
    answered.do(receive("/claude", "m2", 130.0, session="s2"))
    events = answered.do(ask("还有呢？", "k1", 150.0, session="s1"))
    assert kinds(events) == ["QuestionAsked", "PageOpened"]
    assert events[0].session == "s2"


def test_the_next_message_in_the_chat_continues_with_the_same_context(answered):
    answered.do(ask("还有呢？", "k1", 130.0))
    answered.do(complete("page:k1", "有。", 135.0))
    answered.do(receive("再说说", "m3", 140.0))
    assert list(answered.state.live.questions) == ["m1", "page:k1", "m3"]


def test_a_question_on_a_page_needs_no_reminder_and_no_push(answered):
    answered.do(ask("还有呢？", "k1", 130.0))
    answered.do(complete("page:k1", "有。", 200.0))
    assert "page:k1" not in answered.state.unseen
    push = c.StartPush(at=230.0, question=DeliveryKey("page:k1"), room=600, policy=Policy())
    assert answered.do(push) == ()


def test_a_question_on_a_page_does_not_count_as_a_message_in_the_chat(answered):
    heard_at = answered.state.heard_at
    answered.do(ask("还有呢？", "k1", 130.0))
    assert answered.state.heard_at == heard_at, "WeChat would not accept a push because of it"
    assert answered.state.writing.seen_at == 130.0


LIMITED = {
    "messages per minute": Limits(messages_per_minute=2),
    "questions per day": Limits(questions_per_day=1),
}


@pytest.mark.parametrize("limits", LIMITED.values(), ids=LIMITED)
def test_the_limits_of_the_chat_apply_and_every_question_gets_its_notice(answered, limits):
    policy = Policy(limits=limits)
    answered.do(receive("还有呢？", "m2", 125.0))
    for number in range(3):
        events = answered.do(ask("还有呢？", f"k{number}", 130.0 + number, policy=policy))
        assert kinds(events) == ["MessageDeclined", "ReplyOffered"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"moderated": True}, "moderated"),
        ({"spent": frozenset({"chatgpt"})}, "budget_spent"),
        ({"policy": Policy(max_question_bytes=5)}, "question_too_long"),
    ],
)
def test_a_question_is_declined_as_in_the_chat(answered, changes, reason):
    (declined, _) = answered.do(ask("还有呢？", "k1", 130.0, **changes))
    assert declined.reason == reason


def test_a_declined_question_resumes_nothing(answered):
    events = answered.do(ask("还有呢？", "k1", 5_000.0, moderated=True))
    assert kinds(events) == ["SessionClosed", "MessageDeclined", "ReplyOffered"]


def test_a_secret_is_spent_by_its_exchange_and_so_are_all_issued_before(answered):
    assert kinds(answered.do(admit(121.0, 115.0, b"another"))) == []
    assert kinds(answered.do(admit(121.0, 114.0, b"another"))) == []
    assert kinds(answered.do(admit(122.0, 121.5, b"another"))) == ["WriterAdmitted"]
    assert answered.state.writing.cookies == (COOKIE, b"another")


def test_the_first_browser_makes_room_for_one_too_many(answered):
    for number in range(MAX_WRITERS):
        answered.do(admit(130.0 + number, 130.0 + number, bytes([number])))
    assert COOKIE not in answered.state.writing.cookies
    assert len(answered.state.writing.cookies) == MAX_WRITERS


def may_write(history: History, at: float) -> bool:
    return history.state.may_write(COOKIE, at, ASK_FOR_S)


def test_the_right_to_write_ends_a_day_after_the_last_sign_of_life(answered):
    assert may_write(answered, 120.0 + ASK_FOR_S - 1)
    assert not may_write(answered, 120.0 + ASK_FOR_S)
    answered.do(receive("/help", "m2", 40_000.0))
    assert may_write(answered, 120.0 + ASK_FOR_S)


def test_an_unknown_cookie_may_not_write(answered):
    assert not answered.state.may_write(b"another", 130.0, ASK_FOR_S)


def test_clearing_ends_the_right_to_write_and_spends_every_secret(answered):
    answered.do(receive("/clear", "m2", 130.0, session="s2"))
    assert not may_write(answered, 131.0)
    assert answered.do(admit(131.0, 129.0)) == ()
    assert kinds(answered.do(admit(141.0, 140.0))) == ["WriterAdmitted"]


def test_erasing_ends_the_right_to_write(answered):
    answered.do(c.EraseUser(at=130.0, reason=CloseReason.CLEARED))
    assert not may_write(answered, 131.0)


def test_a_blocked_user_may_not_write_or_be_admitted(answered):
    blocked = e.StandingChanged(at=130.0, standing=Standing.BLOCKED, until=200.0)
    answered.do(c.RecordFact(blocked))
    assert not may_write(answered, 131.0)
    assert answered.do(admit(131.0, 130.5)) == ()
    assert not may_write(answered, 201.0), "a block ends it for good"
    assert answered.do(admit(201.0, 129.0)) == ()
    assert kinds(answered.do(admit(203.0, 202.0))) == ["WriterAdmitted"]


def seen(at: float) -> c.RecordFact:
    return c.RecordFact(e.ReaderSeen(at=at, question=DeliveryKey("m1")))


def test_reading_keeps_the_session_open_for_half_an_hour():
    history = History()
    history.do(receive("/chatgpt 为什么？", "m1", 0.0, session="s1"))
    history.do(complete("m1", "因为。", 10.0))
    recorded = [at for at in range(60, 3_600, 30) if history.do(seen(float(at)))]
    assert recorded == list(range(60, int(10 + pages.READING_FOR_S) + 1, 60))
    assert history.state.live_at(recorded[-1] + 299.0) is not None
    assert history.state.live_at(recorded[-1] + 300.0) is None


def test_opening_a_page_is_not_a_sign_of_life():
    """Anyone may have opened it: links are shared."""
    history = History()
    history.do(receive("/chatgpt 为什么？", "m1", 0.0, session="s1"))
    history.do(complete("m1", "因为。", 10.0))
    history.do(c.RecordFact(e.PageOpened(at=200.0, question=DeliveryKey("m1"))))
    assert history.state.live_at(309.0) is not None
    assert history.state.live_at(311.0) is None


def test_a_rating_replaces_an_earlier_one(answered):
    for rating in (Rating.UP, Rating.DOWN, Rating.NONE):
        fact = e.AnswerRated(at=130.0, question=DeliveryKey("m1"), rating=rating, words="")
        assert answered.do(c.RecordFact(fact)) == (fact,)
        assert answered.state.question(DeliveryKey("m1")).rating is rating


def test_an_answer_that_failed_can_be_asked_again_on_the_page():
    history = History()
    history.do(receive("/chatgpt 为什么？", "m1", 0.0, session="s1"))
    history.do(fail("m1", FailureReason.UNAVAILABLE, "", 10.0))
    command = ask("为什么？", "k1", 20.0)
    retry = c.AskOnPage(message=command.message, session=command.session, retries=DeliveryKey("m1"))
    asked, _ = decide(history.state, retry)
    assert asked.retries == "m1"
    assert asked.link == link("page:k1")


def test_repeating_a_rating_changes_nothing(answered):
    fact = e.AnswerRated(at=130.0, question=DeliveryKey("m1"), rating=Rating.UP)
    assert answered.do(c.RecordFact(fact)) == (fact,)
    assert answered.do(c.RecordFact(fact)) == ()
    with_words = e.AnswerRated(at=131.0, question=DeliveryKey("m1"), rating=Rating.UP, words="很好")
    assert answered.do(c.RecordFact(with_words)) == (with_words,)


def test_a_question_repeats_another_only_within_its_session(answered):
    answered.do(receive("/stop", "m2", 130.0))
    command = ask("为什么？", "k1", 140.0)
    retry = c.AskOnPage(message=command.message, session=command.session, retries=DeliveryKey("m1"))
    _, asked, _ = answered.do(retry)
    assert asked.retries == ""


def test_a_picture_is_asked_about_again_only_where_pictures_are_seen(answered):
    command = ask("这是什么？", "k1", 130.0)
    again = c.AskOnPage(
        message=command.message, session=command.session, image="http://mmbiz.qpic.cn/x"
    )
    declined, _ = answered.do(again)
    assert (declined.reason, declined.about) == ("not_understood", "image")
