"""One user's key, which encrypts what the user and the models say."""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from wxgptd.domain.model.values import User

KEY_BYTES = 32
_NONCE_BYTES = 12
NONCES_DRAWN = 1_000
"""So many nonces are drawn at once: each call of the system's generator may switch threads."""

_NONCES: list[bytes] = []
"""Nonces for any key. A thread takes one by a single `pop`, so none is used twice."""

os.register_at_fork(after_in_child=_NONCES.clear)


class UserKey:
    """Encrypts and decrypts the personal fields of one user's events."""

    __slots__ = ("_cipher", "key", "number", "reference", "user")

    def __init__(self, reference: str, user: User, key: bytes) -> None:
        self.reference = reference
        self.number = number_of(reference)
        self.user = user
        self.key = key
        self._cipher: AESGCM | None = None

    def seal(self, plain: bytes, bound: bytes | None = None) -> bytes:
        """Return `plain` encrypted, preceded by a fresh nonce.

        To decrypt it, `open` needs the same `bound` (associated data, NIST SP 800-38D).
        """
        return seal(self._aead(), plain, bound)

    def open(self, sealed: bytes, bound: bytes | None = None) -> bytes:
        """Decrypt what `seal` returned.

        Raises:
            ValueError: `sealed` does not come from `seal`, or was bound to something else.
        """
        return unseal(self._aead(), sealed, bound)

    def _aead(self) -> AESGCM:
        if self._cipher is None:
            self._cipher = AESGCM(self.key)
        return self._cipher


def number_of(reference: str) -> int:
    """Return the random number in a reference; 0 if the reference is empty.

    Raises:
        ValueError: it is not a reference.
    """
    return int(reference[-16:], 16) if reference else 0


def seal(cipher: AESGCM, plain: bytes, bound: bytes | None = None) -> bytes:
    """Return `plain` encrypted, preceded by a fresh nonce."""
    try:
        nonce = _NONCES.pop()
    except IndexError:
        drawn = os.urandom(_NONCE_BYTES * NONCES_DRAWN)
        nonce, *rest = (drawn[i : i + _NONCE_BYTES] for i in range(0, len(drawn), _NONCE_BYTES))
        _NONCES.extend(rest)
    return nonce + cipher.encrypt(nonce, plain, bound)


def unseal(cipher: AESGCM, sealed: bytes, bound: bytes | None = None) -> bytes:
    """Decrypt what `seal` returned.

    Raises:
        ValueError: `sealed` does not come from `seal`, or was bound to something else.
    """
    try:
        return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bound)
    except (InvalidTag, ValueError):
        raise ValueError("does not decrypt: it was modified or moved") from None
