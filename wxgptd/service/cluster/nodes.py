"""The other nodes of the cluster, as far as they have been heard."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from wxgptd.ports.replica import Beat

log = Logger()

OTHERS_BEAT_S = 2.0
"""How often a node that does not lead sends a beat."""

GONE_AFTER_S = 2.5 * OTHERS_BEAT_S
"""A node that has been silent for so long cannot take over."""

MAX_LAG = 1_000
"""A node that lacks more events than this would need seconds to take over."""

FORGET_AFTER_S = 60.0
"""A node that has been silent for so long is no longer listed."""


class Heard(NamedTuple):
    """The last beat of a node, and when it was heard (monotonic time)."""

    beat: Beat
    at: float


class Nodes:
    """The nodes that were heard lately, by name. This node is called `own_name`."""

    def __init__(self, own_name: str, clock: IReactorTime) -> None:
        self._own_name = own_name
        self._clock = clock
        self._heard: dict[str, Heard] = {}

    def hear(self, beat: Beat) -> None:
        """Note a beat."""
        if beat.node == self._own_name:
            log.error(
                "another node is called {node}, too: give each a name of its own ([cluster] node)",
                id="node-name-taken",
                node=beat.node,
                bounded_as="node name used twice",
            )
        self._heard[beat.node] = Heard(beat, self._clock.seconds())

    def silent_for(self, heard: Heard) -> float:
        """Return how long ago a node was heard, in seconds."""
        return self._clock.seconds() - heard.at

    @property
    def listed(self) -> Mapping[str, Heard]:
        """The nodes that were heard in the last minute."""
        nodes = self._heard.items()
        return {name: heard for name, heard in nodes if self.silent_for(heard) < FORGET_AFTER_S}

    def able(self, own: Beat) -> Collection[str]:
        """Return the names of those that can take over from this node, whose beat is `own`."""
        return [
            name
            for name, (beat, at) in self._heard.items()
            if self._clock.seconds() - at < GONE_AFTER_S
            and not beat.hands_over
            and beat.seq >= own.seq - MAX_LAG
            and {*own.kinds} <= {*beat.kinds}
        ]
