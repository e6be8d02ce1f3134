"""What everything else is built with: the configuration as the service uses it, time, metrics."""

from __future__ import annotations

from dataclasses import dataclass

from wxgptd import config as cfg
from wxgptd.service import configured
from wxgptd.service.configured import Configured
from wxgptd.service.environment import Environment
from wxgptd.service.state.fullness import Fullness
from wxgptd.service.state.metrics import Metrics
from wxgptd.service.state.settings import Links, Settings
from wxgptd.service.state.timeline import Timeline


@dataclass(frozen=True, slots=True)
class Base:
    """The ground that the rooms are built on."""

    environment: Environment
    timeline: Timeline
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
        timeline=Timeline(environment.clock, environment.wall),
        metrics=metrics,
        fullness=Fullness(environment.clock.seconds, metrics.full),
        configured=known,
        settings=known.settings(config),
        links=configured.made_links(config, environment.link_key),
    )
