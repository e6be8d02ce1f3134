"""Chores that run once a second."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.task import LoopingCall

from wxgptd.domain.decide import commands as c
from wxgptd.domain.model import events as e
from wxgptd.domain.model.values import account_itself
from wxgptd.service.state.event_clock import EventClock
from wxgptd.service.state.journal import Journal
from wxgptd.service.state.projections import OpenSessions
from wxgptd.service.state.unanswered import Unanswered

PERIOD_S = 1.0

Chore = Callable[[float], object]
"""Called once a second with the time in seconds since the epoch."""


class Sweeper:
    """Runs `chores` once a second, in order, and `at_the_end` when it stops."""

    def __init__(self, event_clock: EventClock, chores: Sequence[Chore], at_the_end: Chore) -> None:
        self._event_clock = event_clock
        self._chores = chores
        self._at_the_end = at_the_end
        self._loop = LoopingCall(self.sweep)
        self._loop.clock = event_clock.clock

    def start(self) -> None:
        """Start running the chores."""
        self._loop.start(PERIOD_S)

    def stop(self) -> None:
        """Stop, and run `at_the_end`."""
        if self._loop.running:
            self._loop.stop()
            self._at_the_end(self._event_clock.now())

    def sweep(self) -> None:
        """Run each chore once."""
        now = self._event_clock.now()
        for chore in self._chores:
            chore(now)


class SessionExpiry:
    """Closes expired sessions."""

    def __init__(self, journal: Journal, sessions: OpenSessions) -> None:
        self._journal = journal
        self._sessions = sessions

    def __call__(self, now: float) -> None:
        """Close the sessions that have expired."""
        for user in self._sessions.due(now):
            live = self._journal.state(user).live_at(now)
            if live is not None:  # not expired after all, or still being answered
                self._sessions.keep(user, max(live.expires_at, now + PERIOD_S))
            else:
                self._journal.record(user, c.ExpireSession(at=now))


class UnansweredCounts:
    """Records how many messages went unanswered, once a minute for each account."""

    def __init__(self, journal: Journal, unanswered: Unanswered) -> None:
        self._journal = journal
        self._unanswered = unanswered

    def record_due(self, now: float) -> None:
        """Record the counts that are due."""
        self._record(now, everything=False)

    def record_all(self, now: float) -> None:
        """Record everything counted so far."""
        self._record(now, everything=True)

    def _record(self, now: float, *, everything: bool) -> None:
        for account, count in self._unanswered.due(now, everything=everything):
            unanswered = e.MessagesUnanswered(at=now, count=count)
            self._journal.record(account_itself(account), c.RecordFact(unanswered))
