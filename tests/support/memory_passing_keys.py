"""Keys that are deleted after some time, in memory: what is sealed is a number."""

from __future__ import annotations

LIFE_S = 1_200.0
"""As long as the file may keep a key."""


class MemoryPassingKeys:
    """Implements `wxgptd.ports.keys.PassingKeys`. Like the file, it outlives a crash."""

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
        known = self.sealed.get(sealed)
        return known[0] if known is not None else None

    def forget(self, now: float) -> None:
        self.sealed = {
            name: known for name, known in self.sealed.items() if now - known[1] <= LIFE_S
        }
