"""What a message of a user's leads to, once it is clear whose it is (see `routing`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from wxgptd.domain import closing, limits, offering, phrases, routing
from wxgptd.domain import commands as c
from wxgptd.domain import events as e
from wxgptd.domain.offering import with_reminder
from wxgptd.domain.phrases import Action
from wxgptd.domain.reply_window import Settled
from wxgptd.domain.routing import Ask, Full, Hint, Known, Left, Membership, Proceed, Ruled
from wxgptd.domain.session import Pending, Session
from wxgptd.domain.state import UserState
from wxgptd.domain.values import (
    AssistantName,
    CloseReason,
    DeliveryKey,
    Notice,
    Picture,
    Subscribe,
    Text,
    Unsupported,
)

Events = tuple[e.Event, ...]

CLEAR_SESSION = "clear session"
"""The name of a `/clear` that leaves the links to the history alone."""

CLEAR_UNCONFIRMED = "clear unconfirmed"
"""The name of a `/clear` that was tapped, which is easily done by mistake: it asks first."""

CONFIRM_WITHIN_S = 300.0

FREE = (phrases.Help, phrases.History, phrases.Continue, phrases.Unknown)
"""What does not count as one of a minute's messages."""


def receive(state: UserState, command: c.Receive) -> Events:
    """Take a message: for the first time, or once more."""
    route = routing.route(state, command.message, command.policy, command.at)
    over = closing.expired(state, command.at)
    live = None if over else state.live
    answered: Events | None
    match route:
        case Known():
            attempts = state.windows[command.delivery].attempts
            return (
                e.AttemptRepeated(at=command.at, delivery=command.delivery, number=attempts + 1),
            )
        case Membership(rule=rule):
            content = command.message.content
            if not isinstance(content, Subscribe):
                return _left(state, command)
            answered = _follows(command, content.scene, welcome=rule is None)
        case routing.Command(action=action, resumes=resumes):
            answered = _obeyed(state, live, command, action, resumes=resumes)
        case Proceed(question=question):
            answered = _continue(state, command, question)
        case Ask(resumes=resumes):
            answered = limits.refusal_of_message(state, command)
            if answered is None:
                answered = _resumed(state, command, resumes, lambda one: _put(state, one, command))
        case Hint():
            answered = (_held(command), _notice(command, Notice.EXPIRED_HINT))
        case Left() | Ruled() | Full():
            answered = ()
        case _:
            assert_never(route)
    return (*over, *with_reminder(state, answered, command.at, command.policy))


def _follows(command: c.Receive, scene: str, *, welcome: bool) -> Events:
    subscribed = e.UserSubscribed(at=command.at, delivery=command.delivery, scene=scene)
    if welcome and command.policy.welcome:
        return (subscribed, _notice(command, Notice.WELCOME, scene))
    return (subscribed,)


def _left(state: UserState, command: c.Receive) -> Events:
    """Erase who leaves. Of strangers there is nothing to erase, nor to note."""
    erased = closing.erased(state, CloseReason.UNSUBSCRIBED, command.at)
    if not erased:
        return ()
    left = e.UserUnsubscribed(at=command.at, delivery=command.delivery)
    return (*erased[:-1], left, erased[-1])


# Questions.


def _put(state: UserState, live: Session | None, command: c.Receive) -> Events:
    """Take a message as a question, of `live` or of a session that opens for it."""
    assistant = live.assistant if live is not None else command.policy.open_with
    match command.message.content:
        case Text(text=text):
            return _ask(state, live, assistant, command, text)
        case Picture(url=url) if url and assistant in command.policy.sighted:
            return _ask(state, live, assistant, command, "", url)
        case Picture():
            return _declined(command, Notice.NOT_UNDERSTOOD, "image")
        case Unsupported(kind=kind):
            return _declined(command, Notice.NOT_UNDERSTOOD, kind)
        case other:
            raise AssertionError(other)  # events are routed elsewhere


def _resumed(
    state: UserState, command: c.Receive, resumes: bool, then: Callable[[Session | None], Events]
) -> Events:
    """Return what `then` decides, in the last session if that `resumes`, else as it is."""
    if not resumes:
        return then(state.live_at(command.at))
    last = routing.lapsed_session(state, command.message.assistants, command.policy, command.at)
    assert last is not None
    ttl_s = command.policy.session_ttl_s
    decided = then(last.resumed(command.at, ttl_s))
    if all(isinstance(event, e.MessageDeclined | e.ReplyOffered) for event in decided):
        return decided  # what is declined takes up nothing
    return (e.SessionResumed(at=command.at, session=last.id, ttl_s=ttl_s), *decided)


def _ask(
    state: UserState,
    live: Session | None,
    assistant: AssistantName,
    command: c.Receive,
    text: str,
    image: str = "",
    retries: DeliveryKey = DeliveryKey(""),
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
        retries=retries,
    )
    return (*opened, asked)


