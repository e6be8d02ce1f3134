"""Build the state package: the journal, the projections, snapshots and erasing."""

from __future__ import annotations

from dataclasses import dataclass

from wxgptd import config as cfg
from wxgptd.service import runtime_factory
from wxgptd.service.state.clock_offset import ClockOffset
from wxgptd.service.state.deletions import Deletions
from wxgptd.service.state.earlier_links import EarlierLinks
from wxgptd.service.state.erasing import Erasing
from wxgptd.service.state.event_lines import EventLines
from wxgptd.service.state.journal import Journal
from wxgptd.service.state.lag import LagMonitor
from wxgptd.service.state.projections import ModelCalibration, OpenSessions, Spending
from wxgptd.service.state.recently_erased import RecentlyErased
from wxgptd.service.state.snapshotter import Snapshotter, Work
from wxgptd.service.state.timeouts import DeliberateTimeouts
from wxgptd.service.state.unanswered import Unanswered
from wxgptd.service.wiring.base import Base


@dataclass(frozen=True, slots=True)
class State:
    """The journal and every projection of the log, whichever package uses it."""

    earlier_links: EarlierLinks
    sessions: OpenSessions
    lines: EventLines
    lag: LagMonitor
    timeouts: DeliberateTimeouts
    clock_offset: ClockOffset
    calibrated: ModelCalibration
    spending: Spending
    unanswered: Unanswered
    journal: Journal
    snapshotter: Snapshotter
    recently_erased: RecentlyErased
    erasing: Erasing


def build(config: cfg.Config, base: Base) -> State:
    """Build the package."""
    environment, settings, event_clock = base.environment, base.settings, base.event_clock
    lag = LagMonitor(
        environment.clock, event_clock, lambda: base.fullness.recent().get("connections")
    )
    located_since = environment.store.located_since
    is_over = located_since < event_clock.now() - config.links.ttl
    earlier_links = EarlierLinks(config.links.ttl, 0.0 if is_over else located_since)
    sessions, lines = OpenSessions(), EventLines(environment.link_key)
    timeouts = DeliberateTimeouts(settings.deliberate_timeouts_per_5min, lag.responsive_since)
    clock_offset, calibrated, unanswered = ClockOffset(), ModelCalibration(), Unanswered()
    spending = Spending(settings, event_clock.day)
    store = environment.store
    deletions = Deletions(store.tag, store.tagged)
    projections = (
        earlier_links, sessions, lines, timeouts, clock_offset, calibrated, spending, unanswered,
        deletions, base.metrics.events,
    )  # fmt: skip
    journal = Journal(environment.store, projections, environment.on_damage)
    snapshotter = Snapshotter(
        journal=journal,
        store=store,
        deletions=deletions,
        retention=runtime_factory.retention(config),
        work=Work(environment.threads.storage, environment.on_damage),
        event_clock=event_clock,
    )
    recently_erased = RecentlyErased()
    return State(
        earlier_links=earlier_links,
        sessions=sessions,
        lines=lines,
        lag=lag,
        timeouts=timeouts,
        clock_offset=clock_offset,
        calibrated=calibrated,
        spending=spending,
        unanswered=unanswered,
        journal=journal,
        snapshotter=snapshotter,
        recently_erased=recently_erased,
        erasing=Erasing(journal, recently_erased, event_clock),
    )
