"""Short-lived keys: what is encrypted with them can be read for some minutes."""

from __future__ import annotations

from typing import Protocol


class PassingKeys(Protocol):
    """Encrypts what is to be readable for a short time only."""

    def seal(self, plain: bytes, now: float) -> bytes:
        """Return `plain` encrypted, or nothing where no key can be stored."""
        ...

    def open(self, sealed: bytes, now: float) -> bytes | None:
        """Return what `seal` was given, or None once its key is gone."""
        ...

    def forget(self, now: float) -> None:
        """Delete the keys whose time is over."""
        ...
