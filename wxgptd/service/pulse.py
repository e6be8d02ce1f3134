"""Since when this process could have heard of everything that WeChat sends."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from wxgptd.service.timeline import Timeline

BEAT_S = 1.0

LATE_S = 2.0
"""A beat that comes later than this shows that the reactor was kept from its work."""


class Pulse:
    """Beats once a second while the daemon works; `steady_since` tells from when on it did."""

    def __init__(self, clock: IReactorTime, timeline: Timeline) -> None:
        self._timeline = timeline
        self._steady_since: float | None = None
        self._last_at = 0.0
        self._loop = LoopingCall(self._beat)
        self._loop.clock = clock

    def begin(self) -> None:
        """Begin to beat."""
        self._steady_since = self._last_at = self._timeline.now()
        self._loop.start(BEAT_S)

    def end(self) -> None:
        """Beat no more."""
        if self._loop.running:
            self._loop.stop()
        self._steady_since = None

    def miss(self) -> None:
        """Note that just now something may have gone unheard."""
        if self._steady_since is not None:
            self._steady_since = self._timeline.now()

    def steady_since(self) -> float | None:
        """Return the time since when nothing can have gone unheard; None if there is none."""
        self._look()
        return self._steady_since

    def _beat(self) -> None:
        self._look()
        self._last_at = self._timeline.now()

    def _look(self) -> None:
        if self._timeline.now() - self._last_at > BEAT_S + LATE_S:
            self.miss()
