"""Reload the configuration while the daemon runs: everything that can change, or nothing.

Changes to [server], [log] and [cluster] require a restart: they are reported but not applied.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from twisted.logger import Logger

from wxgptd import config as cfg

log = Logger()

RESTART_REQUIRED = ("server", "log", "cluster")
"""The tables whose changes apply only at startup."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """The keys that have changed; those in `takes_restart` wait for a restart."""

    changed: tuple[str, ...]
    takes_restart: tuple[str, ...]

    @classmethod
    def of(cls, changes: tuple[str, ...]) -> Adopted:
        """Split the dotted keys in `changes` by whether they require a restart."""
        postponed = tuple(key for key in changes if key.split(".")[0] in RESTART_REQUIRED)
        return cls(tuple(key for key in changes if key not in postponed), postponed)


Read = Callable[[], cfg.Config]
"""Reads a configuration; raises ConfigError if it is invalid."""


class Adoption(Protocol):
    """A service that can adopt another configuration."""

    def compare(self, fresh: cfg.Config) -> Adopted:
        """Return what adopting `fresh` would change, without changing anything."""
        ...

    def adopt(self, fresh: cfg.Config) -> Adopted:
        """Use `fresh` from now on."""
        ...


class Reloading:
    """Reads a configuration and, if it is valid, applies it."""

    def __init__(self, reread: Read, handed_on: Callable[[], bool], adoption: Adoption) -> None:
        self._reread = reread
        self._handed_on = handed_on
        self._adoption = adoption

    def reader(self, text: str | None = None, path: Path = Path(), mode: int = 0) -> Read:
        """Return a reader for the daemon's own file, or for `text`, the contents of `path`."""
        if text is None:
            return self._reread
        return lambda: cfg.parse(text, path, mode=mode, absolute=self._handed_on())

    def compare(self, read: Read) -> Adopted:
        """Return what adopting the configuration would change, without changing anything.

        Raises:
            ConfigError: with every mistake.
        """
        return self._adoption.compare(read())

    def from_file(self) -> Adopted:
        """Reload the file that the daemon was started with.

        Raises:
            ConfigError: with every mistake; nothing has changed.
        """
        return self.take(self._reread)

    def take(self, read: Read) -> Adopted:
        """Adopt a configuration, all or nothing, and log the result.

        Raises:
            ConfigError: with every mistake; nothing has changed.
        """
        try:
            adopted = self._adoption.adopt(read())
        except cfg.ConfigError as error:
            for fault in error.faults:
                log.error(
                    "reload rejected: {fault}; the running configuration is unchanged",
                    id="reload-rejected",
                    fault=fault,
                )
            raise
        log.info(
            "reloaded: {what}",
            id="reloaded",
            what=", ".join(adopted.changed) or "nothing has changed",
        )
        if adopted.takes_restart:
            log.warn(
                "restart required: {what}",
                id="restart-required",
                what=", ".join(adopted.takes_restart),
            )
        return adopted
