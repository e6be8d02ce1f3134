"""The state of one user: the fold of that user's events.

State is immutable and shared freely between threads. `evolve` defines how each event changes it.
Data that spans users (links, budgets, metrics) is not here but in projections of the log.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from wxgptd.domain.model.page_writing import NO_WRITERS, Share, Writers
from wxgptd.domain.model.past import NO_SESSIONS, Past
from wxgptd.domain.model.reply_window import Open, Window, is_over
from wxgptd.domain.model.session import (
    Forgotten,
    Question,
    Session,
)
from wxgptd.domain.model.values import (
    NO_SESSION,
    CloseReason,
    DeliveryKey,
    LinkHash,
    SessionId,
    Standing,
)
from wxgptd.errors import WxgptError

_NOTHING = DeliveryKey("")


class Inconsistent(WxgptError):
    """an event in the log cannot follow the ones before it"""

    exit_status = 5


HELD_FOR_S = 600.0
"""How long a held-back message can still be sent to a model."""


class Held(NamedTuple):
    """A message that arrived after the session expired, encrypted with a short-lived key."""

    sealed: bytes
    at: float


class Push(NamedTuple):
    """A push in progress; `before` is the question as it was, to restore if the push fails."""

    before: Question


NO_WINDOWS: Mapping[DeliveryKey, Window] = {}


class UserState(NamedTuple):
    """One user of one account. `version` counts the events folded so far.

    `unseen` holds the answered questions whose answer has been neither offered nor opened since.
    `spoke_at` is when the user last wrote, and `pushes` the number of messages pushed since;
    `tapped_at` and `tap_pushes` are the same for the last tap. `is_marked` means that an operator
    has set the user's standing or name at least once. Sessions that ended before `history_since`
    have been dropped; `history_links` holds the valid links to the history, with the times they
    were issued.
    `held` is the message that was held back when the user was last notified, at `hinted_at`, that
    the session has expired. `writing` holds the browsers that may write on the user's pages, and
    `shares` the links to turns that the user has shared. `forgotten` has what remains of the last
    day's questions in deleted sessions. `name` is what the operator calls the user.
    """

    version: int = 0
    live: Session | None = None
    past: Past = NO_SESSIONS
    windows: Mapping[DeliveryKey, Window] = NO_WINDOWS
    unanswered: tuple[DeliveryKey, ...] = ()
    unseen: tuple[DeliveryKey, ...] = ()
    spoke_at: float = 0.0
    pushes: int = 0
    push: Push | None = None
    standing: Standing = Standing.DEFAULT
    standing_until: float = 0.0
    is_marked: bool = False
    history_since: float = 0.0
    history_links: tuple[tuple[LinkHash, float], ...] = ()
    tapped_at: float = 0.0
    tap_pushes: int = 0
    held: Held | None = None
    hinted_at: float = 0.0
    writing: Writers = NO_WRITERS
    shares: tuple[Share, ...] = ()
    forgotten: tuple[Forgotten, ...] = ()
    name: str = ""

    @property
    def heard_at(self) -> float:
        """When the user last wrote or tapped in the chat."""
        return max(self.spoke_at, self.tapped_at)

    @property
    def active_at(self) -> float:
        """When the user was last active, in the chat or on a page."""
        return max(self.heard_at, self.writing.seen_at)

    def may_write(self, cookie: bytes, at: float, ask_for_s: float) -> bool:
        """Return whether the browser with that cookie may write on the user's pages at `at`.

        It may until `ask_for_s` seconds have passed since the last sign of life.
        """
        return (
            cookie in self.writing.cookies
            and at - self.active_at < ask_for_s
            and self.standing_at(at) is not Standing.BLOCKED
        )

    def live_at(self, at: float) -> Session | None:
        """Return the session open at `at`; a session does not expire while an answer is pending."""
        live = self.live
        if live is None or at < live.expires_at:
            return live
        return live if any(name in live.questions for name in self.unanswered) else None

    def held_at(self, at: float) -> Held | None:
        """Return the message that is still held back at `at`, or None."""
        held = self.held
        return held if held is not None and at - held.at <= HELD_FOR_S else None

    def sessions(self) -> Iterator[Session]:
        """Yield the user's sessions, newest first."""
        if self.live is not None:
            yield self.live
        yield from reversed(self.past)

    def share(self, delivery: DeliveryKey) -> Share | None:
        """Return the link to shared turns that was made with that `delivery`, or None."""
        return next((share for share in self.shares if share.delivery == delivery), None)

    def session(self, name: SessionId) -> Session | None:
        """Return the session with that identifier, or None."""
        return next((session for session in self.sessions() if session.id == name), None)

    def find(self, question: DeliveryKey) -> tuple[Session, Question] | None:
        """Return the question with that name and its session, or None."""
        session = self.live
        if session is None or question not in session.questions:
            session = self.past.holder(question)
        return (session, session.questions[question]) if session is not None else None

    def question(self, name: DeliveryKey) -> Question:
        """Return the question with that name.

        Raises:
            Inconsistent: no question has that name.
        """
        entry = self.find(name)
        if entry is None:
            raise Inconsistent(f"no question {name}")
        return entry[1]

    def session_of(self, question: DeliveryKey) -> SessionId:
        """Return the session of the question with that name, or empty."""
        entry = self.find(question)
        return entry[0].id if entry is not None else NO_SESSION

    def sessions_with(self, question: Question) -> tuple[Session | None, Past]:
        """Return the live session and the past ones with `question` replaced in its session."""
        live, past = self.live, self.past
        if live is not None and question.delivery in live.questions:
            return live.with_question(question), past
        return live, past.with_question(question)

    def unseen_without(self, name: DeliveryKey) -> tuple[DeliveryKey, ...]:
        """Return the unseen questions without `name`."""
        unseen = self.unseen
        return tuple(other for other in unseen if other != name) if name in unseen else unseen

    def links(self, since: float) -> Iterator[tuple[LinkHash, DeliveryKey, float]]:
        """Yield each link issued since `since`, its question (empty for the history), and when."""
        for session in self.sessions():
            if session.closed not in (CloseReason.CLEARED, CloseReason.UNSUBSCRIBED):
                for question in session.questions.values():
                    if question.asked_at >= since:
                        yield question.link, question.delivery, question.asked_at
        for link, at in self.history_links:
            if at >= since:
                yield link, _NOTHING, at

    def next_questions(self) -> tuple[DeliveryKey, ...]:
        """Return the questions to be answered now: the oldest unanswered one of each session."""
        heads: dict[SessionId, DeliveryKey] = {}
        for name in self.unanswered:
            entry = self.find(name)
            if entry is not None:
                heads.setdefault(entry[0].id, name)
        return tuple(heads.values())

    def reminder(self, at: float, link_ttl_s: float) -> Question | None:
        """Return the newest question with an unseen answer and a link that still works, or None.

        An answer that a window or a push is about to deliver needs no reminder.
        """
        for name in reversed(self.unseen):
            question = self.question(name)
            if (
                at - question.asked_at < link_ttl_s
                and not self.is_awaited(name, at)
                and (self.push is None or self.push.before.delivery != name)
            ):
                return question
        return None

    def is_awaited(self, question: DeliveryKey, at: float) -> bool:
        """Return whether an open window is waiting for the answer to `question`."""
        return any(
            isinstance(window, Open) and window.question == question and not is_over(window, at)
            for window in self.windows.values()
        )

    def trimmed(self, before: float) -> UserState:
        """Return the state without past sessions closed before `before` with all answers seen."""
        past = Past(
            session
            for session in self.past
            if session.closed_at >= before
            or any(name in session.questions for name in (*self.unanswered, *self.unseen))
        )
        if len(past) == len(self.past):
            return self
        return self._replace(past=past, history_since=before)

    def standing_at(self, at: float) -> Standing:
        """Return the user's standing at `at`: a temporary one may have ended."""
        has_ended = 0 < self.standing_until <= at
        return Standing.DEFAULT if has_ended else self.standing


EMPTY = UserState()
