"""Build the answers package, which answers questions and pushes answers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from wxgptd import config as cfg
from wxgptd.service.answers.answer_runner import AnswerRunner
from wxgptd.service.answers.candidates import Candidates
from wxgptd.service.answers.context_window import ContextWindow
from wxgptd.service.answers.inflight import InFlight
from wxgptd.service.answers.mirroring import Mirroring
from wxgptd.service.answers.model_router import ModelRouter
from wxgptd.service.answers.moderation import Moderation
from wxgptd.service.answers.pacing import Pacing
from wxgptd.service.answers.prompting import Prompting
from wxgptd.service.answers.pushing import Pushing
from wxgptd.service.answers.recovery import Recovery
from wxgptd.service.answers.room import PICTURE_BYTES, Room
from wxgptd.service.answers.slots import Slots
from wxgptd.service.answers.titling import Approval, Titling
from wxgptd.service.answers.typing_indicator import TypingIndicator
from wxgptd.service.wiring.base import Base
from wxgptd.service.wiring.state import State


@dataclass(frozen=True, slots=True)
class Answers:
    """The parts of the package. `answer_runner` is an effect: it acts on recorded events."""

    flights: InFlight
    slots: Slots
    moderation: Moderation
    pushing: Pushing
    answer_runner: AnswerRunner
    titling: Titling
    recovery: Recovery
    mirroring: Mirroring


def build(config: cfg.Config, base: Base, state: State) -> Answers:
    """Build the package."""
    settings, journal, event_clock = base.settings, state.journal, base.event_clock
    flights = InFlight()
    flights.on_start(TypingIndicator(settings, event_clock.clock).begin)
    slots = Slots(
        base.environment.max_running, settings.max_running, partial(base.fullness.note, "answers")
    )
    moderation = Moderation(config.moderation.words_file)
    pacing = Pacing(
        settings, journal, base.links, event_clock, state.calibrated.pace, state.timeouts.may_spend
    )
    context_window = ContextWindow(state.calibrated.calibration, pacing)
    router = ModelRouter(
        journal,
        Candidates(settings, state.spending),
        Prompting(
            settings, event_clock, Room(PICTURE_BYTES, partial(base.fullness.note, "pictures"))
        ),
        context_window,
        moderation,
        event_clock,
    )
    titling = Titling(
        journal, settings, slots, context_window, Approval(state.spending, moderation), event_clock
    )
    pushing = Pushing(settings=settings, journal=journal, links=base.links, event_clock=event_clock)
    answer_runner = AnswerRunner(journal, flights, slots, router, pushing, event_clock)
    recovery = Recovery(settings, journal, flights, event_clock)
    mirroring = Mirroring(journal, flights)
    return Answers(flights, slots, moderation, pushing, answer_runner, titling, recovery, mirroring)
