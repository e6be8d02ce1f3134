"""What has to happen although nobody asks: sessions end in time, dead links are forgotten."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from wxgptd.domain import commands as c
from wxgptd.domain.values import User
from wxgptd.service.journal import Journal
from wxgptd.service.keeping import Keeping
from wxgptd.service.projections import LinkIndex, OpenSessions
from wxgptd.service.pushing import Pushing
from wxgptd.service.timeline import Timeline

PERIOD_S = 1.0


class CarryOut(Protocol):
    """Record a command and act on what it leads to."""

    def __call__(self, user: User, command: c.Command) -> object: ...


class Sweeper:
    """Looks around once a second."""

    def __init__(
        self,
        *,
        journal: Journal,
        sessions: OpenSessions,
        links: LinkIndex,
        carry_out: CarryOut,
        pushing: Pushing,
        keeping: Keeping,
        clock: IReactorTime,
        timeline: Timeline,
    ) -> None:
        self._journal = journal
        self._sessions = sessions
        self._links = links
        self._carry_out = carry_out
        self._pushing = pushing
        self._keeping = keeping
        self._timeline = timeline
        self._loop = LoopingCall(self.sweep)
        self._loop.clock = clock

    def start(self) -> None:
        """Begin to look around."""
        self._loop.start(PERIOD_S)

    def stop(self) -> None:
        """Leave things as they are."""
        if self._loop.running:
            self._loop.stop()

    def sweep(self) -> None:
        """Close the sessions whose time is over, forget dead links, push what nobody came for.

        And keep the log short.
        """
        now = self._timeline.now()
        for user in self._sessions.due(now):
            live = self._journal.state(user).live
            if live is not None and live.expires_at > now:
                self._sessions.keep(user, live.expires_at)
            else:
                self._carry_out(user, c.ExpireSession(at=now))
        self._links.forget_expired(now)
        self._pushing.look_again()
        self._keeping.look()
