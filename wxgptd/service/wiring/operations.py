"""Build the operations package: health checks, chores and reloading."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from wxgptd import config as cfg
from wxgptd.service.operations.health import Health
from wxgptd.service.operations.reloading import Adoption, Reloading
from wxgptd.service.operations.sweeper import SessionExpiry, Sweeper, UnansweredCounts
from wxgptd.service.wiring.answers import Answers
from wxgptd.service.wiring.base import Base
from wxgptd.service.wiring.state import State


@dataclass(frozen=True, slots=True)
class Operations:
    """The parts of the operations package.

    `sweeper` does the chores of a service that acts on messages, `upkeep` those of any other.
    """

    health: Health
    sweeper: Sweeper
    upkeep: Sweeper
    reloading: Reloading


def build(base: Base, state: State, answers: Answers, adoption: Adoption) -> Operations:
    """Build the package. `adoption` applies another configuration to the service."""
    environment = base.environment
    reloading = Reloading(
        environment.reread, lambda: cfg.is_systemd_credential(environment.config_path), adoption
    )
    unanswered = UnansweredCounts(state.journal, state.unanswered)

    def forget_keys(now: float) -> None:
        with suppress(OSError):  # retried by the next sweep
            environment.short_lived_keys.forget(now)

    sweeper = Sweeper(
        base.event_clock,
        (
            SessionExpiry(state.journal, state.sessions),
            unanswered.record_due,
            lambda _: answers.pushing.reconsider(),
        ),
        at_the_end=unanswered.record_all,
    )
    upkeep = Sweeper(
        base.event_clock,
        (
            state.earlier_links.forget_expired,
            forget_keys,
            lambda _: state.snapshotter.look(),
            state.journal.unload,
        ),
        at_the_end=lambda _: None,
    )
    return Operations(
        Health(environment.store, environment.threads.health, environment.clock),
        sweeper,
        upkeep,
        reloading,
    )
