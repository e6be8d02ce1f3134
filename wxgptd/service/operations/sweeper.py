"""What has to happen although nobody asks: sessions end in time, dead links are forgotten."""

from __future__ import annotations

from contextlib import suppress

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from wxgptd.domain.decide import commands as c
from wxgptd.domain.model import events as e
from wxgptd.domain.model.values import account_itself
from wxgptd.ports.keys import PassingKeys
from wxgptd.service.answers.pushing import Pushing
from wxgptd.service.state.journal import Journal
from wxgptd.service.state.keeping import Keeping
from wxgptd.service.state.projections import LinkIndex, OpenSessions
from wxgptd.service.state.timeline import Timeline
from wxgptd.service.state.unanswered import Unanswered

PERIOD_S = 1.0


class Sweeper:
    """Looks around once a second."""

    def __init__(
        self,
        *,
        journal: Journal,
        sessions: OpenSessions,
        links: LinkIndex,
        pushing: Pushing,
        keeping: Keeping,
        unanswered: Unanswered,
        passing_keys: PassingKeys,
        clock: IReactorTime,
        timeline: Timeline,
    ) -> None:
        self._journal = journal
        self._sessions = sessions
        self._links = links
        self._pushing = pushing
        self._keeping = keeping
        self._unanswered = unanswered
        self._passing_keys = passing_keys
        self._timeline = timeline
        self._loop = LoopingCall(self.sweep)
        self._loop.clock = clock

    def start(self) -> None:
        """Begin to look around."""
        self._loop.start(PERIOD_S)

    def stop(self) -> None:
        """Leave things as they are, once what was counted is recorded."""
        if self._loop.running:
            self._loop.stop()
            self._record_unanswered(self._timeline.now(), everything=True)

    def sweep(self) -> None:
        """Close the sessions whose time is over, forget dead links and keys, push what is late.

        And record how many messages went unanswered, and keep the log short.
        """
        now = self._timeline.now()
        for user in self._sessions.due(now):
            live = self._journal.state(user).live_at(now)
            if live is not None:  # or its answer is still being written
                self._sessions.keep(user, max(live.expires_at, now + PERIOD_S))
            else:
                self._journal.record(user, c.ExpireSession(at=now))
        self._links.forget_expired(now)
        self._record_unanswered(now)
        with suppress(OSError):  # it is tried again
            self._passing_keys.forget(now)
        self._pushing.look_again()
        self._keeping.look()

    def _record_unanswered(self, now: float, *, everything: bool = False) -> None:
        for account, count in self._unanswered.due(now, everything=everything):
            unanswered = e.MessagesUnanswered(at=now, count=count)
            self._journal.record(account_itself(account), c.Note(unanswered))
