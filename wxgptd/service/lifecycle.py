"""Whether the service takes messages, and what it took to get there."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Lifecycle:
    """A service is loaded, begins, and ends.

    `ready` is true from `begin` to `end`. `created` is a monotonic time. Reading the log took
    `replay_s` seconds for `replay_events` events.
    """

    created: float
    ready: bool = False
    replay_s: float = 0.0
    replay_events: int = 0
