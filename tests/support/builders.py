"""Test values with defaults for everything that a test does not care about."""

from __future__ import annotations

import re
from typing import Any

from wxgptd.domain.decide import commands as c
from wxgptd.domain.decide.decider import decide
from wxgptd.domain.evolve import evolve
from wxgptd.domain.intake.phrases import Vocabulary
from wxgptd.domain.intake.routing import Message
from wxgptd.domain.model import events as e
from wxgptd.domain.model.state import EMPTY, UserState
from wxgptd.domain.model.values import (
    AccountName,
    AnswerUsage,
    AssistantName,
    Content,
    DeliveryKey,
    FailureReason,
    Finish,
    LinkHash,
    OpenId,
    Policy,
    SessionId,
    Text,
    User,
)
from wxgptd.domain.replies import taps

ALICE = User(AccountName("main"), OpenId("alice"))
BOB = User(AccountName("main"), OpenId("bob"))
ASSISTANTS = {
    "/chatgpt": AssistantName("chatgpt"),
    "/claude": AssistantName("claude"),
}
ROOM = 1_600
DAY_S = 86_400.0


def filled(template: str, **values: Any) -> str:
    """Return a text from the catalogue as a user sees it."""
    return template.format_map({"tap": taps.Placeholder(), **values})


def words_of(reply: str | None) -> str | None:
    """Return what a client without support for links shows."""
    return re.sub(r"</?a\b[^>]*>", "", reply) if reply is not None else None


def link(name: str) -> LinkHash:
    return LinkHash(name.encode().ljust(32, b".")[:32])


def receive(said: str | Content, delivery: str, at: float = 0.0, **more: Any) -> c.Receive:
    content = Text(said) if isinstance(said, str) else said
    assistants = more.pop("assistants", ASSISTANTS)
    message = Message(
        delivery=DeliveryKey(delivery),
        content=content,
        phrase=Vocabulary(assistants).read(content),
        assistants=assistants,
        **{name: more.pop(name) for name in ("always", "otherwise", "full") if name in more},
    )
    return c.Receive(
        at=at,
        message=message,
        policy=more.pop("policy", Policy()),
        fresh_session=SessionId(more.pop("session", f"s-{delivery}")),
        link=link(delivery),
        day_began_at=more.pop("day_began_at", at // DAY_S * DAY_S),
        day_ends_at=more.pop("day_ends_at", (at // DAY_S + 1) * DAY_S),
        **more,
    )


def offer(
    delivery: str,
    at: float = 0.0,
    written: str = "",
    room: int = ROOM,
    policy: Policy = Policy(),
) -> c.OfferReply:
    return c.OfferReply(
        at=at, delivery=DeliveryKey(delivery), written=written, room=room, policy=policy
    )


def complete(question: str, text: str, at: float = 0.0, finish: Finish = Finish.STOP) -> c.Command:
    usage = AnswerUsage(
        assistant=AssistantName("chatgpt"),
        prompt_tokens=3,
        completion_tokens=4,
        prompt_bytes=12,
        cost=0.25,
    )
    completed = e.AnswerCompleted(
        at=at,
        question=DeliveryKey(question),
        text=text,
        finish=finish,
        model="m-1",
        first_text_s=0.5,
        took_s=1.5,
        usage=usage,
    )
    return c.RecordFact(completed)


def fail(
    question: str,
    reason: FailureReason = FailureReason.UNAVAILABLE,
    text: str = "",
    at: float = 0.0,
) -> c.Command:
    failed = e.AnswerFailed(
        at=at, question=DeliveryKey(question), reason=reason, text=text, detail="why"
    )
    return c.RecordFact(failed)


class History:
    """One user's state, and all the events that led to it."""

    def __init__(self, state: UserState = EMPTY) -> None:
        self.state = state
        self.events: list[e.Event] = []

    def do(self, command: c.Command) -> tuple[e.Event, ...]:
        events = decide(self.state, command)
        for event in events:
            self.state = evolve(self.state, event)
        self.events.extend(events)
        return events

    def say(
        self, said: str | Content, delivery: str, at: float = 0.0, **more: Any
    ) -> list[e.Event]:
        return list(self.do(receive(said, delivery, at, **more)))


def opened(at: float = 0.0) -> History:
    history = History()
    history.say("/chatgpt", "open", at, session="s1")
    return history


def asked(question: str = "q1", text: str = "为什么？", at: float = 0.0) -> History:
    history = opened(at)
    history.say(text, question, at)
    return history


def kinds(events: Any) -> list[str]:
    return [type(event).__name__ for event in events]
