"""What everything else is built with: the configuration as the service uses it, time, metrics."""

from __future__ import annotations

from dataclasses import dataclass

from wxgptd import config as cfg
from wxgptd.service import configured
from wxgptd.service.configured import Configured
from wxgptd.service.environment import Environment
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
    configured: Configured
    settings: Settings
    links: Links


def build(config: cfg.Config, environment: Environment) -> Base:
    """Return the ground for a service."""
    metrics = Metrics()
    known = Configured(environment, metrics)
    return Base(
        environment=environment,
        event_clock=EventClock(environment.clock, environment.wall),
        metrics=metrics,
        fullness=Fullness(environment.clock.seconds, metrics.full),
        configured=known,
        settings=known.settings(config),
        links=configured.made_links(config, environment.link_key),
    )
