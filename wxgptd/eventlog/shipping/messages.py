"""The bytes of a stream of events, and who may have written them. Pure.

A stream is a preamble and messages. Both ends have the same master key, from which a fresh nonce in
the preamble makes the stream's own key. Each message has its length and an HMAC-SHA-256 of its
number and its contents under that key, so nothing can be added, changed, left out or reordered on
the way. What users say is encrypted with their keys, which travel encrypted with the master key;
the master key and the link key never travel, but the first message proves that both ends have the
same link key as well.

The preamble is ``WXGPTSHP``, u16 version, 16 bytes of nonce. A message is u32 length, 16 bytes of
HMAC, and that many bytes: a msgpack array of the message's name and its values. Integers are
big-endian.
"""

from __future__ import annotations

import hmac
import secrets
import struct
from collections.abc import Callable
from hashlib import sha256
from typing import NamedTuple

import msgpack

from wxgptd.errors import WxgptError
from wxgptd.eventlog.framing import MAX_PAYLOAD_BYTES
from wxgptd.wording import say

VERSION = 1
CHUNK_BYTES = 256 * 1024
"""Keys and snapshots travel in pieces of about this size."""

MAX_MESSAGE_BYTES = MAX_PAYLOAD_BYTES + 1024
"""A commit group is the largest message."""

_PREAMBLE = struct.Struct(">8sH16s")
_HEAD = struct.Struct(">I16s")
_MAGIC = b"WXGPTSHP"


class Hello(NamedTuple):
    """The first message: a digest of the link key, and the log's first and last events."""

    link_key: bytes
    first_seq: int
    last_seq: int


class Keys(NamedTuple):
    """Some of the users' keys, as records of the keyring.

    `numbers` are those of all keys that exist, packed as u64s, in the last of the messages that
    follow `Hello`; empty otherwise. What is not among them has been erased.
    """

    records: tuple[bytes, ...]
    numbers: bytes = b""


class Group(NamedTuple):
    """A commit group: the payload of its frame, byte for byte."""

    first_seq: int
    events: int
    payload: bytes


class SnapshotPart(NamedTuple):
    """A piece of the snapshot that covers the events up to `last_seq`; the last one is empty."""

    last_seq: int
    piece: bytes


class Beat(NamedTuple):
    """The newest event's number, sent while there is nothing else to send."""

    last_seq: int


Message = Hello | Keys | Group | SnapshotPart | Beat
_KINDS: dict[str, type[Message]] = {
    kind.__name__: kind for kind in (Hello, Keys, Group, SnapshotPart, Beat)
}
_TYPES: dict[str, tuple[type, ...]] = {
    "Hello": (bytes, int, int),
    "Keys": (tuple, bytes),
    "Group": (int, int, bytes),
    "SnapshotPart": (int, bytes),
    "Beat": (int,),
}


class StreamRefused(WxgptError):
    """the stream of events cannot be received"""


class StreamEnded(Exception):
    """The stream ended, perhaps within a message."""


class Sealing:
    """Authenticates a stream's messages, in order."""

    def __init__(self, master: bytes, nonce: bytes) -> None:
        self._key = hmac.digest(master, b"wxgptd: shipping\0" + nonce, sha256)
        self._number = 0

    def seal(self, contents: bytes) -> bytes:
        """Return the HMAC of the next message."""
        number = self._number.to_bytes(8, "big")
        self._number += 1
        return hmac.digest(self._key, number + contents, sha256)[:16]


class Packer:
    """Turns messages into a stream's bytes."""

    def __init__(self, master: bytes) -> None:
        nonce = secrets.token_bytes(16)
        self.preamble = _PREAMBLE.pack(_MAGIC, VERSION, nonce)
        self._sealing = Sealing(master, nonce)

    def pack(self, message: Message) -> bytes:
        """Return the bytes of the next message."""
        contents: bytes = msgpack.packb((type(message).__name__, *message))
        return _HEAD.pack(len(contents), self._sealing.seal(contents)) + contents


class Unpacker:
    """Reads the messages of a stream; `read` returns exactly so many bytes, or fewer at its end."""

    def __init__(self, read: Callable[[int], bytes], master: bytes) -> None:
        """Read the preamble.

        Raises:
            StreamRefused: the bytes are not a stream that this version can read.
            StreamEnded: there are not enough of them.
        """
        self._read = read
        magic, version, nonce = _PREAMBLE.unpack(self._exactly(_PREAMBLE.size))
        if magic != _MAGIC:
            raise StreamRefused(
                say("standard input is not a stream of events"),
                hint=say("it comes from `wxgpt log ship`"),
            )
        if version != VERSION:
            raise StreamRefused(
                say(
                    "the stream has version {version}, but this wxgptd reads version {own}",
                    version=version,
                    own=VERSION,
                ),
                hint=say("install the same version of wxgptd on both machines"),
            )
        self._sealing = Sealing(master, nonce)
        self._is_first = True

    def next(self) -> Message:
        """Return the next message.

        Raises:
            StreamRefused: its sender has another master key, or it was changed on the way.
            StreamEnded: there is none.
        """
        length, seal = _HEAD.unpack(self._exactly(_HEAD.size))
        if length > MAX_MESSAGE_BYTES:
            raise StreamRefused(say("a message of {length:,} bytes is too large", length=length))
        contents = self._exactly(length)
        if not hmac.compare_digest(seal, self._sealing.seal(contents)):
            if self._is_first:
                raise StreamRefused(
                    say("the sender has another master key"),
                    hint=say(
                        "both machines need the same keys: `wxgpt backup` there, `wxgpt "
                        "restore` here"
                    ),
                )
            raise StreamRefused(say("the stream was changed on the way"))
        self._is_first = False
        return _message(contents)

    def _exactly(self, count: int) -> bytes:
        data = self._read(count)
        if len(data) < count:
            raise StreamEnded
        return data


def _message(contents: bytes) -> Message:
    try:
        name, *values = msgpack.unpackb(contents, use_list=False)
        fits = tuple(map(type, values)) == _TYPES[name]
    except (ValueError, TypeError, LookupError) as error:
        raise StreamRefused(say("a message cannot be read: {error}", error=error)) from error
    if not fits:
        raise StreamRefused(say("the message {name} cannot be read", name=name))
    return _KINDS[name](*values)


def digest_of(link_key: bytes) -> bytes:
    """Return what shows that two ends have the same link key."""
    return hmac.digest(link_key, b"wxgptd: shipping", sha256)
