"""Maintain the log and the configuration. Implements `ports.control.Maintenance`."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.defer import Deferred

from wxgptd.config import ConfigError
from wxgptd.ports.control import Faulty, Reloaded, VacuumResult
from wxgptd.service.operations.reloading import Reloading
from wxgptd.service.state.snapshotter import Snapshotter


class Maintenance:
    """Maintains the log and the configuration at the operator's request."""

    def __init__(self, snapshotter: Snapshotter, reloading: Reloading) -> None:
        self._snapshotter = snapshotter
        self._reloading = reloading

    def vacuum(self) -> Deferred[VacuumResult]:
        """Take a snapshot and apply retention."""
        return self._snapshotter.vacuum().addCallback(
            lambda retained: VacuumResult(
                self._snapshotter.snapshot_seq, retained.segments, retained.size, retained.left
            )
        )

    def reload(
        self, given: tuple[str, Path, int] | None, *, dry: bool = False
    ) -> Reloaded | Faulty:
        """Reload the configuration or, if `dry`, only return what would change."""
        try:
            read = self._reloading.reader(*(given or ()))
            adopted = self._reloading.compare(read) if dry else self._reloading.take(read)
        except ConfigError as error:
            return Faulty(tuple(error.faults))
        return Reloaded(adopted.changed, adopted.takes_restart)
