"""What a message of a user's leads to."""

from __future__ import annotations

from typing import assert_never

from wxgptd.domain import answer_length, closing, limits, offering, slash
from wxgptd.domain import commands as c
from wxgptd.domain import events as e
from wxgptd.domain.closing import close, expired
from wxgptd.domain.offering import with_reminder
from wxgptd.domain.reply_window import Settled
from wxgptd.domain.session import Completed, Failed, Session
from wxgptd.domain.state import UserState
from wxgptd.domain.values import (
    AssistantName,
    CloseReason,
    FailureReason,
    Finish,
    Ignorable,
    Notice,
    Picture,
    Policy,
    Subscribe,
    Text,
    Unsubscribe,
    Unsupported,
)

Events = tuple[e.Event, ...]

CLEAR_SESSION = "clear session"
"""The name of a `/clear` that leaves the links to the history alone."""

CLEAR_UNCONFIRMED = "clear unconfirmed"
"""The name of a `/clear` that was tapped, which is easily done by mistake: it asks first."""

CONFIRM_WITHIN_S = 300.0


def receive(state: UserState, command: c.Receive) -> Events:
    """Take a message: for the first time, or once more."""
    window = state.windows.get(command.delivery)
    if window is not None:
        return (
            e.AttemptRepeated(at=command.at, delivery=command.delivery, number=window.attempts + 1),
        )
    if state.find(command.delivery) is not None:
        return ()  # its window is long forgotten, but it is never asked twice
    over = expired(state.live, command.at)
    live = None if over else state.live
    match command.content:
        case Text(text=text):
            answered = _line(state, live, command, text)
        case (Picture() | Unsupported()) as content if live or command.policy.open_with:
            refused = limits.refusal_of_message(state, command)
            answered = _other(state, live, command, content) if refused is None else refused
        case Subscribe(scene=scene):
            subscribed = e.UserSubscribed(at=command.at, delivery=command.delivery, scene=scene)
            if command.policy.welcome:
                answered = (subscribed, _notice(command, Notice.WELCOME, scene))
            else:
                answered = (subscribed,)
        case Unsubscribe():
            return _left(state, command)
        case Picture() | Unsupported() | Ignorable():
            answered = ()
        case _:
            assert_never(command.content)
    return (*over, *with_reminder(state, answered, command.at, command.policy))


def _left(state: UserState, command: c.Receive) -> Events:
    """Erase who leaves. Of strangers there is nothing to erase, nor to note."""
    erased = closing.erased(state, CloseReason.UNSUBSCRIBED, command.at)
    if not erased:
        return ()
    left = e.UserUnsubscribed(at=command.at, delivery=command.delivery)
    return (*erased[:-1], left, erased[-1])


def _other(
    state: UserState, live: Session | None, command: c.Receive, content: Picture | Unsupported
) -> Events:
    """Answer what is no words."""
    assistant = live.assistant if live is not None else command.policy.open_with
    match content:
        case Picture(url=url) if url and assistant in command.policy.sighted:
            return _ask(state, live, assistant, command, "", url)
        case Picture():
            return _declined(command, Notice.NOT_UNDERSTOOD, "image")
        case Unsupported(kind=kind):
            return _declined(command, Notice.NOT_UNDERSTOOD, kind)


def _line(state: UserState, live: Session | None, command: c.Receive, text: str) -> Events:
    line = slash.parse(text, command.assistants)
    if not is_for_others(state, live, command.policy, line, tapped=command.tapped):
        costs = not isinstance(line, slash.Continue)
        refused = limits.refusal_of_message(state, command, costs=costs)
        if refused is not None:
            return refused
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
        case slash.ChooseModel(model=model):
            return _choose_model(state, live, command, text, model)
        case slash.Say():
            return _say(state, live, command, text)
        case _:
            assert_never(line)


def is_for_others(
    state: UserState,
    live: Session | None,
    policy: Policy,
    line: slash.Line,
    *,
    tapped: bool = False,
) -> bool:
    """Tell whether no session would have to do with it, whoever sent it."""
    match line:
        case slash.Say() | slash.ChooseModel():
            return live is None and not policy.open_with
        case slash.Continue():
            return live is None and not policy.open_with and not state.past and not tapped
        case _:
            return False


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
            return _ask(state, live, assistant, command, question)
        return (given, _notice(command, Notice.SESSION_ALREADY_OPEN, assistant))
    closed = close(state, live, CloseReason.REPLACED, command.at) if live else ()
    if question:
        asked = _ask(state, None, assistant, command, question)
        return (*closed, *asked) if _has_opened(asked) else asked
    opened = _session_opened(command, assistant)
    return (*closed, opened, given, _notice(command, Notice.SESSION_OPENED, assistant))


def _stop(state: UserState, live: Session | None, command: c.Receive) -> Events:
    given = _given(command, "stop")
    if live is None:
        return (given, _notice(command, Notice.NO_SESSION))
    closed = close(state, live, CloseReason.STOPPED, command.at)
    return (given, *closed, _notice(command, Notice.SESSION_STOPPED))


def _clear(state: UserState, live: Session | None, command: c.Receive) -> Events:
    if command.tapped and (live or state.past) and not _was_asked_to_confirm(state, command.at):
        return (_given(command, CLEAR_UNCONFIRMED), _notice(command, Notice.CONFIRM_CLEAR))
    assistant = _assistant_to_reopen(state, live, command)
    closed = close(state, live, CloseReason.CLEARED, command.at) if live else ()
    opened = _session_opened(command, assistant)
    notice = Notice.SESSION_CLEARED if live else Notice.SESSION_OPENED
    given = _given(command, "clear" if command.policy.clear_ends_history else CLEAR_SESSION)
    return (*closed, opened, given, _notice(command, notice, assistant))


