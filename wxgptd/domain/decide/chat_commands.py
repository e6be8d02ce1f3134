"""The events that each chat command produces."""

from __future__ import annotations

from typing import assert_never

from wxgptd.domain.decide import closing, limits, offering
from wxgptd.domain.decide import commands as c
from wxgptd.domain.decide.questions import (
    ask,
    command_given,
    declined,
    noticed,
    resumed,
    session_opened,
)
from wxgptd.domain.intake import phrases
from wxgptd.domain.intake.phrases import Action
from wxgptd.domain.model import events as e
from wxgptd.domain.model.reply_window import Settled
from wxgptd.domain.model.session import Pending, Session
from wxgptd.domain.model.state import UserState
from wxgptd.domain.model.values import AssistantName, CloseReason, DeliveryKey, Notice

Events = tuple[e.Event, ...]

CLEAR_SESSION = "clear session"
"""The recorded name of a `/clear` that keeps the history links valid."""

CLEAR_UNCONFIRMED = "clear unconfirmed"
"""The recorded name of a tapped `/clear` that still needs confirmation: mistaken taps are
common."""

CONFIRM_WITHIN_S = 300.0

FREE = (
    phrases.Help,
    phrases.History,
    phrases.Continue,
    phrases.Unknown,
    phrases.EndSession,
    phrases.StopAnswer,
)
"""Commands that do not count towards the per-minute limit; `limits.FREE` lists the notices sent in
response."""


def run_command(
    state: UserState, live: Session | None, command: c.Receive, action: Action, *, resumes: bool
) -> Events:
    """Return the events that a command produces, in the resumed last session if `resumes`."""
    limited = limits.limit_on_message(
        state, command, costs=not isinstance(action, FREE), silent=False
    )
    if limited is not None:
        return limited
    match action:
        case phrases.Open(assistant=assistant, question=question):
            return _open(state, live, command, assistant, question)
        case phrases.EndSession():
            return _end_session(state, live, command)
        case phrases.StopAnswer():
            return _stop_answer(state, live, command)
        case phrases.Clear():
            return _clear(state, live, command)
        case phrases.History():
            return _history(command)
        case phrases.Help():
            about = offering.OPEN if live is not None else ""
            return (command_given(command, "help"), noticed(command, Notice.HELP, about))
        case phrases.Continue():
            has_session = live is not None or state.past
            notice = Notice.ALL_SAID if has_session else Notice.NO_SESSION
            return (command_given(command, "continue"), noticed(command, notice))
        case phrases.Retry():
            return resumed(state, command, resumes, lambda session: _retry(state, session, command))
        case phrases.Resume():
            return resumed(
                state, command, resumes, lambda session: _resume(state, session, command)
            )
        case phrases.ChooseModel(model=model):
            return resumed(
                state, command, resumes, lambda session: _choose_model(session, command, model)
            )
        case phrases.Unknown(nearest=nearest):
            return declined(command, Notice.NO_SUCH_COMMAND, nearest)
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
    given = command_given(command, "open")
    if live is not None and live.assistant == assistant:
        if question:
            return ask(state, live, assistant, command, question)
        return (given, noticed(command, Notice.SESSION_ALREADY_OPEN, assistant))
    closed = closing.close(state, live, CloseReason.REPLACED, command.at) if live else ()
    if question:
        asked = ask(state, None, assistant, command, question)
        return (*closed, *asked) if _has_opened(asked) else asked
    opened = session_opened(command, assistant)
    return (*closed, opened, given, noticed(command, Notice.SESSION_OPENED, assistant))


def _end_session(state: UserState, live: Session | None, command: c.Receive) -> Events:
    """End the session, or ensure that an expired one is not resumed."""
    given = command_given(command, "stop")
    if live is not None:
        closed = closing.close(state, live, CloseReason.STOPPED, command.at, command.written)
        about = offering.ANSWER if state.unanswered else ""
        return (given, *closed, noticed(command, Notice.SESSION_STOPPED, about))
    # A replaced session may have an answer that is still being written.
    reason = CloseReason.STOPPED
    stopped = closing.dropped(state.unanswered, reason, command.at, command.written)
    last = state.live or state.past.last()
    lapsed = last is not None and last.closed in (None, CloseReason.EXPIRED)
    notice = Notice.SESSION_STOPPED if lapsed or stopped else Notice.NO_SESSION
    return (given, *stopped, noticed(command, notice))