def _held(command: c.Receive) -> e.MessageHeld:
    return e.MessageHeld(
        at=command.at,
        delivery=command.delivery,
        sealed=command.sealed,
        tapped=command.tapped,
    )


# Commands.


def _obeyed(
    state: UserState, live: Session | None, command: c.Receive, action: Action, *, resumes: bool
) -> Events:
    refused = limits.refusal_of_message(
        state, command, costs=not isinstance(action, FREE), silent=False
    )
    if refused is not None:
        return refused
    match action:
        case phrases.Open(assistant=assistant, question=question):
            return _open(state, live, command, assistant, question)
        case phrases.Stop():
            return _stop(state, live, command)
        case phrases.Interrupt():
            return _interrupt(state, live, command)
        case phrases.Clear():
            return _clear(state, live, command)
        case phrases.History():
            return _history(command)
        case phrases.Help():
            return (_given(command, "help"), _notice(command, Notice.HELP))
        case phrases.Continue():
            known = live is not None or state.past
            nothing = Notice.ALL_SAID if known else Notice.NO_SESSION
            return (_given(command, "continue"), _notice(command, nothing))
        case phrases.Retry():
            return _resumed(state, command, resumes, lambda one: _retry(state, one, command))
        case phrases.Resume():
            return _resumed(state, command, resumes, lambda one: _resume(state, one, command))
        case phrases.ChooseModel(model=model):
            return _resumed(state, command, resumes, lambda one: _choose_model(one, command, model))
        case phrases.Unknown(nearest=nearest):
            return _declined(command, Notice.NO_SUCH_COMMAND, nearest)
        case phrases.Say():
            raise AssertionError  # it is routed elsewhere
        case _:
            assert_never(action)


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
    closed = closing.close(state, live, CloseReason.REPLACED, command.at) if live else ()
    if question:
        asked = _ask(state, None, assistant, command, question)
        return (*closed, *asked) if _has_opened(asked) else asked
    opened = _session_opened(command, assistant)
    return (*closed, opened, given, _notice(command, Notice.SESSION_OPENED, assistant))


def _stop(state: UserState, live: Session | None, command: c.Receive) -> Events:
    given = _given(command, "stop")
    if live is None:
        return (given, _notice(command, Notice.NO_SESSION))
    closed = closing.close(state, live, CloseReason.STOPPED, command.at, command.written)
    return (given, *closed, _notice(command, Notice.SESSION_STOPPED))


def _interrupt(state: UserState, live: Session | None, command: c.Receive) -> Events:
    running = next(reversed(state.heads()), None)
    if running is None:
        return _stop(state, live, command)
    stopped = closing.stopped(running, "by its user", command.at, command.written)
    return (_given(command, "interrupt"), stopped, _notice(command, Notice.ANSWER_STOPPED))


def _clear(state: UserState, live: Session | None, command: c.Receive) -> Events:
    if command.tapped and (live or state.past) and not _was_asked_to_confirm(state, command.at):
        return (_given(command, CLEAR_UNCONFIRMED), _notice(command, Notice.CONFIRM_CLEAR))
    assistant = _assistant_to_reopen(state, live, command)
    closed = (
        closing.close(state, live, CloseReason.CLEARED, command.at, command.written) if live else ()
    )
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
    configured = tuple(command.message.assistants.values())
    last = live or next(iter(state.past[-1:]), None)
    if last is not None and last.assistant in configured:
        return last.assistant
    return configured[0]


def _continue(state: UserState, command: c.Receive, question: DeliveryKey) -> Events:
    refused = limits.refusal_of_message(state, command, costs=False, silent=False)
    if refused is not None:
        return refused
    asked = e.ContinuationAsked(
        at=command.at,
        delivery=command.delivery,
        question=question,
        sent_at=command.sent_at,
        delay_s=command.delay_s,
        tapped=command.tapped,
    )
    return (asked,)


def _retry(state: UserState, live: Session | None, command: c.Receive) -> Events:
    last = live.newest if live is not None else None
    if live is None or last is None:
        return (_given(command, "retry"), _notice(command, Notice.NOTHING_TO_RETRY))
    if isinstance(last.answer, Pending):
        return _continue(state, command, last.delivery)
    return _ask(state, live, live.assistant, command, last.text, last.image, last.delivery)


def _resume(state: UserState, live: Session | None, command: c.Receive) -> Events:
    if live is None:
        return (_given(command, "resume"), _notice(command, Notice.NO_SESSION))
    if command.held:
        return _ask(state, live, live.assistant, command, command.held)
    return (_given(command, "resume"), _notice(command, Notice.SESSION_RESUMED))


def _choose_model(live: Session | None, command: c.Receive, wanted: str) -> Events:
    assistant = live.assistant if live is not None else command.policy.open_with
    models = command.policy.models.get(assistant, ())
    if len(models) < 2:
        return (_given(command, "model"), _notice(command, Notice.ONLY_MODEL))
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