def _was_asked_to_confirm(state: UserState, at: float) -> bool:
    """Tell whether the last thing that was said to the user is that question."""
    newest = next(reversed(state.windows.values()), None)  # type: ignore[call-overload]
    return (
        isinstance(newest, Settled)
        and newest.reply.notice == Notice.CONFIRM_CLEAR
        and at - newest.settled_at <= CONFIRM_WITHIN_S
    )


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
            on_its_way = state.push is not None and state.push.before.delivery == question.delivery
            if question.asked_at >= oldest and (question.has_more() or on_its_way):
                return (
                    e.ContinuationAsked(
                        at=command.at,
                        delivery=command.delivery,
                        question=question.delivery,
                        sent_at=command.sent_at,
                        delay_s=command.delay_s,
                        tapped=command.tapped,
                    ),
                )
    if command.tapped:  # an old link is no question
        nothing = Notice.ALL_SAID if live is not None or state.past else Notice.NO_SESSION
        return (_given(command, "continue"), _notice(command, nothing))
    return _say(state, live, command, text)


def _asks_on(live: Session) -> bool:
    """Tell whether the newest answer has ended with the invitation to have it continued."""
    newest = next(reversed(live.questions.values()), None)  # type: ignore[call-overload]
    if newest is None or newest.has_more():
        return False
    match newest.answer:
        case Completed(finish=Finish.LENGTH) | Failed(reason=FailureReason.INTERRUPTED):
            return True
        case Completed(text=text):
            return answer_length.offers_more(text)
        case _:
            return False


def _choose_model(
    state: UserState, live: Session | None, command: c.Receive, text: str, wanted: str
) -> Events:
    assistant = live.assistant if live is not None else command.policy.open_with
    models = command.policy.models.get(assistant, ())
    if len(models) < 2:
        return _say(state, live, command, text)  # nothing to choose from: words like any other
    found = next((model for model in models if model.lower() == wanted.lower()), None)
    if found is None:
        current = live.model if live is not None and live.model in models else models[0]
        about = "\n".join((current, *models))
        name = Notice.NO_SUCH_MODEL if wanted else Notice.MODELS
        return (_given(command, "model"), _notice(command, name, about))
    opened = () if live is not None else (_session_opened(command, assistant),)
    chosen = e.ModelChosen(
        at=command.at,
        session=live.id if live is not None else command.fresh_session,
        delivery=command.delivery,
        model=found,
        tapped=command.tapped,
    )
    return (*opened, chosen, _notice(command, Notice.MODEL_CHOSEN, found))


def _say(state: UserState, live: Session | None, command: c.Receive, text: str) -> Events:
    if live is not None:
        return _ask(state, live, live.assistant, command, text)
    if command.policy.open_with and text.strip():
        return _ask(state, None, command.policy.open_with, command, text)
    return ()


def _ask(
    state: UserState,
    live: Session | None,
    assistant: AssistantName,
    command: c.Receive,
    text: str,
    image: str = "",
) -> Events:
    """Take a question, in a session that is opened for it if none is `live`."""
    question = text.strip()
    if not question and not image:
        return _declined(command, Notice.NOT_UNDERSTOOD, "text")
    if len(question.encode("utf-8", "replace")) > command.policy.max_question_bytes:
        return _declined(command, Notice.QUESTION_TOO_LONG, "")
    # Of all sessions: one that was closed leaves its running answer. One runs, the rest wait.
    if len(state.unanswered) > command.policy.max_waiting:
        return _declined(command, Notice.TOO_MANY_WAITING, "")
    if command.moderated:
        return _declined(command, Notice.MODERATED, "")
    if assistant in command.spent:
        return _declined(command, Notice.BUDGET_SPENT, "")
    refused = limits.refusal_of_question(state, command)
    if refused is not None:
        return refused
    opened = () if live is not None else (_session_opened(command, assistant),)
    asked = e.QuestionAsked(
        at=command.at,
        session=live.id if live is not None else command.fresh_session,
        delivery=command.delivery,
        text=question,
        link=command.link,
        image=image,
        sent_at=command.sent_at,
        delay_s=command.delay_s,
        tapped=command.tapped,
    )
    return (*opened, asked)


def _has_opened(events: Events) -> bool:
    return any(isinstance(event, e.SessionOpened) for event in events)


def _declined(command: c.Receive, notice: Notice, about: str) -> Events:
    declined = e.MessageDeclined(
        at=command.at,
        delivery=command.delivery,
        reason=notice,
        about=about,
        tapped=command.tapped,
    )
    return (declined, _notice(command, notice, about))


def _given(command: c.Receive, name: str) -> e.CommandGiven:
    return e.CommandGiven(
        at=command.at,
        delivery=command.delivery,
        command=name,
        sent_at=command.sent_at,
        tapped=command.tapped,
    )


def _session_opened(command: c.Receive, assistant: AssistantName) -> e.SessionOpened:
    return e.SessionOpened(
        at=command.at,
        session=command.fresh_session,
        assistant=assistant,
        ttl_s=command.policy.session_ttl_s,
    )


def _notice(command: c.Receive, notice: Notice, about: str = "") -> e.ReplyOffered:
    return offering.notice(command.at, command.delivery, notice, about)
