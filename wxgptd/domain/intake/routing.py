"""Who handles a message: the precedence of rules, sessions, commands, a full disk, erased users.

One pure function with a closed set of results. The first of these that applies decides:

1. a message sent before its user was erased is not answered;
2. another attempt at a known message is handled like the first;
3. a rule that is `always` tried handles the message;
4. following and unfollowing the account are recorded;
5. commands, and words that act as commands (see `phrases.Reach`), are carried out;
6. an open session accepts the message as a question;
7. the other rules, including backends, handle it;
8. after a recently expired session, the message resumes it or gets a hint, if so configured;
9. an account that opens sessions without a command accepts it as a question;
10. otherwise it is not answered.

While the disk is full, anything that needs space in the log gets a fixed reply instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from wxgptd.domain.intake import phrases
from wxgptd.domain.intake.phrases import Action, Phrase, Reach
from wxgptd.domain.intake.rules import Rule
from wxgptd.domain.model.session import Completed, Failed, Question, Session
from wxgptd.domain.model.state import HELD_FOR_S, UserState
from wxgptd.domain.model.values import (
    AfterExpiry,
    AssistantName,
    CloseReason,
    Content,
    DeliveryKey,
    FailureReason,
    Finish,
    Ignorable,
    Policy,
    Standing,
    Subscribe,
    Text,
    Unsubscribe,
)
from wxgptd.domain.text import answer_length

HINT_EVERY_S = 3_600.0
"""At most one hint is sent in this period, because the account may have other uses."""


class RejectionReason(StrEnum):
    """Why new work is not accepted."""

    DISK_FULL = "disk full"
    OVERLOADED = "overloaded"


class Message(NamedTuple):
    """A message, and everything known about it except its sender's state.

    `always` is the first match among the rules that are always tried, `otherwise` the first among
    the others. `erased` means that it was sent before its user was erased, `full` that the disk is
    full. `assistants` maps each chat command to its assistant; the first is the one that `/clear`
    falls back to.
    """

    delivery: DeliveryKey
    content: Content
    phrase: Phrase
    assistants: Mapping[str, AssistantName]
    always: Rule | None = None
    otherwise: Rule | None = None
    erased: bool = False
    rejection: RejectionReason | None = None

    @property
    def tapped(self) -> bool:
        """Whether the message was sent by tapping a link."""
        return isinstance(self.content, Text) and self.content.tapped


class NotAnsweredReason(StrEnum):
    """Why a message gets no reply."""

    ERASED = "erased"
    LATE = "late"
    EVENT = "event"
    OUTSIDE = "outside"
    IGNORED = "ignored"
    HINTED = "hinted"


UNANSWERED = frozenset(
    {NotAnsweredReason.OUTSIDE, NotAnsweredReason.IGNORED, NotAnsweredReason.HINTED}
)
"""The reasons that leave a user without an answer."""


@dataclass(frozen=True, slots=True)
class NotAnswered:
    """The message is not answered: WeChat gets `success`."""

    why: NotAnsweredReason


@dataclass(frozen=True, slots=True)
class ByRule:
    """A rule handles the message: the operator's own reply, or another backend."""

    rule: Rule


@dataclass(frozen=True, slots=True)
class Rejected:
    """A fixed reply says that new work is not accepted; nothing is recorded."""

    why: RejectionReason


@dataclass(frozen=True, slots=True)
class Repeated:
    """Another attempt at a recorded message; for a follow or unfollow, `rule` holds the reply."""

    rule: Rule | None


@dataclass(frozen=True, slots=True)
class Membership:
    """The user follows or unfollows, which is recorded; `rule` or the welcome is the reply."""

    rule: Rule | None


@dataclass(frozen=True, slots=True)
class Command:
    """A command, or words that act as one; `resumes` means that it resumes the last session."""

    action: Action
    resumes: bool = False


@dataclass(frozen=True, slots=True)
class Proceed:
    """The next part of the answer to `question`."""

    question: DeliveryKey


@dataclass(frozen=True, slots=True)
class Ask:
    """A question: in the open session, in the last one if it `resumes`, else in a new one."""

    resumes: bool = False