def _stop_answer(state: UserState, live: Session | None, command: c.Receive) -> Events:
    running = next(reversed(state.next_questions()), None)
    if running is None:
        return _end_session(state, live, command)
    stopped = closing.stopped(running, "by the user", command.at, command.written)
    return (
        command_given(command, "interrupt"),
        stopped,
        noticed(command, Notice.ANSWER_STOPPED),
    )


def _clear(state: UserState, live: Session | None, command: c.Receive) -> Events:
    if command.tapped and (live or state.past) and not _was_asked_to_confirm(state, command.at):
        return (
            command_given(command, CLEAR_UNCONFIRMED),
            noticed(command, Notice.CONFIRM_CLEAR),
        )
    assistant = _assistant_to_reopen(state, live, command)
    closed = (
        closing.close(state, live, CloseReason.CLEARED, command.at, command.written) if live else ()
    )
    opened = session_opened(command, assistant)
    notice = Notice.SESSION_CLEARED if live else Notice.SESSION_OPENED
    given = command_given(command, "clear" if command.policy.clear_ends_history else CLEAR_SESSION)
    return (*closed, opened, given, noticed(command, notice, assistant))


def _was_asked_to_confirm(state: UserState, at: float) -> bool:
    """Return whether the newest reply to the user is a recent request to confirm a `/clear`."""
    newest = next(reversed(state.windows.values()), None)  # type: ignore[call-overload]
    return (
        isinstance(newest, Settled)
        and newest.reply.notice == Notice.CONFIRM_CLEAR
        and at - newest.settled_at <= CONFIRM_WITHIN_S
    )


def _history(command: c.Receive) -> Events:
    issued = e.HistoryLinkIssued(at=command.at, delivery=command.delivery, link=command.link)
    return (command_given(command, "history"), issued, noticed(command, Notice.HISTORY))


def _assistant_to_reopen(
    state: UserState, live: Session | None, command: c.Receive
) -> AssistantName:
    configured = tuple(command.message.assistants.values())
    last = live or state.past.last()
    if last is not None and last.assistant in configured:
        return last.assistant
    return configured[0]


def proceed(state: UserState, command: c.Receive, question: DeliveryKey) -> Events:
    """Return the events that request the next part of the answer to `question`."""
    limited = limits.limit_on_message(state, command, costs=False, silent=False)
    if limited is not None:
        return limited
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
    if live is None:
        return (command_given(command, "retry"), noticed(command, Notice.NO_SESSION))
    last = live.newest
    if last is None:
        return (
            command_given(command, "retry"),
            noticed(command, Notice.NOTHING_TO_RETRY),
        )
    if isinstance(last.answer, Pending):
        return proceed(state, command, last.delivery)
    if last.image and live.assistant not in command.policy.sighted:
        return declined(command, Notice.NOT_UNDERSTOOD, "image")
    return ask(state, live, live.assistant, command, last.text, last.image, last.delivery)


def _resume(state: UserState, live: Session | None, command: c.Receive) -> Events:
    if live is None:
        return (command_given(command, "resume"), noticed(command, Notice.NO_SESSION))
    if command.held:
        return ask(state, live, live.assistant, command, command.held, held=True)
    had_expired = state.live_at(command.at) is None
    notice = Notice.SESSION_RESUMED if had_expired else Notice.SESSION_ALREADY_OPEN
    return (
        command_given(command, "resume"),
        noticed(command, notice, "" if had_expired else live.assistant),
    )


def _choose_model(live: Session | None, command: c.Receive, requested: str) -> Events:
    assistant = live.assistant if live is not None else command.policy.open_with
    if not assistant:
        return (command_given(command, "model"), noticed(command, Notice.NO_SESSION))
    models = command.policy.models.get(assistant, ())
    if len(models) < 2:
        return (command_given(command, "model"), noticed(command, Notice.ONLY_MODEL))
    model = next((model for model in models if model.lower() == requested.lower()), None)
    if model is None:
        current = live.model if live is not None and live.model in models else models[0]
        about = "\n".join((current, *models))
        name = Notice.NO_SUCH_MODEL if requested else Notice.MODELS
        return (command_given(command, "model"), noticed(command, name, about))
    opened = () if live is not None else (session_opened(command, assistant),)
    chosen = e.ModelChosen(
        at=command.at,
        session=live.id if live is not None else command.fresh_session,
        delivery=command.delivery,
        model=model,
        tapped=command.tapped,
    )
    return (*opened, chosen, noticed(command, Notice.MODEL_CHOSEN, model))


def _has_opened(events: Events) -> bool:
    return any(isinstance(event, e.SessionOpened) for event in events)
