"""Build what all packages share: settings, clocks, metrics."""

from __future__ import annotations

from dataclasses import dataclass

from wxgptd import config as cfg
from wxgptd.service import runtime_factory
from wxgptd.service.environment import Environment
from wxgptd.service.runtime_factory import RuntimeFactory
from wxgptd.service.state.event_clock import EventClock
from wxgptd.service.state.fullness import Fullness
from wxgptd.service.state.metrics import Metrics
from wxgptd.service.state.settings import Links, Settings


@dataclass(frozen=True, slots=True)
class Base:
    """What all packages share."""

    environment: Environment
    event_clock: EventClock
    metrics: Metrics
    fullness: Fullness
    runtime_factory: RuntimeFactory
    settings: Settings
    links: Links


def build(config: cfg.Config, environment: Environment) -> Base:
    """Build the base of a service."""
    metrics = Metrics()
    factory = RuntimeFactory(environment, metrics)
    return Base(
        environment=environment,
        event_clock=EventClock(environment.clock, environment.wall),
        metrics=metrics,
        fullness=Fullness(environment.clock.seconds, metrics.full),
        runtime_factory=factory,
        settings=factory.settings(config),
        links=runtime_factory.made_links(config, environment.link_key, environment.store),
    )