@dataclass(frozen=True, slots=True)
class Hint:
    """The session has expired: the message is held back, and a hint explains how to continue."""


Route = NotAnswered | ByRule | Rejected | Repeated | Membership | Command | Proceed | Ask | Hint


def route(state: UserState, message: Message, policy: Policy, at: float) -> Route:
    """Return who handles `message`, which arrives at `at`."""
    if message.erased:
        return NotAnswered(NotAnsweredReason.ERASED)
    membership = isinstance(message.content, Subscribe | Unsubscribe)
    if message.delivery in state.windows:
        return Repeated((message.always or message.otherwise) if membership else None)
    if membership:
        return Membership(message.always or message.otherwise)
    if message.always is not None:
        return ByRule(message.always)
    if isinstance(message.content, Ignorable):
        return (
            ByRule(message.otherwise) if message.otherwise else NotAnswered(NotAnsweredReason.EVENT)
        )
    decision = _route_conversation(state, message, policy, at)
    if message.rejection is not None and _is_new_work(decision):
        return Rejected(message.rejection)
    return decision


def _is_new_work(decision: Route) -> bool:
    """Return whether a route begins something that takes space in the log, and a model's time."""
    match decision:
        case Command(action=phrases.Open() | phrases.Retry() | phrases.Resume()):
            return True
        case Command(resumes=True) | Ask() | Hint():
            return True
        case _:
            return False


def _route_conversation(state: UserState, message: Message, policy: Policy, at: float) -> Route:
    live = state.live_at(at)
    if live is None and message.otherwise is not None:
        # The other rules yield to commands only.
        lapsed = lapsed_session(state, message.assistants, policy, at)
        command = _command(state, message, policy, at, lapsed, conversing=False)
        decision: Route = command or ByRule(message.otherwise)
    elif not (live or state.version or policy.open_with) and _is_idle(message):
        return NotAnswered(NotAnsweredReason.OUTSIDE)  # most messages of most accounts
    else:
        decision = _route_without_rule(state, live, message, policy, at)
    if not isinstance(decision, NotAnswered | ByRule) and state.find(message.delivery) is not None:
        return NotAnswered(
            NotAnsweredReason.LATE
        )  # its window is long gone, but a question is never asked twice
    return decision


def _route_without_rule(
    state: UserState, live: Session | None, message: Message, policy: Policy, at: float
) -> Route:
    """Return who handles a message if no rule does."""
    lapsed = lapsed_session(state, message.assistants, policy, at) if live is None else None
    after = policy.after_expiry if lapsed is not None else AfterExpiry.IGNORE
    answering = bool(state.unanswered)  # in a session that was replaced
    conversing = bool(live or policy.open_with or after is not AfterExpiry.IGNORE or answering)
    command = _command(state, message, policy, at, lapsed, conversing=conversing)
    if command is not None:
        return command
    if live is not None:
        return Ask()
    if after is AfterExpiry.RESUME and _has_content(message.content):
        return Ask(resumes=True)
    hinted = bool(state.hinted_at) and at - state.hinted_at < HINT_EVERY_S
    if after is AfterExpiry.HINT and not hinted and phrases.spoken(message.content).strip():
        return Hint()
    if policy.open_with and _has_content(message.content):
        return Ask()
    if lapsed is not None and policy.after_expiry is AfterExpiry.IGNORE:
        return NotAnswered(NotAnsweredReason.IGNORED)
    return NotAnswered(
        NotAnsweredReason.HINTED
        if after is AfterExpiry.HINT and hinted
        else NotAnsweredReason.OUTSIDE
    )


def _is_idle(message: Message) -> bool:
    action = message.phrase.action
    return not message.tapped and isinstance(action, phrases.Say | phrases.ChooseModel)


def _has_content(content: Content) -> bool:
    return not isinstance(content, Text) or bool(content.text.strip())


