"""Short-lived keys: deleting one destroys everything encrypted with it.

The log retains its events for as long as [log] keep allows. A held message should be readable for
only ten minutes, so it is first encrypted with the current key. Each ten-minute period has a key,
which is deleted when the next period is over. The message can therefore be read for ten to twenty
minutes, and never after that, even with the master key.

The file has two slots, one for even and one for odd period numbers: u64 period number and the
32-byte key; all zeros means no key. Slots are overwritten in place and synced.
"""

from __future__ import annotations

import os
import secrets
import struct
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PERIOD_S = 600.0

_KEY_BYTES = 32
_NONCE_BYTES = 12
_SLOT = struct.Struct(">Q32s")
_PERIOD = struct.Struct(">Q")
_NONE = bytes(_SLOT.size)


class ShortLivedKeyFile:
    """The keys in the file at `path`. Implements `wxgptd.ports.keys.ShortLivedKeys`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._slots: list[tuple[int, bytes] | None] | None = None

    def seal(self, plain: bytes, now: float) -> bytes:
        """Return `plain` encrypted, or empty bytes if no key can be stored."""
        try:
            period, key = self._current(now)
        except (OSError, ValueError, OverflowError, struct.error):  # disk error, or clock far off
            return b""
        nonce = os.urandom(_NONCE_BYTES)
        return _PERIOD.pack(period) + nonce + AESGCM(key).encrypt(nonce, plain, None)

    def open(self, sealed: bytes, now: float) -> bytes | None:
        """Decrypt what `seal` returned, or return None once its key is deleted."""
        try:
            self.forget(now)
            (period,) = _PERIOD.unpack_from(sealed)
            nonce, rest = sealed[8 : 8 + _NONCE_BYTES], sealed[8 + _NONCE_BYTES :]
            slot = self._read()[period % 2]
            if slot is None or slot[0] != period:
                return None
            return AESGCM(slot[1]).decrypt(nonce, rest, None)
        except (OSError, ValueError, OverflowError, struct.error, InvalidTag):
            return None

    def forget(self, now: float) -> None:
        """Delete the expired keys.

        Raises:
            OSError: a key could not be deleted from the file.
        """
        current = int(now // PERIOD_S)
        for index, slot in enumerate(self._read()):
            if slot is not None and not current - 1 <= slot[0] <= current + 1:
                self._write(index, None)

    def _current(self, now: float) -> tuple[int, bytes]:
        self.forget(now)
        period = int(now // PERIOD_S)
        slot = self._read()[period % 2]
        if slot is None or slot[0] != period:
            slot = period, secrets.token_bytes(_KEY_BYTES)
            self._write(period % 2, slot)
        return slot

    def _read(self) -> list[tuple[int, bytes] | None]:
        if self._slots is None:
            try:
                with self._path.open("rb") as file:
                    data = file.read(2 * _SLOT.size)
            except FileNotFoundError:
                data = b""
            self._slots = [None, None]
            for index in range(2):
                part = data[index * _SLOT.size : (index + 1) * _SLOT.size]
                if len(part) == _SLOT.size and part != _NONE:
                    self._slots[index] = _SLOT.unpack(part)
        return self._slots

    def _write(self, index: int, slot: tuple[int, bytes] | None) -> None:
        slots = self._read()
        data = _SLOT.pack(*slot) if slot is not None else _NONE
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(descriptor, data, index * _SLOT.size)
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        slots[index] = slot
