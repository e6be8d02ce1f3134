"""The bytes of the shared log's messages and of beats. Pure.

A commit group is msgpack `[1, first_seq, events, payload, erased references]`, a claim
`[2, first_seq, node, run]`, and a beat `[1, ...]` with the fields of `Beat` in order. What users
say is in the payload, encrypted with their keys.
"""

from __future__ import annotations

from typing import cast

import msgpack

from wxgptd.ports.appending import Group
from wxgptd.ports.replica import Beat, Claim, Message

_GROUP, _CLAIM = 1, 2
_BEAT_VERSION = 1

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


def pack_beat(beat: Beat) -> bytes:
    """Return the bytes of a beat."""
    return cast("bytes", msgpack.packb((_BEAT_VERSION, *beat)))


def unpack_beat(data: bytes) -> Beat:
    """Return the beat with these bytes. Further fields, of a newer version, are ignored.

    Raises:
        ValueError: something else wrote them.
    """
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
