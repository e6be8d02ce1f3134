"""Take up another configuration while the daemon runs: all of it that can be, or nothing.

What cannot be taken up without a restart is said, and stays as it was: where the daemon listens
and where its log is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from twisted.logger import Logger

from wxgptd import config as cfg

log = Logger()

TAKES_RESTART = ("server", "log")
"""The tables that are read once."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """Which keys are not what they were; `takes_restart` are those that wait for one."""

    changed: tuple[str, ...]
    takes_restart: tuple[str, ...]

    @classmethod
    def of(cls, changes: tuple[str, ...]) -> Adopted:
        """Sort `changes`, dotted keys, by whether they take a restart."""
        waiting = tuple(key for key in changes if key.split(".")[0] in TAKES_RESTART)
        return cls(tuple(key for key in changes if key not in waiting), waiting)


class Reloading:
    """Reads a configuration, and has it adopted if there is nothing wrong with it."""

    def __init__(
        self,
        reread: Callable[[], cfg.Config],
        adopt: Callable[[cfg.Config], Adopted],
        compare: Callable[[cfg.Config], Adopted],
    ) -> None:
        self._compare = compare
        self._reread = reread
        self._adopt = adopt

    def from_file(self) -> Adopted:
        """Read again the file that the daemon was started with.

        Raises:
            ConfigError: with every mistake; nothing has changed.
        """
        return self._take(self._reread)

    def from_text(self, text: str, path: Path, mode: int = 0) -> Adopted:
        """Take what an operator's command has read from `path`, where it has that `mode`.

        Raises:
            ConfigError: with every mistake; nothing has changed.
        """
        return self._take(lambda: cfg.parse(text, path, mode=mode))

    def compared(self, text: str, path: Path, mode: int = 0) -> Adopted:
        """Return what taking that would change, and change nothing.

        Raises:
            ConfigError: with every mistake.
        """
        return self._compare(cfg.parse(text, path, mode=mode))

    def _take(self, read: Callable[[], cfg.Config]) -> Adopted:
        try:
            adopted = self._adopt(read())
        except cfg.ConfigError as error:
            for fault in error.faults:
                log.error("the configuration stays as it was: {fault}", fault=fault)
            raise
        log.info("reloaded: {what}", what=", ".join(adopted.changed) or "nothing in it has changed")
        if adopted.takes_restart:
            log.warn("takes a restart: {what}", what=", ".join(adopted.takes_restart))
        return adopted
