"""What everything else is built with: the configuration as the service uses it, time, metrics."""

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
    """The ground that the rooms are built on."""

    environment: Environment
    event_clock: EventClock
    metrics: Metrics
    fullness: Fullness
    runtime_factory: RuntimeFactory
    settings: Settings
    links: Links


def build(config: cfg.Config, environment: Environment) -> Base:
    """Return the ground for a service."""
    metrics = Metrics()
    known = RuntimeFactory(environment, metrics)
    return Base(
        environment=environment,
        event_clock=EventClock(environment.clock, environment.wall),
        metrics=metrics,
        fullness=Fullness(environment.clock.seconds, metrics.full),
        runtime_factory=known,
        settings=known.settings(config),
        links=runtime_factory.made_links(config, environment.link_key),
    )
