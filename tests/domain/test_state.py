"""What evolve rejects, and what it remembers."""

from __future__ import annotations

import pytest

from tests.support.builders import asked, complete, link, opened
from wxgptd.domain.evolve import evolve, fold
from wxgptd.domain.model import events as e
from wxgptd.domain.model.state import EMPTY, Inconsistent
from wxgptd.domain.model.values import CloseReason, DeliveryKey, ReplyKind, Style
from wxgptd.domain.transitions.windows import REMEMBERED_FOR_S


def q(name: str) -> DeliveryKey:
    return DeliveryKey(name)


ANSWERED = e.AnswerFailed(
    at=0.0,
    question=q("q9"),
    reason="stopped",
    text="",
    detail="",
)
OFFERED = e.ReplyOffered(
    at=0.0,
    delivery=q("q9"),
    kind=ReplyKind.LINK,
    notice="",
    about="",
    question=q("q9"),
    start=0,
    end=0,
    text="",
    style=Style.PLAIN,
    rest=False,
    reminder=DeliveryKey(""),
)


@pytest.mark.parametrize(
    "event",
    [
        e.SessionClosed(at=0.0, session="s9", reason=CloseReason.STOPPED),
        e.SessionOpened(at=0.0, session="s9", assistant="chatgpt", ttl_s=1.0),
        e.QuestionAsked(at=0.0, session="s9", delivery=q("q9"), text="?", link=link("x")),
        e.QuestionAsked(at=0.0, session="s1", delivery=q("q1"), text="?", link=link("x")),
        e.ContinuationAsked(at=0.0, delivery=q("m9"), question=q("q9")),
        e.AttemptRepeated(at=0.0, delivery=q("q9"), number=2),
        e.AnswerRestarted(at=0.0, question=q("q9")),
        e.PageOpened(at=0.0, question=q("q9")),
        e.CommandGiven(at=0.0, delivery=q("q1"), command="stop"),
        e.PushStarted(at=0.0, question=q("q9"), start=0, end=1, style=Style.PLAIN, rest=False),
        e.PushDelivered(at=0.0, question=q("q1")),
        e.PushFailed(at=0.0, question=q("q1"), code=0, detail=""),
        ANSWERED,
        OFFERED,
    ],
    ids=lambda event: type(event).__name__,
)
def test_an_inconsistent_event_is_rejected(event):
    with pytest.raises(Inconsistent):
        evolve(asked("q1").state, event)


def test_a_second_answer_to_a_question_is_rejected():
    history = asked("q1")
    (event,) = history.do(complete("q1", "因为。"))
    with pytest.raises(Inconsistent):
        evolve(history.state, event)


def test_the_version_counts_every_event():
    history = asked("q1")
    history.do(complete("q1", "因为。"))
    assert history.state.version == len(history.events)


def test_folding_the_events_gives_the_state():
    history = asked("q1")
    history.do(complete("q1", "因为。"))
    history.say("/clear", "m2")
    assert fold(history.events) == history.state
    assert fold([]) == EMPTY


def test_windows_are_forgotten_once_wechat_cannot_retry():
    history = opened(at=0.0)
    history.say("一？", "q1", at=1.0)
    history.say("二？", "q2", at=2.0)
    history.say("/help", "m3", at=REMEMBERED_FOR_S + 1.5)
    assert "q1" not in history.state.windows
    assert "q2" in history.state.windows
