"""What happens when something is asked of a user's state: no event, one, or a few.

`decide` proposes only what `evolve` accepts. A command that comes too late, or asks for what is
so already, decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import assert_never

from wxgptd.domain import commands as c
from wxgptd.domain import events as e
from wxgptd.domain import paging, slash
from wxgptd.domain.reply_window import Settled
from wxgptd.domain.session import Completed, Failed, Pending, Session
from wxgptd.domain.state import UserState
from wxgptd.domain.values import (
    AssistantName,
    CloseReason,
    Content,
    DeliveryKey,
    FailureReason,
    Finish,
    Ignorable,
    Notice,
    Picture,
    Policy,
    ReplyKind,
    SessionId,
    Subscribe,
    Text,
    Unsubscribe,
    Unsupported,
)

MAX_RESTARTS = 3
"""A question that outlived this many stops of the daemon may be what stops it."""

Events = tuple[e.Event, ...]


def decide(state: UserState, command: c.Command) -> Events:
    """Return the events that `command` leads to in `state`."""
    match command:
        case c.Receive():
            return _receive(state, command)
        case c.OfferReply():
            return _offer(state, command)
        case c.CompleteAnswer():
            return _complete(state, command)
        case c.FailAnswer():
            return _fail(state, command)
        case c.RestartAnswer():
            return _restart(state, command)
        case c.ExpireSession():
            return _expired(state.live, command.at)
        case c.CloseSession():
            if state.live is None or state.live.id != command.session:
                return ()
            return _close(state, state.live, command.reason, command.at)
        case c.OpenPage():
            found = state.find(command.question)
            if found is None or found[1].page_opened:
                return ()
            return (e.PageOpened(at=command.at, question=command.question),)
        case _:
            assert_never(command)


def disregards(
    state: UserState,
    delivery: DeliveryKey,
    content: Content,
    policy: Policy,
    assistants: Mapping[str, AssistantName],
) -> bool:
    """Tell whether a message is for others: nothing would be decided about it.

    Most messages of most accounts are; this spares them the making of a command.
    """
    return (
        state.live is None
        and isinstance(content, Text)
        and not policy.open_with
        and delivery not in state.windows
        and isinstance(slash.parse(content.text, assistants), slash.Say)
    )


def recover(state: UserState, now: float, link_ttl_s: float) -> tuple[c.Command, ...]:
    """Return the commands that settle what a stop of the daemon left open.

    The question whose turn it was is asked again; those behind it still wait. Given up are the
    ones too old for anybody to see their answer, and the one that is there at every stop.
    """
    settled: list[c.Command] = []
    heads = state.heads()
    for name in state.unanswered:
        question = state.question(name)
        if now - question.asked_at > link_ttl_s or (
            name in heads and question.restarts >= MAX_RESTARTS
        ):
            settled.append(
                c.FailAnswer(
                    at=now,
                    question=name,
                    reason=FailureReason.UNAVAILABLE,
                    text="",
                    detail="given up after a restart of the daemon",
                )
            )
        elif name in heads:
            settled.append(c.RestartAnswer(at=now, question=name))
    return tuple(settled)


# A message arrives.


def _receive(state: UserState, command: c.Receive) -> Events:
    window = state.windows.get(command.delivery)
    if window is not None:
        return (
            e.AttemptRepeated(at=command.at, delivery=command.delivery, number=window.attempts + 1),
        )
    if state.find(command.delivery) is not None:
        return ()  # its window is long forgotten, but it is never asked twice
    over = _expired(state.live, command.at)
    live = None if over else state.live
    match command.content:
        case Text(text=text):
            answered = _line(state, live, command, text)
        case Picture() if live is not None:
            answered = _declined(command, Notice.NOT_UNDERSTOOD, "image")
        case Unsupported(kind=kind) if live is not None:
            answered = _declined(command, Notice.NOT_UNDERSTOOD, kind)
        case Subscribe(scene=scene):
            subscribed = e.UserSubscribed(at=command.at, delivery=command.delivery, scene=scene)
            if command.policy.welcome:
                answered = (subscribed, _notice(command, Notice.WELCOME))
            else:
                answered = (subscribed,)
        case Unsubscribe():
            left = e.UserUnsubscribed(at=command.at, delivery=command.delivery)
            reason = CloseReason.UNSUBSCRIBED
            closed = (_session_closed(live, reason, command.at),) if live else ()
            answered = (*_dropped(state.unanswered, reason, command.at), *closed, left)
        case Picture() | Unsupported() | Ignorable():
            answered = ()
        case _:
            assert_never(command.content)
    return (*over, *answered)


def _line(state: UserState, live: Session | None, command: c.Receive, text: str) -> Events:
    line = slash.parse(text, command.assistants)
    match line:
        case slash.Open(assistant=assistant, question=question):
            return _open(state, live, command, assistant, question)
        case slash.Stop():
            return _stop(state, live, command)
        case slash.Clear():
            return _clear(state, live, command)
        case slash.History():
            return _history(command)
        case slash.Help():
            return (_given(command, "help"), _notice(command, Notice.HELP))
        case slash.Continue():
            return _continue(state, live, command, text)
        case slash.Say():
            return _say(state, live, command, text)
        case _:
            assert_never(line)


def _open(
    state: UserState,
    live: Session | None,
    command: c.Receive,
    assistant: AssistantName,
    question: str,
) -> Events:
    given = _given(command, "open")
    if live is not None and live.assistant == assistant:
        if question:
            return _ask(state, live.id, command, question)
        return (given, _notice(command, Notice.SESSION_ALREADY_OPEN, assistant))
    closed = _close(state, live, CloseReason.REPLACED, command.at) if live else ()
    opened = _session_opened(command, assistant)
    if question:
        return (*closed, opened, *_ask(state, opened.session, command, question))
    return (*closed, opened, given, _notice(command, Notice.SESSION_OPENED, assistant))


def _stop(state: UserState, live: Session | None, command: c.Receive) -> Events:
    given = _given(command, "stop")
    if live is None:
        return (given, _notice(command, Notice.NO_SESSION))
    closed = _close(state, live, CloseReason.STOPPED, command.at)
    return (given, *closed, _notice(command, Notice.SESSION_STOPPED))


def _clear(state: UserState, live: Session | None, command: c.Receive) -> Events:
    assistant = _assistant_to_reopen(state, live, command)
    closed = _close(state, live, CloseReason.CLEARED, command.at) if live else ()
    opened = _session_opened(command, assistant)
    notice = Notice.SESSION_CLEARED if live else Notice.SESSION_OPENED
    given = _given(command, "clear")
    return (*closed, opened, given, _notice(command, notice, assistant))


def _history(command: c.Receive) -> Events:
    issued = e.HistoryLinkIssued(at=command.at, delivery=command.delivery, link=command.link)
    return (_given(command, "history"), issued, _notice(command, Notice.HISTORY))


def _assistant_to_reopen(
    state: UserState, live: Session | None, command: c.Receive
) -> AssistantName:
    configured = tuple(command.assistants.values())
    last = live or next(iter(state.past[-1:]), None)
    if last is not None and last.assistant in configured:
        return last.assistant
    return configured[0]


def _continue(state: UserState, live: Session | None, command: c.Receive, text: str) -> Events:
    if live is not None and _asks_on(live):
        return _say(state, live, command, text)
    oldest = command.at - command.policy.link_ttl_s
    for session in state.sessions():
        if session.closed in (CloseReason.CLEARED, CloseReason.UNSUBSCRIBED):
            continue
        for question in reversed(session.questions.values()):  # type: ignore[call-overload]
            if question.asked_at >= oldest and question.has_more():
                return (
                    e.ContinuationAsked(
                        at=command.at, delivery=command.delivery, question=question.delivery
                    ),
                )
    return _say(state, live, command, text)


def _asks_on(live: Session) -> bool:
    """Tell whether the newest answer has ended with the invitation to have it continued."""
    newest = next(reversed(live.questions.values()), None)  # type: ignore[call-overload]
    if newest is None or newest.has_more():
        return False
    match newest.answer:
        case Completed(finish=Finish.LENGTH) | Failed(reason=FailureReason.INTERRUPTED):
            return True
        case _:
            return False


def _say(state: UserState, live: Session | None, command: c.Receive, text: str) -> Events:
    if live is not None:
        return _ask(state, live.id, command, text)
    if command.policy.open_with and text.strip():
        opened = _session_opened(command, command.policy.open_with)
        return (opened, *_ask(state, opened.session, command, text))
    return ()


def _ask(state: UserState, session: SessionId, command: c.Receive, text: str) -> Events:
    question = text.strip()
    if not question:
        return _declined(command, Notice.NOT_UNDERSTOOD, "text")
    if len(question.encode("utf-8", "replace")) > command.policy.max_question_bytes:
        return _declined(command, Notice.QUESTION_TOO_LONG, "")
    # Of all sessions: one that was closed leaves its running answer. One runs, the rest wait.
    if len(state.unanswered) > command.policy.max_waiting:
        return _declined(command, Notice.TOO_MANY_WAITING, "")
    asked = e.QuestionAsked(
        at=command.at,
        session=session,
        delivery=command.delivery,
        text=question,
        link=command.link,
    )
    return (asked,)


def _declined(command: c.Receive, notice: Notice, about: str) -> Events:
    declined = e.MessageDeclined(
        at=command.at, delivery=command.delivery, reason=notice, about=about
    )
    return (declined, _notice(command, notice, about))


def _given(command: c.Receive, name: str) -> e.CommandGiven:
    return e.CommandGiven(at=command.at, delivery=command.delivery, command=name)


def _session_opened(command: c.Receive, assistant: AssistantName) -> e.SessionOpened:
    return e.SessionOpened(
        at=command.at,
        session=command.fresh_session,
        assistant=assistant,
        ttl_s=command.policy.session_ttl_s,
    )


def _notice(command: c.Receive, notice: Notice, about: str = "") -> e.ReplyOffered:
    return _reply(command.at, command.delivery, ReplyKind.NOTICE, notice=notice, about=about)


def _reply(
    at: float,
    delivery: DeliveryKey,
    kind: ReplyKind,
    *,
    notice: str = "",
    about: str = "",
    question: DeliveryKey = DeliveryKey(""),
    start: int = 0,
    end: int = 0,
    text: str = "",
) -> e.ReplyOffered:
    return e.ReplyOffered(
        at=at,
        delivery=delivery,
        kind=kind,
        notice=notice,
        about=about,
        question=question,
        start=start,
        end=end,
        text=text,
    )


# A session ends.


def _expired(live: Session | None, at: float) -> tuple[e.Event, ...]:
    if live is None or at < live.expires_at:
        return ()
    return (_session_closed(live, CloseReason.EXPIRED, at),)


def _close(state: UserState, live: Session, reason: CloseReason, at: float) -> Events:
    """Close `live`, and drop what its user has no more use for.

    `/stop` leaves the running answer to whoever waits for it and drops the questions behind it;
    `/clear` drops that answer too, since its link dies with the session.
    """
    pending = [name for name in state.unanswered if name in live.questions]
    match reason:
        case CloseReason.STOPPED | CloseReason.OPERATOR:
            dropped = pending[1:]
        case CloseReason.CLEARED:
            dropped = pending
        case _:
            dropped = []
    return (*_dropped(dropped, reason, at), _session_closed(live, reason, at))


def _dropped(questions: Iterable[DeliveryKey], reason: CloseReason, at: float) -> Events:
    return tuple(
        e.AnswerFailed(
            at=at,
            question=name,
            reason=FailureReason.STOPPED,
            text="",
            detail=f"session {reason}",
            retry_after_s=0.0,
        )
        for name in questions
    )


def _session_closed(live: Session, reason: CloseReason, at: float) -> e.SessionClosed:
    return e.SessionClosed(at=at, session=live.id, reason=reason)


# An answer comes, or does not.


def _if_pending(state: UserState, name: DeliveryKey, event: Callable[[Pending], e.Event]) -> Events:
    found = state.find(name)
    if found is None or not isinstance(found[1].answer, Pending):
        return ()
    return (event(found[1].answer),)


def _complete(state: UserState, command: c.CompleteAnswer) -> Events:
    return _if_pending(
        state,
        command.question,
        lambda _: e.AnswerCompleted(
            at=command.at,
            question=command.question,
            text=command.text,
            finish=command.finish,
            model=command.model,
            prompt_tokens=command.prompt_tokens,
            completion_tokens=command.completion_tokens,
            first_text_s=command.first_text_s,
            took_s=command.took_s,
        ),
    )


def _fail(state: UserState, command: c.FailAnswer) -> Events:
    return _if_pending(
        state,
        command.question,
        lambda _: e.AnswerFailed(
            at=command.at,
            question=command.question,
            reason=command.reason,
            text=command.text,
            detail=command.detail,
            retry_after_s=command.retry_after_s,
        ),
    )


def _restart(state: UserState, command: c.RestartAnswer) -> Events:
    return _if_pending(
        state,
        command.question,
        lambda _: e.AnswerRestarted(at=command.at, question=command.question),
    )


# A reply is settled.


def _offer(state: UserState, command: c.OfferReply) -> Events:
    window = state.windows.get(command.delivery)
    if window is None or isinstance(window, Settled) or not window.question:
        return ()
    question = state.question(window.question)
    answer = question.answer
    growing = isinstance(answer, Pending)
    text = command.written if growing else answer.text
    start = question.offered
    if not text[start:].strip() and isinstance(answer, Completed):
        # Another window has given all of it meanwhile.
        if command.delivery != question.delivery:
            return (_reply(command.at, command.delivery, ReplyKind.NOTICE, notice=Notice.ALL_SAID),)
        start = 0
    if text[start:].strip():
        end = paging.cut(text, start, command.room, growing=growing)
        kind = ReplyKind.PARTIAL if growing else ReplyKind.ANSWER
    else:
        # A failure comes behind whatever text there is.
        start = end = 0 if growing else len(text)
        kind = ReplyKind.LINK if growing else ReplyKind.FAILURE
    return (
        _reply(
            command.at,
            command.delivery,
            kind,
            question=question.delivery,
            start=start,
            end=end,
            text=text[start:end] if kind is ReplyKind.PARTIAL else "",
        ),
    )
