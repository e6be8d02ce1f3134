"""The bytes of headers, frames and footers, whatever the payloads contain.

The layout is specified in the package's docstring.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

FORMAT_VERSION = 3
UNBOUND_VERSION = 2
"""The format before events recorded their session: still readable."""

PLAIN_VERSION = 1
"""The format before users had keys: readable, and rewritten at the next start."""

_HEADER = struct.Struct(">8sHHQQI")
_CRC = struct.Struct(">I")
_HEAD = struct.Struct(">4sIQI")
LOG_MAGIC = b"WXGPTLOG"
_FRAME_MAGIC = b"WXFR"
_FOOTER_MAGIC = b"WXEN"

HEADER_BYTES = _HEADER.size + _CRC.size
HEAD_BYTES = _HEAD.size + _CRC.size
MAX_GROUP_BYTES = 4 * 1024 * 1024
"""A commit group is closed at this size."""

MAX_PAYLOAD_BYTES = 64 * 1024 * 1024
"""Readers reject larger payloads."""


class Header(NamedTuple):
    """The header of a segment. `created` is in seconds since the epoch."""

    first_seq: int
    created: float
    key: int
    version: int = FORMAT_VERSION


@dataclass(frozen=True, slots=True)
class Frame:
    """One commit group: its events, starting at `first_seq`, and where its bytes end."""

    first_seq: int
    count: int
    payload: memoryview
    end: int


@dataclass(frozen=True, slots=True)
class Sealed:
    """The segment ends with its footer."""

    end: int
    next_seq: int


@dataclass(frozen=True, slots=True)
class Unsealed:
    """The bytes end after an intact frame, but for zeros: room for the next (`room`)."""

    end: int
    next_seq: int


@dataclass(frozen=True, slots=True)
class Torn:
    """The bytes at `end` do not begin an intact frame, and no intact frame follows."""

    end: int
    next_seq: int


@dataclass(frozen=True, slots=True)
class Damaged:
    """The bytes at `end` are invalid but valid ones follow, or the order is broken."""

    end: int
    next_seq: int
    why: str


Tail = Sealed | Unsealed | Torn | Damaged


def pack_header(header: Header, magic: bytes = LOG_MAGIC) -> bytes:
    """Return the header's bytes."""
    head = _HEADER.pack(
        magic, header.version, 0, header.first_seq, int(header.created * 1000), header.key
    )
    return head + _CRC.pack(crc32(head))


def unpack_header(data: bytes | memoryview, magic: bytes = LOG_MAGIC) -> Header | None:
    """Return the header at the start of `data`, or None if there is none.

    Its format version is not checked: that is up to the caller.
    """
    if len(data) < HEADER_BYTES:
        return None
    found_magic, version, _, first_seq, created_ms, key = _HEADER.unpack_from(data)
    (checksum,) = _CRC.unpack_from(data, _HEADER.size)
    if found_magic != magic or checksum != crc32(data[: _HEADER.size]):
        return None
    return Header(first_seq, created_ms / 1000, key, version)


def key_of(data: memoryview) -> int | None:
    """Return the key of a segment whose header is invalid, or None if it cannot be recovered.

    Candidates are the key in the header and the initial value of each frame's checksum (a CRC can
    be run backwards). A candidate is accepted if another frame is valid with it.
    """
    header_key = int(_HEADER.unpack_from(data)[-1])
    if next_valid(data, header_key, HEADER_BYTES) is not None:
        return header_key
    haystack = bytes(data)
    at = haystack.find(_FRAME_MAGIC, HEADER_BYTES)
    while at >= 0:
        head = haystack[at : at + HEAD_BYTES]
        if len(head) == HEAD_BYTES:
            _, length, _, _ = _HEAD.unpack_from(head)
            end = at + HEAD_BYTES + length
            if end <= len(haystack):
                (checksum,) = _CRC.unpack_from(head, _HEAD.size)
                candidate = _initial_crc(
                    head[: _HEAD.size] + haystack[at + HEAD_BYTES : end], checksum
                )
                if next_valid(data, candidate, end) is not None:
                    return candidate
        at = haystack.find(_FRAME_MAGIC, at + 1)
    return None


_CRC_TABLE = [crc32(bytes([n]), 0xFFFFFFFF) ^ 0xFFFFFFFF for n in range(256)]
_CRC_INDEX = {value >> 24: n for n, value in enumerate(_CRC_TABLE)}


def _initial_crc(data: bytes, checksum: int) -> int:
    """Return the initial value with which the CRC-32 of `data` is `checksum`."""
    register = checksum ^ 0xFFFFFFFF
    for byte in reversed(data):
        index = _CRC_INDEX[register >> 24]
        register = ((register ^ _CRC_TABLE[index]) << 8 & 0xFFFFFFFF) | (index ^ byte)
    return register ^ 0xFFFFFFFF


