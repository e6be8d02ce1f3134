"""Properties of a user's state under any sequence of commands."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from tests.support.builders import ALICE, ASSISTANTS, History, complete, fail, kinds, offer, receive
from wxgptd.domain.decide import commands as c
from wxgptd.domain.decide.decider import decide, recover
from wxgptd.domain.evolve import evolve, session_of
from wxgptd.domain.intake import routing
from wxgptd.domain.model import events as e
from wxgptd.domain.model.state import EMPTY
from wxgptd.domain.model.values import (
    AfterExpiry,
    DeliveryKey,
    FailureReason,
    Ignorable,
    Picture,
    Policy,
    Rating,
    SessionId,
    Standing,
    Subscribe,
    Text,
    Unsubscribe,
    Unsupported,
)
from wxgptd.eventlog.formats import Sessions
from wxgptd.ports.record import Recorded

DELIVERIES = st.sampled_from([f"m{n}" for n in range(8)])
WORDS = st.sampled_from(
    ["/chatgpt", "/claude", "/chatgpt 为什么？", "/stop", "/clear", "/history", "/help", "继续",
     "停止", "重试", "接着聊", "/model", "/modle", "为什么？", "", "x" * 40]
)  # fmt: skip
CONTENTS = st.one_of(
    WORDS,
    st.builds(lambda words: Text(words, tapped=True), WORDS),
    st.sampled_from(
        [
            Picture("http://p"),
            Unsupported("voice"),
            Ignorable("view"),
            Subscribe("1"),
            Unsubscribe(),
        ]
    ),
)
TEXTS = st.text(st.sampled_from("天空。\n a"), max_size=40)
COMMANDS = st.one_of(
    st.builds(
        lambda content, delivery, session, after, held: receive(
            content,
            delivery,
            session=session,
            policy=Policy(max_waiting=1, max_question_bytes=30, after_expiry=after),
            sealed=b"sealed",
            held=held,
        ),
        CONTENTS,
        DELIVERIES,
        st.uuids().map(lambda u: SessionId(u.hex)),
        st.sampled_from(list(AfterExpiry)),
        st.sampled_from(["", "还在吗？"]),
    ),
    st.builds(lambda d, w, r: offer(d, written=w, room=r), DELIVERIES, TEXTS, st.integers(8, 60)),
    st.builds(complete, DELIVERIES, TEXTS),
    st.builds(fail, DELIVERIES, st.sampled_from(list(FailureReason)), TEXTS),
    st.builds(
        lambda q: c.RecordFact(e.AnswerRestarted(at=0.0, question=DeliveryKey(q))), DELIVERIES
    ),
    st.just(c.ExpireSession(at=0.0)),
    st.builds(
        lambda q, r: c.StartPush(at=0.0, question=DeliveryKey(q), room=r, policy=Policy()),
        DELIVERIES,
        st.integers(8, 60),
    ),
    st.builds(
        lambda q, ok: c.SettlePush(at=0.0, question=DeliveryKey(q), delivered=ok),
        DELIVERIES,
        st.booleans(),
    ),
    st.builds(
        lambda s: c.RecordFact(e.StandingChanged(at=0.0, standing=s, until=0.0)),
        st.sampled_from(list(Standing)),
    ),
    st.builds(
        lambda fact, q: c.RecordFact(fact(at=0.0, question=DeliveryKey(q))),
        st.sampled_from([e.PageOpened, e.ReaderSeen, partial(e.AnswerRated, rating=Rating.UP)]),
        DELIVERIES,
    ),
    st.builds(
        lambda q, age: c.AdmitWriter(
            at=0.0, question=DeliveryKey(q), cookie=q.encode(), issued_at=age
        ),
        DELIVERIES,
        st.floats(0.0, 2_000.0),
    ),
    st.builds(
        lambda words, delivery, session, page, retries: c.AskOnPage(
            message=receive(
                words, f"page:{delivery}", session=session, policy=Policy(max_waiting=1)
            ),
            session=SessionId(page),
            retries=DeliveryKey(retries),
        ),
        WORDS,
        DELIVERIES,
        st.uuids().map(lambda u: SessionId(u.hex)),
        st.sampled_from(["s-m1", "s-m2", "unknown"]),
        st.one_of(st.just(""), DELIVERIES),
    ),
)
TIMED = st.lists(st.tuples(COMMANDS, st.floats(0.0, 400.0)), max_size=60)


def timed(command: c.Command, at: float) -> c.Command:
    """Return the command as if it had been given at that time."""
    if isinstance(command, c.RecordFact):
        return c.RecordFact(replace(command.fact, at=at))
    if isinstance(command, c.AskOnPage):
        return replace(command, message=replace(command.message, at=at))
    return replace(command, at=at)


def played(commands) -> History:
    """Run the commands, each the given number of seconds after the previous one."""
    history, now = History(), 0.0
    for command, delay_s in commands:
        now += delay_s
        history.do(timed(command, now))
    return history


@given(TIMED)
def test_evolve_accepts_every_decided_event(commands):
    history = played(commands)  # `do` evolves the state, which raises on an inconsistent event
    assert history.state.version == len(history.events)


@given(TIMED, WORDS, DELIVERIES, st.booleans(), st.sampled_from(list(AfterExpiry)))
def test_a_message_not_for_the_assistant_has_no_effect(commands, text, delivery, talkative, after):
    state = played(commands).state
    policy = Policy(open_with=ASSISTANTS["/claude"] if talkative else "", after_expiry=after)
    at = state.heard_at + 400.0
    command = receive(text, delivery, at, policy=policy)
    routed = routing.route(state, command.message, policy, at)
    decided = decide(state, command)
    if isinstance(routed, routing.NotAnswered | routing.ByRule | routing.Rejected):
        assert kinds(decided) in ([], ["SessionClosed"])
    else:
        assert decided


@given(TIMED, st.sampled_from([10_000.0, 1e6]))
def test_recovery_restarts_at_most_one_question_per_session(commands, now):
    history = played(commands)
    settled = recover(history.state, now, Policy().link_ttl_s)
    facts = [command.fact for command in settled if isinstance(command, c.RecordFact)]
    assert len(settled) == len(facts) + (history.state.push is not None)
    restarted = [fact.question for fact in facts if isinstance(fact, e.AnswerRestarted)]
    sessions = [history.state.session_of(question) for question in restarted]
    assert len(sessions) == len(set(sessions))
    assert {fact.question for fact in facts} >= set(history.state.next_questions())
    for command in settled:
        assert len(history.do(command)) == 1


@given(TIMED)
def test_every_event_s_session_can_be_derived_from_earlier_events(commands):
    state, tracker = EMPTY, Sessions()
    for seq, event in enumerate(played(commands).events, 1):
        state = evolve(state, event)
        tracked = tracker.note(Recorded(seq, ALICE, "", seq - 1, event))
        assert session_of(state, event) == tracked


@given(TIMED)
def test_no_question_is_asked_twice(commands):
    events = played(commands).events
    asked = [event.delivery for event in events if type(event).__name__ == "QuestionAsked"]
    assert len(asked) == len(set(asked))
    state = EMPTY
    for event in events:
        state = evolve(state, event)
        assert all(
            name in {q for s in state.sessions() for q in s.questions} for name in state.unanswered
        )
