"""Settles at startup what was unfinished when the daemon stopped."""

from __future__ import annotations

from twisted.logger import Logger

from wxgptd.domain.decide import commands as c
from wxgptd.domain.decide.decider import recover
from wxgptd.domain.model import events as e
from wxgptd.domain.model.state import UserState
from wxgptd.domain.model.values import User
from wxgptd.service.answers.inflight import InFlight
from wxgptd.service.state.event_clock import EventClock
from wxgptd.service.state.journal import Journal
from wxgptd.service.state.settings import Settings

log = Logger()


class Recovery:
    """Retries or abandons questions that were unanswered when the daemon stopped."""

    def __init__(
        self, settings: Settings, journal: Journal, flights: InFlight, event_clock: EventClock
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._flights = flights
        self._event_clock = event_clock

    def begin(self) -> None:
        """Settle each user's unfinished work."""
        for user, state in self._journal.loaded():
            if state.unanswered or state.push is not None:
                self._recover(user, state)

    def _recover(self, user: User, state: UserState) -> None:
        for name in state.unanswered:
            if name not in state.next_questions():
                self._flights.open(user, name)  # it keeps waiting for its turn
        policy = self._settings.account(user).policy
        for command in recover(state, self._event_clock.now(), policy.link_ttl_s):
            match command:
                case c.RecordFact(fact=e.AnswerFailed(question=question, detail=why)):
                    log.warn(
                        "answer {question} failed: {why}",
                        id="answer-failed",
                        question=question,
                        why=why,
                    )
                case _:
                    pass
            self._journal.record(user, command)
