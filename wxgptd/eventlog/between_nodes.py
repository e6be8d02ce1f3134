"""What nodes tell each other about a user, encrypted with that user's key.

It is the number of the user's reference (u64, big-endian) and what the key seals, bound to its
purpose.
"""

from __future__ import annotations

from wxgptd.domain.model.values import User
from wxgptd.eventlog.keyring import Keyring

_NUMBER_BYTES = 8
_PURPOSE = b"wxgptd: between nodes"


def seal(keys: Keyring, user: User, plain: bytes) -> bytes | None:
    """Return `plain` for that user, encrypted with the user's key, or None without a key."""
    key = keys.of(user)
    if key is None:
        return None
    return key.number.to_bytes(_NUMBER_BYTES, "big") + key.seal(plain, _PURPOSE)


def unseal(keys: Keyring, sealed: bytes) -> tuple[User, bytes] | None:
    """Return the user and the plain bytes of what `seal` returned, or None if that fails."""
    key = keys.numbered(int.from_bytes(sealed[:_NUMBER_BYTES], "big"))
    if key is None:
        return None
    try:
        return key.user, key.open(sealed[_NUMBER_BYTES:], _PURPOSE)
    except ValueError:
        return None
