"""The bytes of the shared log's messages and of beats. Pure.

A commit group is msgpack `[1, first_seq, events, payload, erased references]`, a claim
`[2, first_seq, node, run]`, and a beat an HMAC-SHA-256 (16 bytes) of what follows, `[1, ...]` with
the fields of `Beat` in order: it names the node to send messages to. What users say is in the
payload, encrypted with their keys.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import cast

import msgpack

from wxgptd.ports.appending import Group
from wxgptd.ports.replica import Beat, Claim, Message

_GROUP, _CLAIM = 1, 2
_BEAT_VERSION = 1
_SEAL_BYTES = 16

_BEAT_TYPES = (
    str, str, str, bool, int, int, int, str, tuple, str, float, bool,
)  # fmt: skip


def pack(message: Message) -> bytes:
    """Return the bytes of a message."""
    match message:
        case Group():
            packed = msgpack.packb((_GROUP, *message))
        case Claim():
            packed = msgpack.packb((_CLAIM, *message))
    return cast("bytes", packed)


def unpack(data: bytes) -> Message:
    """Return the message with these bytes.

    Raises:
        ValueError: a newer version wrote it, or something else did.
    """
    match _unpacked(data):
        case (1, int() as first_seq, int() as events, bytes() as payload, tuple() as erased) if (
            first_seq >= 1 and events >= 1 and all(isinstance(each, str) for each in erased)
        ):
            return Group(first_seq, events, payload, erased)
        case (2, int() as first_seq, str() as node, str() as run) if first_seq >= 1:
            return Claim(first_seq, node, run)
        case _:
            raise ValueError("the message cannot be read")


def beat_key(master: bytes, cluster: str) -> bytes:
    """Return the key that beats are authenticated with."""
    return hmac.digest(master, f"wxgptd: beats of {cluster}".encode(), sha256)


def pack_beat(beat: Beat, key: bytes) -> bytes:
    """Return the bytes of a beat."""
    packed = cast("bytes", msgpack.packb((_BEAT_VERSION, *beat)))
    return hmac.digest(key, packed, sha256)[:_SEAL_BYTES] + packed


def unpack_beat(data: bytes, key: bytes) -> Beat:
    """Return the beat with these bytes. Further fields, of a newer version, are ignored.

    Raises:
        ValueError: something else wrote them.
    """
    seal, data = data[:_SEAL_BYTES], data[_SEAL_BYTES:]
    if not hmac.compare_digest(seal, hmac.digest(key, data, sha256)[:_SEAL_BYTES]):
        raise ValueError("the beat comes from elsewhere")
    values = _unpacked(data)
    if not isinstance(values, tuple) or not values or values[0] != _BEAT_VERSION:
        raise ValueError("the beat cannot be read")
    fields = values[1 : 1 + len(_BEAT_TYPES)]
    if tuple(map(type, fields)) != _BEAT_TYPES:
        raise ValueError("the beat cannot be read")
    return Beat(*fields)


def _unpacked(data: bytes) -> object:
    try:
        return cast("object", msgpack.unpackb(data, use_list=False))
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise ValueError(f"it is not msgpack: {error}") from error
