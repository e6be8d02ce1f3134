"""Which answers are being written on the node that leads, as far as its events tell."""

from __future__ import annotations

from wxgptd.domain.model import events as e
from wxgptd.domain.model.state import UserState
from wxgptd.domain.model.values import User
from wxgptd.service.answers.inflight import InFlight
from wxgptd.service.state.journal import Journal


class Mirroring:
    """Observes the events that another node records, and keeps a flight for each open question."""

    def __init__(self, journal: Journal, flights: InFlight) -> None:
        self._journal = journal
        self._flights = flights

    def begin(self) -> None:
        """Begin with the questions that are open now."""
        for user, state in self._journal.loaded():
            for question in state.unanswered:
                self._flights.open(user, question)

    def end(self) -> None:
        """Forget them: the node itself answers from now on."""
        self._flights.forget_all()

    def __call__(self, user: User, event: e.Event, before: UserState) -> None:
        """Open or land a flight."""
        match event:
            case e.QuestionAsked():
                self._flights.open(user, event.delivery)
            case e.AnswerRestarted():
                self._flights.land(user, event.question)
                self._flights.open(user, event.question)
            case e.AnswerCompleted() | e.AnswerFailed():
                self._flights.land(user, event.question)
            case e.UserErased():
                for question in before.unanswered:
                    self._flights.land(user, question)
            case _:
                pass
