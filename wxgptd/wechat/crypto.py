"""Safe mode: AES-256-CBC as WeChat uses it. Pure.

Source: WeChat's "Message encryption and decryption". The IV is the first half of the key, so
echoing decrypted garbage would reveal that half. Every failure therefore raises the same error
without details, and no decrypted data leaks.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import struct
from collections.abc import Callable

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from wxgptd.errors import WxgptError

BLOCK_BYTES = 32
"""WeChat pads to a multiple of 32 bytes, twice the block size of AES."""

_PREFIX_BYTES = 16
_LENGTH = struct.Struct(">I")


class Undecipherable(WxgptError):
    """the message cannot be decrypted"""


class Key:
    """An EncodingAESKey of 43 characters."""

    __slots__ = ("_cipher",)

    def __init__(self, encoding_aes_key: str) -> None:
        key = base64.b64decode(f"{encoding_aes_key}=", validate=True)
        self._cipher = Cipher(algorithms.AES256(key), modes.CBC(key[:16]))

    def __repr__(self) -> str:
        return "Key(***)"

    def encrypt(
        self, message: str, app_id: str, random: Callable[[int], bytes] = os.urandom
    ) -> str:
        """Return the base64 text for the Encrypt element."""
        body = message.encode()
        plain = b"".join((random(_PREFIX_BYTES), _LENGTH.pack(len(body)), body, app_id.encode()))
        pad = BLOCK_BYTES - len(plain) % BLOCK_BYTES
        encryptor = self._cipher.encryptor()
        sealed = encryptor.update(plain + bytes([pad]) * pad) + encryptor.finalize()
        return base64.b64encode(sealed).decode("ascii")

    def decrypt(self, encrypted: str, app_id: str) -> bytes:
        """Return the message in `encrypted`.

        Raises:
            Undecipherable: it was not encrypted with this key for `app_id`.
        """
        try:
            sealed = base64.b64decode(encrypted.encode("ascii"), validate=True)
        except (binascii.Error, ValueError):
            raise Undecipherable from None
        if not sealed or len(sealed) % BLOCK_BYTES:
            raise Undecipherable
        decryptor = self._cipher.decryptor()
        plain = decryptor.update(sealed) + decryptor.finalize()
        pad = plain[-1]
        if not 1 <= pad <= BLOCK_BYTES or plain[-pad:] != bytes([pad]) * pad:
            raise Undecipherable
        plain = plain[:-pad]
        if len(plain) < _PREFIX_BYTES + _LENGTH.size:
            raise Undecipherable
        (length,) = _LENGTH.unpack_from(plain, _PREFIX_BYTES)
        begin = _PREFIX_BYTES + _LENGTH.size
        message, sender = plain[begin : begin + length], plain[begin + length :]
        if len(message) != length or not hmac.compare_digest(sender, app_id.encode()):
            raise Undecipherable
        return message