def pack_frame(key: int, first_seq: int, count: int, payload: bytes) -> bytes:
    """Return the bytes of a frame."""
    assert len(payload) <= MAX_PAYLOAD_BYTES, "too large for any reader"
    head = _HEAD.pack(_FRAME_MAGIC, len(payload), first_seq, count)
    checksum = crc32(payload, crc32(head, key))
    return b"".join((head, _CRC.pack(checksum), payload))


def read_frame(descriptor: int, offset: int) -> bytes:
    """Return the bytes of the frame at `offset` of an open file; nothing if none begins there."""
    head = os.pread(descriptor, HEAD_BYTES, offset)
    if len(head) < HEAD_BYTES or not head.startswith((_FRAME_MAGIC, _FOOTER_MAGIC)):
        return b""
    _, length, _, _ = _HEAD.unpack_from(head)
    if length > MAX_PAYLOAD_BYTES:
        return b""
    return head + os.pread(descriptor, length, offset + HEAD_BYTES)


def is_footer(data: bytes) -> bool:
    """Return whether `data` begins with a footer's magic bytes."""
    return data.startswith(_FOOTER_MAGIC)


def pack_footer(key: int, next_seq: int) -> bytes:
    """Return the bytes of a footer."""
    head = _HEAD.pack(_FOOTER_MAGIC, 0, next_seq, 0)
    return head + _CRC.pack(crc32(head, key))


def frames(
    data: memoryview, header: Header, start: int = HEADER_BYTES, expected: int | None = None
) -> Generator[Frame, None, Tail]:
    """Yield the frames of `data`, starting at offset `start`; return how they end.

    `expected` is the sequence number due at `start`, by default the segment's first.
    """
    position, due = start, header.first_seq if expected is None else expected
    while position < len(data):
        part = unpack(data, header.key, position)
        match part:
            case None:
                if _is_room(data, position):
                    return Unsealed(position, due)
                if has_valid_after(data, header.key, position + 1):
                    return Damaged(position, due, "checksum does not match")
                return Torn(position, due)
            case Frame() if part.first_seq == due:
                yield part
                position, due = part.end, due + part.count
            case Sealed() if part.next_seq == due:
                if not _is_room(data, part.end):
                    return Damaged(part.end, due, "bytes follow the footer")
                return part
            case Frame(first_seq=wrong) | Sealed(next_seq=wrong):
                return Damaged(position, due, f"event {due} expected, {wrong} found")
    return Unsealed(position, due)


def _is_room(data: memoryview, position: int) -> bool:
    """Return whether only zeros follow in `data`, or nothing."""
    if any(data[position : position + HEAD_BYTES]):
        return False
    return data[position:].tobytes() == bytes(len(data) - position)


class Walk:
    """Iterates over the frames of `data`, like `frames`, and then sets `tail`."""

    tail: Tail

    def __init__(
        self,
        data: memoryview,
        header: Header,
        start: int = HEADER_BYTES,
        expected: int | None = None,
    ) -> None:
        self._frames = frames(data, header, start, expected)

    def __iter__(self) -> Iterator[Frame]:
        self.tail = yield from self._frames


def tail_of(data: memoryview, header: Header) -> Tail:
    """Return how the frames of `data` end."""
    walk = Walk(data, header)
    for _ in walk:
        pass
    return walk.tail


def has_valid_after(data: memoryview, key: int, start: int) -> bool:
    """Return whether a valid frame or footer begins anywhere in `data` at or after `start`."""
    return next_valid(data, key, start) is not None


def next_valid(data: memoryview, key: int, start: int) -> int | None:
    """Return the offset of the first valid frame or footer at or after `start`, or None."""
    haystack = bytes(data[start:])
    first: int | None = None
    for magic in (_FRAME_MAGIC, _FOOTER_MAGIC):
        at = haystack.find(magic)
        while at >= 0 and (first is None or start + at < first):
            if unpack(data, key, start + at) is not None:
                first = start + at
                break
            at = haystack.find(magic, at + 1)
    return first


def unpack(data: memoryview, key: int, position: int) -> Frame | Sealed | None:
    """Return the frame or footer that begins at `position`, or None if there is no valid one."""
    if len(data) - position < HEAD_BYTES:
        return None
    magic, length, first_seq, count = _HEAD.unpack_from(data, position)
    begin = position + HEAD_BYTES
    end = begin + length
    if magic not in (_FRAME_MAGIC, _FOOTER_MAGIC) or length > MAX_PAYLOAD_BYTES:
        return None
    if end > len(data):
        return None
    (checksum,) = _CRC.unpack_from(data, position + _HEAD.size)
    head = data[position : position + _HEAD.size]
    payload = data[begin:end]
    if checksum != crc32(payload, crc32(head, key)):
        return None
    if magic == _FOOTER_MAGIC:
        return Sealed(end, first_seq) if length == 0 and count == 0 else None
    return Frame(first_seq, count, payload, end)
