"""Keys that are deleted after some minutes, and with them what was encrypted.

The log keeps what is written to it for as long as [log] keep says. A message that was held back is
to be readable for ten minutes, so it is encrypted with the current key first. There is a key for
each period of ten minutes, and it is deleted when the next period is over: what was sealed can be
read for ten to twenty minutes, and after that not at all, even with the master key.

The file has two slots, for periods with even and with odd numbers: u64 number of the period and the
key, 32 bytes; all zeros is none. They are overwritten in place, and synced.
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


class PassingKeyFile:
    """The keys in the file at `path`. Implements `wxgptd.ports.keys.PassingKeys`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._slots: list[tuple[int, bytes] | None] | None = None

    def seal(self, plain: bytes, now: float) -> bytes:
        """Return `plain` encrypted, or nothing where no key can be stored."""
        try:
            period, key = self._current(now)
        except (OSError, ValueError, OverflowError, struct.error):  # or the clock is far off
            return b""
        nonce = os.urandom(_NONCE_BYTES)
        return _PERIOD.pack(period) + nonce + AESGCM(key).encrypt(nonce, plain, None)

    def open(self, sealed: bytes, now: float) -> bytes | None:
        """Return what `seal` was given, or None once its key is gone."""
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
        """Delete the keys whose time is over.

        Raises:
            OSError: one could not be deleted in the file.
        """
        current = int(now // PERIOD_S)
        for place, slot in enumerate(self._read()):
            if slot is not None and not current - 1 <= slot[0] <= current + 1:
                self._write(place, None)

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
            for place in range(2):
                part = data[place * _SLOT.size : (place + 1) * _SLOT.size]
                if len(part) == _SLOT.size and part != _NONE:
                    self._slots[place] = _SLOT.unpack(part)
        return self._slots

    def _write(self, place: int, slot: tuple[int, bytes] | None) -> None:
        slots = self._read()
        data = _SLOT.pack(*slot) if slot is not None else _NONE
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(descriptor, data, place * _SLOT.size)
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        slots[place] = slot
