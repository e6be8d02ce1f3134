"""Whether the service accepts messages, and how long it took to start."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Lifecycle:
    """The lifecycle of a service: it is loaded, begins and ends.

    `loaded` is true once there is a state to read, and `ready` from `begin` to `end`, while it acts
    on messages; in a cluster, only one node is `ready`. `created` is a monotonic time. Loading the
    log replayed `replay_events` events in `replay_s` seconds.
    """

    created: float
    loaded: bool = False
    ready: bool = False
    replay_s: float = 0.0
    replay_events: int = 0
