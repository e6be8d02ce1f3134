"""Short-lived keys in memory: the sealed data is just a number."""

from __future__ import annotations

LIFE_S = 1_200.0
"""The maximum time that the file keeps a key."""


class MemoryShortLivedKeys:
    """Implements `wxgptd.ports.keys.ShortLivedKeys`. Like the file, it outlives a crash."""

    def __init__(self) -> None:
        self.sealed: dict[bytes, tuple[bytes, float]] = {}
        self._count = 0

    def seal(self, plain: bytes, now: float) -> bytes:
        self._count += 1
        name = b"sealed %d" % self._count
        self.sealed[name] = plain, now
        return name

    def open(self, sealed: bytes, now: float) -> bytes | None:
        self.forget(now)
        entry = self.sealed.get(sealed)
        return entry[0] if entry is not None else None

    def forget(self, now: float) -> None:
        self.sealed = {
            name: entry for name, entry in self.sealed.items() if now - entry[1] <= LIFE_S
        }
