"""Questions: asked, answered, asked again."""

from __future__ import annotations

from wxgptd.domain.model import events as e
from wxgptd.domain.model.reply_window import Open
from wxgptd.domain.model.session import Completed, Failed, Pending, Question, Session
from wxgptd.domain.model.state import Inconsistent, UserState
from wxgptd.domain.model.values import DeliveryKey, FailureReason
from wxgptd.domain.prompt import tokens
from wxgptd.domain.transitions import windows


def asked(state: UserState, event: e.QuestionAsked) -> UserState:
    """Return the state with a new question in its open session."""
    if state.live is None or state.live.id != event.session:
        raise Inconsistent(f"question {event.delivery} asked outside session {event.session}")
    if event.delivery in state.live.questions:
        raise Inconsistent(f"question {event.delivery} asked twice")
    question = Question(
        event.delivery, event.text, event.at, event.link, event.image, retries=event.retries
    )
    state = windows.opened(state, event, event.delivery, event.delay_s)
    assert state.live is not None
    live = state.live.with_question(question)
    return state._replace(
        live=live._replace(model=event.model) if event.model else live,
        unanswered=(*state.unanswered, event.delivery),
        held=None if event.held else state.held,
    )


def completed(state: UserState, event: e.AnswerCompleted) -> UserState:
    """Return the state with a question answered."""
    answer = Completed(
        text=event.text,
        finish=event.finish,
        model=event.model,
        at=event.at,
        took_s=event.took_s,
        tokens=event.usage.tokens or tokens.estimate(event.text),
    )
    return _answered(state, event.question, answer, event.at, withdrawn=event.withdrawn)


def failed(state: UserState, event: e.AnswerFailed) -> UserState:
    """Return the state with a question that has no complete answer."""
    answer = Failed(
        reason=event.reason,
        text=event.text,
        at=event.at,
        retry_after_s=event.retry_after_s,
        tokens=event.usage.tokens,
    )
    return _answered(state, event.question, answer, event.at)


def restarted(state: UserState, event: e.AnswerRestarted) -> UserState:
    """Return the state with a question asked again."""
    live, past = state.sessions_with(_pending(state, event.question).restarted())
    return state._replace(live=live, past=past)


def _answered(
    state: UserState,
    name: DeliveryKey,
    answer: Completed | Failed,
    at: float,
    *,
    withdrawn: bool = False,
) -> UserState:
    question = _pending(state, name)
    if withdrawn:
        question = question._replace(offered=0)
    late = not isinstance(state.windows.get(name), Open)
    live, past = state.sessions_with(question.answered(answer, late=late))
    live = touched(live, name, at)
    unanswered = tuple(other for other in state.unanswered if other != name)
    unseen = state.unseen
    if _is_worth_a_look(answer) and not question.page_opened:
        unseen = (*unseen, name)  # a window waiting for it removes it immediately
    return state._replace(live=live, past=past, unanswered=unanswered, unseen=unseen)


def _is_worth_a_look(answer: Completed | Failed) -> bool:
    return isinstance(answer, Completed) or (
        answer.reason is FailureReason.INTERRUPTED and bool(answer.text)
    )


def trimmed(state: UserState, event: e.ContextTrimmed) -> UserState:
    """Return the state with older turns left out of a question's prompt."""
    entry = state.find(event.question)
    if entry is None:
        raise Inconsistent(f"no question {event.question}")
    session, question = entry
    changed = session.with_question(question._replace(trimmed=True))._replace(trimmed=True)
    if state.live is not None and state.live.id == session.id:
        return state._replace(live=changed)
    return state._replace(past=state.past.with_holder(event.question, lambda _: changed))


def touched(live: Session | None, question: DeliveryKey, at: float) -> Session | None:
    """Return the open session after some activity, if `question` belongs to it."""
    return live.touched(at) if live is not None and question in live.questions else live


def _pending(state: UserState, name: DeliveryKey) -> Question:
    question = state.question(name)
    if not isinstance(question.answer, Pending):
        raise Inconsistent(f"question {name} already has an answer")
    return question
