"""Who handles a message: one table for rules, sessions, commands, a full disk, erased users."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.builders import ASSISTANTS, History, complete, offer, receive
from wxgptd.domain.intake import phrases, routing
from wxgptd.domain.intake.routing import (
    Ask,
    ByRule,
    Command,
    Hint,
    Membership,
    NotAnswered,
    NotAnsweredReason,
    Proceed,
    Rejected,
    RejectionReason,
    Repeated,
)
from wxgptd.domain.intake.rules import Rule, TextReply, anything
from wxgptd.domain.model import events as e
from wxgptd.domain.model.past import Past
from wxgptd.domain.model.values import (
    AfterExpiry,
    CloseReason,
    Finish,
    Ignorable,
    Picture,
    Policy,
    Standing,
    Subscribe,
    Text,
    Unsubscribe,
)

TTL = Policy().session_ttl_s
FULL = RejectionReason.DISK_FULL
BUSY = RejectionReason.OVERLOADED
RULE = Rule(1, "any", anything, False, TextReply("好"))
ALWAYS = Rule(2, "any", anything, True, TextReply("好"))
ONLY_AI = ASSISTANTS["/claude"]
MODELS = {ASSISTANTS["/chatgpt"]: ("a", "b"), ASSISTANTS["/claude"]: ("a", "b")}


def stranger() -> tuple[History, float]:
    return History(), 0.0


def talking() -> tuple[History, float]:
    history = History()
    history.say("/chatgpt 为什么？", "q1")
    history.do(complete("q1", "因为。"))
    history.do(offer("q1"))
    return history, 1.0


def expired() -> tuple[History, float]:
    return talking()[0], TTL + 60.0


def cut_short() -> tuple[History, float]:
    history = History()
    history.say("/chatgpt 为什么？", "q1")
    history.do(complete("q1", "因为。", finish=Finish.LENGTH))
    history.do(offer("q1"))
    return history, TTL + 60.0


def long_expired() -> tuple[History, float]:
    return talking()[0], 2 * 86_400.0


def stopped() -> tuple[History, float]:
    history, _ = talking()
    history.say("/stop", "s1", 1.0)
    return history, 60.0


def asked() -> tuple[History, float]:
    history = History()
    history.say("/chatgpt 为什么？", "q1")
    return history, 1.0


RESUME, HINT, IGNORE = AfterExpiry.RESUME, AfterExpiry.HINT, AfterExpiry.IGNORE
HELP, STOP = Command(phrases.Help()), Command(phrases.StopAnswer())

TABLE = [
    # user, AI only, after expiry, content, other message fields, expected route
    (stranger, False, HINT, "你好", {}, NotAnswered(NotAnsweredReason.OUTSIDE)),
    (stranger, False, HINT, "帮助", {}, NotAnswered(NotAnsweredReason.OUTSIDE)),
    (stranger, False, HINT, "/histroy", {}, NotAnswered(NotAnsweredReason.OUTSIDE)),
    (stranger, False, HINT, "/model", {}, NotAnswered(NotAnsweredReason.OUTSIDE)),
    (stranger, False, HINT, "继续", {}, NotAnswered(NotAnsweredReason.OUTSIDE)),
    (stranger, False, HINT, "接着聊", {}, NotAnswered(NotAnsweredReason.OUTSIDE)),
    (stranger, False, HINT, "/help", {}, HELP),
    (stranger, False, HINT, "你好", {"otherwise": RULE}, ByRule(RULE)),
    (stranger, False, HINT, "/help", {"otherwise": RULE}, HELP),
    (stranger, False, HINT, "/help", {"always": ALWAYS}, ByRule(ALWAYS)),
    (stranger, False, HINT, Picture("http://p"), {}, NotAnswered(NotAnsweredReason.OUTSIDE)),
    (stranger, False, HINT, Ignorable("view"), {}, NotAnswered(NotAnsweredReason.EVENT)),
    (stranger, False, HINT, Ignorable("view"), {"otherwise": RULE}, ByRule(RULE)),
    (stranger, False, HINT, Subscribe(), {}, Membership(None)),
    (stranger, False, HINT, Subscribe(), {"always": ALWAYS}, Membership(ALWAYS)),
    (stranger, False, HINT, Unsubscribe(), {"otherwise": RULE}, Membership(RULE)),
    (stranger, False, HINT, "你好", {"erased": True}, NotAnswered(NotAnsweredReason.ERASED)),
    (stranger, False, HINT, "/help", {"erased": True, "always": ALWAYS}, NotAnswered(NotAnsweredReason.ERASED)),
    (stranger, False, HINT, "你好", {"rejection": FULL}, NotAnswered(NotAnsweredReason.OUTSIDE)),
    (stranger, False, HINT, "/chatgpt", {"rejection": FULL}, Rejected(FULL)),
    (stranger, False, HINT, "/help", {"rejection": FULL}, HELP),
    # An AI-only account.
    (stranger, True, RESUME, "你好", {}, Ask()),
    (stranger, True, RESUME, "", {}, NotAnswered(NotAnsweredReason.OUTSIDE)),
    (stranger, True, RESUME, "帮助", {}, HELP),
    (stranger, True, RESUME, "菜单", {}, HELP),
    (stranger, True, RESUME, "/histroy", {}, Command(phrases.Unknown("/history"))),
    (stranger, True, RESUME, "/model", {}, Command(phrases.ChooseModel(""))),
    (stranger, True, RESUME, Picture("http://p"), {}, Ask()),
    (stranger, True, RESUME, "你好", {"otherwise": RULE}, ByRule(RULE)),
    (stranger, True, RESUME, "帮助", {"otherwise": RULE}, ByRule(RULE)),
    (stranger, True, RESUME, "你好", {"rejection": FULL}, Rejected(FULL)),
    # In a session.
    (talking, False, HINT, "你好", {}, Ask()),
    (talking, False, HINT, "", {}, Ask()),
    (talking, False, HINT, "你好", {"otherwise": RULE}, Ask()),
    (talking, False, HINT, "你好", {"always": ALWAYS}, ByRule(ALWAYS)),
    (talking, False, HINT, "你好", {"rejection": FULL}, Rejected(FULL)),
    (talking, False, HINT, "你好", {"rejection": BUSY}, Rejected(BUSY)),
    (talking, False, HINT, "停止", {"rejection": BUSY}, Command(phrases.StopAnswer())),
    (talking, False, HINT, "帮助", {}, HELP),
    (talking, False, HINT, "帮助", {"otherwise": RULE}, HELP),
    (talking, False, HINT, "菜单", {}, Ask()),
    (talking, True, RESUME, "历史", {}, Ask()),
    (talking, False, HINT, "停止", {}, STOP),
    (talking, False, HINT, "/histroy", {}, Command(phrases.Unknown("/history"))),
    (talking, False, HINT, "/clear 是什么", {}, Ask()),
    (talking, False, HINT, "继续", {}, Ask()),
    (talking, False, HINT, "接着聊", {}, Ask()),
    (talking, False, HINT, "重试", {}, Command(phrases.Retry())),
    (talking, False, HINT, "重试", {"rejection": FULL}, Rejected(FULL)),
    (talking, False, HINT, Text("继续", tapped=True), {}, Command(phrases.Continue())),
    (talking, False, HINT, "/more", {}, Command(phrases.Continue(may_ask=False))),
    (talking, False, HINT, "/model 是什么意思", {}, Ask()),
    (talking, False, HINT, "/model b", {}, Command(phrases.ChooseModel("b"))),
    (talking, False, HINT, Picture("http://p"), {}, Ask()),
    (asked, False, HINT, "继续", {}, Proceed("q1")),
    (asked, False, HINT, "下一页", {}, Proceed("q1")),
    (asked, False, HINT, "继续", {"rejection": FULL}, Proceed("q1")),
    # After a session.
    (expired, False, HINT, "你好", {}, Hint()),
    (expired, False, HINT, "你好", {"otherwise": RULE}, ByRule(RULE)),
    (expired, False, HINT, "你好", {"rejection": FULL}, Rejected(FULL)),
    (expired, False, HINT, "接着聊", {"rejection": FULL}, Rejected(FULL)),
    (expired, False, HINT, "帮助", {}, HELP),
    (expired, False, HINT, "帮助", {"otherwise": RULE}, ByRule(RULE)),
    (expired, False, HINT, "接着聊", {}, Command(phrases.Resume(), resumes=True)),
    (expired, False, HINT, "接着聊", {"otherwise": RULE}, ByRule(RULE)),
    (
        expired, False, HINT, Text("重试", tapped=True), {"otherwise": RULE},
        Command(phrases.Retry(), resumes=True),
    ),
    (cut_short, False, HINT, "继续", {}, Ask(resumes=True)),
    (cut_short, False, HINT, "继续", {"otherwise": RULE}, ByRule(RULE)),
    (cut_short, False, HINT, Text("继续", tapped=True), {"otherwise": RULE}, Ask(resumes=True)),
    (expired, False, HINT, Text("继续", tapped=True), {}, Command(phrases.Continue())),
    (expired, False, HINT, "重试", {}, Command(phrases.Retry(), resumes=True)),
    (expired, False, HINT, "/model a", {}, Command(phrases.ChooseModel("a"), resumes=True)),
    (expired, False, HINT, "", {}, NotAnswered(NotAnsweredReason.OUTSIDE)),
    (expired, False, HINT, Picture("http://p"), {}, NotAnswered(NotAnsweredReason.OUTSIDE)),
    (expired, False, HINT, Text("长城", "link"), {}, NotAnswered(NotAnsweredReason.OUTSIDE)),
    (expired, True, RESUME, "历史", {}, Ask(resumes=True)),
    (expired, True, IGNORE, "历史", {}, Command(phrases.History())),
    (expired, False, RESUME, "你好", {}, Ask(resumes=True)),
    (expired, False, RESUME, Picture("http://p"), {}, Ask(resumes=True)),
    (expired, False, RESUME, "你好", {"otherwise": RULE}, ByRule(RULE)),
    (expired, False, RESUME, "你好", {"rejection": FULL}, Rejected(FULL)),
    (expired, True, RESUME, "你好", {}, Ask(resumes=True)),
    (expired, True, IGNORE, "你好", {}, Ask()),
    (expired, False, IGNORE, "你好", {}, NotAnswered(NotAnsweredReason.IGNORED)),
    (expired, False, IGNORE, "帮助", {}, NotAnswered(NotAnsweredReason.IGNORED)),
    (expired, False, IGNORE, "接着聊", {}, NotAnswered(NotAnsweredReason.IGNORED)),
    (
        expired, False, IGNORE, Text("接着聊", tapped=True), {},
        Command(phrases.Resume(), resumes=True),
    ),
    (expired, False, IGNORE, Text("重试", tapped=True), {}, Command(phrases.Retry(), resumes=True)),
    (long_expired, False, RESUME, "你好", {}, NotAnswered(NotAnsweredReason.OUTSIDE)),
    (long_expired, False, HINT, "你好", {}, NotAnswered(NotAnsweredReason.OUTSIDE)),
    (long_expired, True, RESUME, "你好", {}, Ask()),
    (stopped, False, RESUME, "你好", {}, NotAnswered(NotAnsweredReason.OUTSIDE)),
    (stopped, False, HINT, "接着聊", {}, NotAnswered(NotAnsweredReason.OUTSIDE)),
    (stopped, False, HINT, Text("接着聊", tapped=True), {}, Command(phrases.Resume())),
    (stopped, True, RESUME, "你好", {}, Ask()),
]  # fmt: skip


@pytest.mark.parametrize(
    ("make_history", "only_ai", "after", "content", "changes", "expected"), TABLE
)
def test_each_message_is_routed_as_the_table_states(
    make_history, only_ai, after, content, changes, expected
):
    history, at = make_history()
    policy = Policy(open_with=ONLY_AI if only_ai else "", after_expiry=after, models=MODELS)
    command = receive(content, "m9", at, policy=policy, sealed=b"sealed", held="还在吗")
    message = command.message._replace(**changes)
    assert routing.route(history.state, message, policy, at) == expected
    decided = history.do(replace(command, message=message))  # evolve accepts it too
    stranger_unsubscribes = isinstance(content, Unsubscribe) and not history.state.version
    silent = isinstance(expected, NotAnswered | ByRule | Rejected) or stranger_unsubscribes
    assert (
        bool([event for event in decided if not isinstance(event, e.SessionClosed)]) is not silent
    )


def test_a_redelivered_message_joins_the_first_attempt():
    history, at = asked()
    for changes in ({}, {"always": ALWAYS}, {"rejection": FULL}):
        message = receive("为什么？", "q1", at).message._replace(**changes)
        assert routing.route(history.state, message, Policy(), at) == Repeated(None)


def test_a_question_is_never_asked_again_even_after_its_window_is_forgotten():
    history, _ = asked()
    history.do(complete("q1", "因为。"))
    history.say("二？", "q2", 290.0)
    history.do(complete("q2", "因为。", 290.0))
    history.say("三？", "q3", 580.0)
    history.do(complete("q3", "因为。", 580.0))
    history.say("四？", "q4", 870.0)
    history.do(complete("q4", "因为。", 870.0))
    history.say("五？", "q5", 1_100.0)
    message = receive("为什么？", "q1", 1_100.0).message
    assert routing.route(history.state, message, Policy(), 1_100.0) == NotAnswered(
        NotAnsweredReason.LATE
    )


def test_a_hint_is_sent_at_most_once_an_hour():
    history, at = expired()
    policy = Policy(after_expiry=HINT)
    history.say("在吗", "m1", at, policy=policy, sealed=b"sealed")
    for later, expected in ((10.0, NotAnswered(NotAnsweredReason.HINTED)), (3_700.0, Hint())):
        message = receive("在吗", "m2", at + later).message
        assert routing.route(history.state, message, policy, at + later) == expected


def test_a_session_is_not_resumed_for_a_removed_assistant_or_a_blocked_user():
    history, at = expired()
    policy = Policy(after_expiry=RESUME)
    without_assistant = receive(
        "你好", "m1", at, assistants={"/claude": ASSISTANTS["/claude"]}
    ).message
    assert routing.route(history.state, without_assistant, policy, at) == NotAnswered(
        NotAnsweredReason.OUTSIDE
    )
    message = receive("你好", "m1", at).message
    blocked = history.state._replace(standing=Standing.BLOCKED)
    assert routing.route(blocked, message, policy, at) == NotAnswered(NotAnsweredReason.OUTSIDE)
    assert routing.route(history.state, message, policy, at) == Ask(resumes=True)


def test_only_an_expired_session_is_resumed():
    policy = Policy(after_expiry=RESUME)
    for reason in set(CloseReason) - {CloseReason.EXPIRED}:
        history, at = expired()
        closed = history.state.live.closed_as(reason, 1.0)
        state = history.state._replace(live=None, past=Past((closed,)))
        message = receive("你好", "m1", at).message
        assert routing.route(state, message, policy, at) == NotAnswered(NotAnsweredReason.OUTSIDE)
