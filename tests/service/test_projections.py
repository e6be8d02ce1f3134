"""Projections, which are derived from all users' events."""

from __future__ import annotations

from tests.support.builders import ALICE, BOB, History, asked, link, opened
from wxgptd.domain.decide import commands as c
from wxgptd.domain.model import events as e
from wxgptd.domain.model.state import EMPTY
from wxgptd.domain.model.values import Policy
from wxgptd.service.state.earlier_links import EarlierLinks
from wxgptd.service.state.projections import OpenSessions


def observed(projection, user, history: History):
    from wxgptd.domain.evolve import evolve

    state = EMPTY
    for event in history.events:
        state = evolve(state, event)
        projection.on_event(user, event, state)
    return projection


def test_an_earlier_link_is_found_until_it_expires():
    index = EarlierLinks(ttl_s=100.0, until=6.0)
    for name, at in (("q1", 5.0), ("q2", 6.0)):
        index.replay(ALICE, asked(name, at=at).events[-1])
    assert index.find(link("q1")) == ALICE
    assert index.find(link("q2")) is None, "it leads to its user"
    index.forget_expired(105.0)
    assert index.find(link("q1")) == ALICE
    index.forget_expired(105.1)
    assert index.find(link("q1")) is None


def test_an_erased_users_earlier_links_are_dropped():
    index = EarlierLinks(ttl_s=100.0, until=6.0)
    index.on_link(ALICE, link("q1"), "q1", 1.0)
    index.on_link(BOB, link("q2"), "q2", 2.0)
    index.on_event(ALICE, e.UserErased(at=3.0), EMPTY)
    assert index.find(link("q1")) is None
    assert index.find(link("q2")) == BOB
    index.forget_expired(1_000.0)
    assert index.find(link("q2")) is None


def test_sessions_are_due_in_order_of_expiry_whatever_their_ttl():
    sessions = OpenSessions()
    long = History()
    long.say("/chatgpt", "m1", at=0.0, policy=Policy(session_ttl_s=7_200.0))
    observed(sessions, ALICE, long)
    observed(sessions, BOB, opened(at=10.0))
    assert list(sessions.due(309.0)) == []
    assert list(sessions.due(310.0)) == [BOB]
    assert len(sessions) == 2
    assert list(sessions.due(7_200.0)) == [ALICE]


def test_an_extended_session_is_due_again_later():
    sessions = observed(OpenSessions(), ALICE, opened(at=0.0))
    assert list(sessions.due(300.0)) == [ALICE]
    sessions.keep(ALICE, 400.0)
    assert list(sessions.due(399.0)) == []
    assert list(sessions.due(400.0)) == [ALICE]


def test_a_replaced_session_is_due_once():
    history = opened(at=0.0)
    history.say("/claude", "m2", at=100.0)
    sessions = observed(OpenSessions(), ALICE, history)
    assert list(sessions.due(1_000.0)) == [ALICE]
    history.do(c.ExpireSession(at=1_000.0))
    observed(sessions, ALICE, history)
    assert len(sessions) == 0
