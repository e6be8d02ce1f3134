"""The events that a user's message produces once it is routed (see `routing`)."""

from __future__ import annotations

from typing import assert_never

from wxgptd.domain.decide import chat_commands, closing, limits, questions
from wxgptd.domain.decide import commands as c
from wxgptd.domain.decide.offering import with_reminder
from wxgptd.domain.intake import routing
from wxgptd.domain.intake.routing import (
    Ask,
    ByRule,
    Hint,
    Membership,
    NotAnswered,
    Proceed,
    Rejected,
    Repeated,
)
from wxgptd.domain.model import events as e
from wxgptd.domain.model.session import Session
from wxgptd.domain.model.state import UserState
from wxgptd.domain.model.values import CloseReason, Notice, Subscribe

Events = tuple[e.Event, ...]


def receive(state: UserState, command: c.Receive) -> Events:
    """Handle one delivery of a message, the first or a retry."""
    route = routing.route(state, command.message, command.policy, command.at)
    expired = closing.expired(state, command.at)
    live = None if expired else state.live
    answered: Events | None
    match route:
        case Repeated():
            attempts = state.windows[command.delivery].attempts
            return (
                e.AttemptRepeated(at=command.at, delivery=command.delivery, number=attempts + 1),
            )
        case Membership(rule=rule):
            content = command.message.content
            if not isinstance(content, Subscribe):
                return _unfollow(state, command)
            answered = _follow(command, content.scene, welcome=rule is None)
        case routing.Command(action=action, resumes=resumes):
            answered = chat_commands.run_command(state, live, command, action, resumes=resumes)
        case Proceed(question=question):
            answered = chat_commands.proceed(state, command, question)
        case Ask(resumes=resumes):
            answered = limits.limit_on_message(state, command)
            if answered is None:
                answered = _asked(state, command, resumes=resumes)
        case Hint():
            answered = (
                questions.held_back(command),
                questions.noticed(command, Notice.EXPIRED_HINT),
            )
        case NotAnswered() | ByRule() | Rejected():
            answered = ()
        case _:
            assert_never(route)
    return (*expired, *with_reminder(state, answered, command.at, command.policy))


def _follow(command: c.Receive, scene: str, *, welcome: bool) -> Events:
    subscribed = e.UserSubscribed(at=command.at, delivery=command.delivery, scene=scene)
    if welcome and command.policy.welcome:
        return (subscribed, questions.noticed(command, Notice.WELCOME, scene))
    return (subscribed,)


def _unfollow(state: UserState, command: c.Receive) -> Events:
    """Erase a user who unfollows. For an unknown user, nothing is erased or recorded."""
    erased = closing.erased(state, CloseReason.UNSUBSCRIBED, command.at)
    if not erased:
        return ()
    unsubscribed = e.UserUnsubscribed(at=command.at, delivery=command.delivery)
    return (*erased[:-1], unsubscribed, erased[-1])


def _asked(state: UserState, command: c.Receive, *, resumes: bool) -> Events:
    def put(live: Session | None) -> Events:
        return questions.put(state, live, command)

    return questions.resumed(state, command, resumes, put)