def lapsed_session(
    state: UserState, assistants: Mapping[str, AssistantName], policy: Policy, at: float
) -> Session | None:
    """Return the session that a message at `at` could resume, or None.

    This is the last session, if it expired: a session that its user stopped is not resumed
    automatically.
    """
    last = state.live or state.past.last()
    # Honour what the hint promised, even if it was sent at the last moment.
    promised_s = HELD_FOR_S if state.held_at(at) is not None else 0.0
    if (
        last is None
        or last.closed not in (None, CloseReason.EXPIRED)
        or at - last.expires_at >= policy.resume_within_s + promised_s
        or state.live_at(at) is not None
        or last.assistant not in assistants.values()
        or state.standing_at(at) is Standing.BLOCKED
        or (policy.limits.only_allowed and state.standing_at(at) is not Standing.ALLOWED)
    ):
        return None
    return last


def _command(
    state: UserState,
    message: Message,
    policy: Policy,
    at: float,
    lapsed: Session | None,
    *,
    conversing: bool,
) -> Route | None:
    """Return what the command in `message` asks for, or None if it is ordinary text."""
    action, reach = message.phrase
    if isinstance(action, phrases.Say):
        return None
    if isinstance(action, phrases.Continue):
        return _continue(state, message, policy, at, lapsed, conversing=conversing)
    live = state.live_at(at)
    resumes = lapsed is not None
    continues = live is not None or (resumes and policy.after_expiry is AfterExpiry.RESUME)
    is_recognised = (
        message.tapped
        or reach is Reach.ANYWHERE
        or (reach is Reach.CONVERSATION and conversing)
        or (reach is Reach.OUTSIDE and conversing and bool(policy.open_with) and not continues)
    )
    if not is_recognised:
        return None
    match action:
        case phrases.Retry():
            return Command(action, resumes)
        case phrases.Resume():
            can_resume = resumes or message.tapped or state.held_at(at) is not None
            return Command(action, resumes) if can_resume else None
        case phrases.ChooseModel(model=requested):
            session = live or lapsed
            assistant = session.assistant if session is not None else policy.open_with
            names = [model.lower() for model in policy.models.get(assistant, ())]
            is_question = not requested.isascii() and requested.lower() not in names
            is_recognised = conversing or message.tapped
            return Command(action, resumes) if is_recognised and not is_question else None
        case _:
            return Command(action)


def _continue(
    state: UserState,
    message: Message,
    policy: Policy,
    at: float,
    lapsed: Session | None,
    *,
    conversing: bool,
) -> Route | None:
    """Return which answer to continue; a tap or a slash line is never a question."""
    action = message.phrase.action
    assert isinstance(action, phrases.Continue)
    live = state.live_at(at)
    if not (conversing or message.tapped or message.phrase.reach is Reach.ANYWHERE):
        return None
    if live is None or not _offers_more(live):
        question = next(_unfinished(state, at - policy.link_ttl_s), None)
        if question is not None:
            return Proceed(question.delivery)
    may_resume = message.tapped or message.otherwise is None
    if may_resume and lapsed is not None and _offers_more(lapsed):
        return Ask(resumes=True)  # the answer offered to continue
    if _offers_more(live):
        return None
    asks = action.may_ask and not message.tapped
    has_history = live is not None or bool(state.past) or message.tapped
    return None if asks or not has_history else Command(action)


def _unfinished(state: UserState, since: float) -> Iterator[Question]:
    """Yield the questions whose answers have not been offered in full, newest first."""
    for session in state.sessions():
        if session.last_at < since:
            return
        if session.closed in (CloseReason.CLEARED, CloseReason.UNSUBSCRIBED):
            continue
        for question in reversed(session.questions.values()):  # type: ignore[call-overload]
            is_being_pushed = (
                state.push is not None and state.push.before.delivery == question.delivery
            )
            if question.asked_at >= since and (question.has_more() or is_being_pushed):
                yield question


def _offers_more(live: Session | None) -> bool:
    """Return whether the newest answer ended with an invitation to continue."""
    newest: Question | None = live.newest if live is not None else None
    if newest is None or newest.has_more():
        return False
    match newest.answer:
        case Completed(finish=Finish.LENGTH) | Failed(reason=FailureReason.INTERRUPTED):
            return True
        case Completed(text=text):
            return answer_length.offers_more(text)
        case _:
            return False
