"""What everything else is built with: the configuration as the service uses it, time, metrics."""

from __future__ import annotations

from dataclasses import dataclass

from wxgptd import config as cfg
from wxgptd.service import configured
from wxgptd.service.configured import Configured
from wxgptd.service.state.fullness import Fullness
from wxgptd.service.state.metrics import Metrics
from wxgptd.service.state.settings import Links, Settings
from wxgptd.service.state.timeline import Timeline
from wxgptd.service.world import World


@dataclass(frozen=True, slots=True)
class Base:
    """The ground that the rooms are built on."""

    world: World
    timeline: Timeline
    metrics: Metrics
    fullness: Fullness
    configured: Configured
    settings: Settings
    links: Links


def build(config: cfg.Config, world: World) -> Base:
    """Return the ground for a service."""
    metrics = Metrics()
    known = Configured(world, metrics)
    return Base(
        world=world,
        timeline=Timeline(world.clock, world.wall),
        metrics=metrics,
        fullness=Fullness(world.clock.seconds, metrics.full),
        configured=known,
        settings=known.settings(config),
        links=configured.made_links(config, world.link_key),
    )
