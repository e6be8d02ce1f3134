"""The room of state: the journal, the projections, and what looks after them."""

from __future__ import annotations

from dataclasses import dataclass

from wxgptd.service import configured
from wxgptd.service.conversation.clock_offset import ClockOffset
from wxgptd.service.conversation.lag import LagMonitor
from wxgptd.service.conversation.timeouts import DeliberateTimeouts
from wxgptd.service.operations.observers import EventLines
from wxgptd.service.state.departed import Departed
from wxgptd.service.state.journal import Journal
from wxgptd.service.state.keeping import Keeping
from wxgptd.service.state.projections import Calibrated, LinkIndex, OpenSessions, Spending
from wxgptd.service.state.unanswered import Unanswered
from wxgptd.service.wiring.base import Base


@dataclass(frozen=True, slots=True)
class State:
    """The journal, and every projection of the log, of whichever room it is."""

    index: LinkIndex
    sessions: OpenSessions
    lines: EventLines
    lag: LagMonitor
    timeouts: DeliberateTimeouts
    clock_offset: ClockOffset
    calibrated: Calibrated
    spending: Spending
    unanswered: Unanswered
    journal: Journal
    keeping: Keeping
    departed: Departed


def build(base: Base) -> State:
    """Build the room."""
    world, settings, timeline = base.world, base.settings, base.timeline
    lag = LagMonitor(world.clock, timeline, lambda: base.fullness.recent().get("connections"))
    index, sessions, lines = (
        LinkIndex(base.config.links.ttl), OpenSessions(), EventLines(world.link_key),
    )  # fmt: skip
    timeouts = DeliberateTimeouts(settings.deliberate_timeouts_per_5min, lag.responsive_since)
    clock_offset, calibrated, unanswered = ClockOffset(), Calibrated(), Unanswered()
    spending = Spending(settings, timeline.day)
    projections = (
        index, sessions, lines, timeouts, clock_offset, calibrated, spending, unanswered,
        base.metrics.events,
    )  # fmt: skip
    journal = Journal(world.store, projections, world.on_damage)
    keeping = Keeping(
        journal=journal,
        store=world.store,
        retention=configured.retention(base.config),
        in_thread=world.threads.storage,
        on_damage=world.on_damage,
        timeline=timeline,
    )
    return State(
        index=index,
        sessions=sessions,
        lines=lines,
        lag=lag,
        timeouts=timeouts,
        clock_offset=clock_offset,
        calibrated=calibrated,
        spending=spending,
        unanswered=unanswered,
        journal=journal,
        keeping=keeping,
        departed=Departed(),
    )
