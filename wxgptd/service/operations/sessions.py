"""List sessions for the operator, and stop them. Implements `ports.control.Sessions`."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

from twisted.internet.defer import Deferred, succeed

from wxgptd.domain.decide import commands as c
from wxgptd.domain.model.values import CloseReason, SessionId
from wxgptd.ports.control import OpenSession, PendingQuestion
from wxgptd.service.answers.answer_runner import AnswerRunner
from wxgptd.service.answers.inflight import InFlight
from wxgptd.service.state.event_clock import EventClock
from wxgptd.service.state.journal import Journal
from wxgptd.service.state.projections import OpenSessions


class Sessions:
    """Lists and stops sessions."""

    def __init__(
        self,
        journal: Journal,
        sessions: OpenSessions,
        flights: InFlight,
        answer_runner: AnswerRunner,
        event_clock: EventClock,
    ) -> None:
        self._journal = journal
        self._sessions = sessions
        self._flights = flights
        self._answer_runner = answer_runner
        self._event_clock = event_clock

    def open(self) -> Sequence[OpenSession]:
        """Return the open sessions."""
        return [
            OpenSession(
                session=live.id,
                account=user.account,
                user=user.openid,
                assistant=live.assistant,
                opened_at=live.opened_at,
                expires_at=live.expires_at,
                questions=len(live.questions),
            )
            for user in self._sessions
            if (live := self._journal.state(user).live) is not None
        ]

    def pending(self) -> Sequence[PendingQuestion]:
        """Return the questions that have no answer yet, oldest first."""
        now = self._event_clock.now()
        pending = []
        for user, name, flight in self._flights:
            state = self._journal.state(user)
            turn = state.find(name)
            if turn is None:
                continue
            session, question = turn
            window = state.windows.get(name)
            pending.append(
                PendingQuestion(
                    account=user.account,
                    user=user.openid,
                    session=session.id,
                    assistant=session.assistant,
                    delivery=name,
                    asked_at=question.asked_at,
                    waited_s=round(max(0.0, now - question.asked_at), 1),
                    progress=flight.progress,
                    written_chars=len(flight.written),
                    attempts=window.attempts if window is not None else 0,
                )
            )
        return sorted(pending, key=attrgetter("asked_at"))

    def stop(self, session: str) -> Deferred[bool]:
        """End a session."""
        for user in self._sessions:
            live = self._journal.state(user).live
            if live is not None and live.id == session:
                command = c.CloseSession(
                    at=self._event_clock.now(),
                    session=SessionId(session),
                    reason=CloseReason.OPERATOR,
                    written=self._answer_runner.written(user),
                )
                self._journal.record(user, command)
                return self._journal.committed().addCallback(lambda _: True)
        return succeed(False)
