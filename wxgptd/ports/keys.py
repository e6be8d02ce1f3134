"""Short-lived keys: once one is deleted, what was encrypted with it can no longer be read."""

from __future__ import annotations

from typing import Protocol


class ShortLivedKeys(Protocol):
    """Encrypts data that should be readable only for a short time."""

    def seal(self, plain: bytes, now: float) -> bytes:
        """Return `plain` encrypted, or empty bytes if no key can be stored."""
        ...

    def open(self, sealed: bytes, now: float) -> bytes | None:
        """Decrypt what `seal` returned, or return None once its key is deleted."""
        ...

    def forget(self, now: float) -> None:
        """Delete the expired keys."""
        ...
