"""The bytes of the shared log's messages and of beats. Pure.

Everything begins with an HMAC-SHA-256 (16 bytes) of what follows, under a key made from the master
key: other users of the servers can neither write to the log nor say where messages are passed on
to. A commit group is msgpack `[1, first_seq, events, payload, erased references]`, a claim
`[2, first_seq, node, run]`, and a beat `[1, ...]` with the fields of `Beat` in order. What users
say is in the payload, encrypted with their keys.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import cast

import msgpack

from wxgptd.ports.appending import Group
from wxgptd.ports.replica import Beat, Claim, Foreign, Message

_GROUP, _CLAIM = 1, 2
_BEAT_VERSION = 1
_SEAL_BYTES = 16

_BEAT_TYPES = (
    str, str, str, bool, int, int, int, str, tuple, str, float, bool,
)  # fmt: skip


def pack(message: Group | Claim, key: bytes) -> bytes:
    """Return the bytes of a message."""
    match message:
        case Group():
            packed = msgpack.packb((_GROUP, *message))
        case Claim():
            packed = msgpack.packb((_CLAIM, *message))
    return _sealed(packed, key)


def unpack(data: bytes, key: bytes) -> Message:
    """Return the message with these bytes, or a `Foreign` one if no node has written it.

    Raises:
        ValueError: a newer version wrote it.
    """
    packed = _unsealed(data, key)
    if packed is None:
        return Foreign()
    match _unpacked(packed):
        case (1, int() as first_seq, int() as events, bytes() as payload, tuple() as erased):
            return Group(first_seq, events, payload, erased)
        case (2, int() as first_seq, str() as node, str() as run):
            return Claim(first_seq, node, run)
        case _:
            raise ValueError("a newer version of wxgptd wrote the message")


def key_for(master: bytes, cluster_id: str) -> bytes:
    """Return the key that the nodes of a cluster authenticate messages and beats with."""
    return hmac.digest(master, f"wxgptd: messages of cluster {cluster_id}".encode(), sha256)


def _sealed(packed: bytes, key: bytes) -> bytes:
    return hmac.digest(key, packed, sha256)[:_SEAL_BYTES] + packed


def _unsealed(data: bytes, key: bytes) -> bytes | None:
    seal, packed = data[:_SEAL_BYTES], data[_SEAL_BYTES:]
    is_ours = hmac.compare_digest(seal, hmac.digest(key, packed, sha256)[:_SEAL_BYTES])
    return packed if is_ours else None


def pack_beat(beat: Beat, key: bytes) -> bytes:
    """Return the bytes of a beat."""
    return _sealed(cast("bytes", msgpack.packb((_BEAT_VERSION, *beat))), key)


def unpack_beat(data: bytes, key: bytes) -> Beat:
    """Return the beat with these bytes. Further fields, of a newer version, are ignored.

    Raises:
        ValueError: no node has written it.
    """
    packed = _unsealed(data, key)
    if packed is None:
        raise ValueError("the beat comes from elsewhere")
    values = _unpacked(packed)
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
