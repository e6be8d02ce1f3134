"""Bytes of headers, frames and footers, and nothing of what is in them. Pure.

The layout is specified in the package's docstring.
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

FORMAT_VERSION = 1
_HEADER = struct.Struct(">8sHHQQI")
_CRC = struct.Struct(">I")
_HEAD = struct.Struct(">4sIQI")
_HEADER_MAGIC = b"WXGPTLOG"
_FRAME_MAGIC = b"WXFR"
_FOOTER_MAGIC = b"WXEN"

HEADER_BYTES = _HEADER.size + _CRC.size
HEAD_BYTES = _HEAD.size + _CRC.size
MAX_PAYLOAD_BYTES = 64 * 1024 * 1024


class Header(NamedTuple):
    """What the first bytes of a segment say. `created` is seconds since the epoch."""

    first_seq: int
    created: float
    key: int
    version: int = FORMAT_VERSION


@dataclass(frozen=True, slots=True)
class Frame:
    """One commit group: its events from `first_seq` on, and where its bytes end."""

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
    """The bytes end behind a whole frame."""

    end: int
    next_seq: int


@dataclass(frozen=True, slots=True)
class Torn:
    """The bytes from `end` on are no whole frame, and none follows them."""

    end: int
    next_seq: int


@dataclass(frozen=True, slots=True)
class Damaged:
    """The bytes at `end` are wrong although valid ones follow, or the order is broken."""

    end: int
    next_seq: int
    why: str


Tail = Sealed | Unsealed | Torn | Damaged


def pack_header(header: Header) -> bytes:
    """Return the header's bytes."""
    head = _HEADER.pack(
        _HEADER_MAGIC, header.version, 0, header.first_seq, int(header.created * 1000), header.key
    )
    return head + _CRC.pack(crc32(head))


def unpack_header(data: bytes | memoryview) -> Header | None:
    """Return the header that `data` begins with, or None if that is not one.

    A header of another format version is returned: whoever reads it decides.
    """
    if len(data) < HEADER_BYTES:
        return None
    magic, version, _, first_seq, created_ms, key = _HEADER.unpack_from(data)
    (checksum,) = _CRC.unpack_from(data, _HEADER.size)
    if magic != _HEADER_MAGIC or checksum != crc32(data[: _HEADER.size]):
        return None
    return Header(first_seq, created_ms / 1000, key, version)


def presumed_key(data: bytes | memoryview) -> int:
    """Return the key of a header that does not check: right unless that is where the damage is.

    Frames that check by it prove it.
    """
    return int(_HEADER.unpack_from(data)[-1])


def pack_frame(key: int, first_seq: int, count: int, payload: bytes) -> bytes:
    """Return the bytes of a frame."""
    assert len(payload) <= MAX_PAYLOAD_BYTES, "no reader would take it"
    head = _HEAD.pack(_FRAME_MAGIC, len(payload), first_seq, count)
    checksum = crc32(payload, crc32(head, key))
    return b"".join((head, _CRC.pack(checksum), payload))


def pack_footer(key: int, next_seq: int) -> bytes:
    """Return the bytes that seal a segment."""
    head = _HEAD.pack(_FOOTER_MAGIC, 0, next_seq, 0)
    return head + _CRC.pack(crc32(head, key))


def frames(
    data: memoryview, header: Header, start: int = HEADER_BYTES, expected: int | None = None
) -> Generator[Frame, None, Tail]:
    """Yield the frames of `data` from the offset `start` on; return how they end.

    `expected` is the sequence number due at `start`, by default the segment's first.
    """
    position, due = start, header.first_seq if expected is None else expected
    while position < len(data):
        found = unpack(data, header.key, position)
        match found:
            case None:
                if any_valid_after(data, header.key, position + 1):
                    return Damaged(position, due, "checksum does not match")
                return Torn(position, due)
            case Frame() if found.first_seq == due:
                yield found
                position, due = found.end, due + found.count
            case Sealed() if found.next_seq == due:
                if found.end != len(data):
                    return Damaged(found.end, due, "bytes follow the footer")
                return found
            case Frame(first_seq=wrong) | Sealed(next_seq=wrong):
                return Damaged(position, due, f"event {due} expected, {wrong} found")
    return Unsealed(position, due)


class Walk:
    """The frames of `data`, as `frames` yields them; `tail` is how they end, once they have."""

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


def any_valid_after(data: memoryview, key: int, start: int) -> bool:
    """Tell whether a valid frame or footer begins anywhere in `data` from `start` on."""
    return next_valid(data, key, start) is not None


def next_valid(data: memoryview, key: int, start: int) -> int | None:
    """Return where the first valid frame or footer from `start` on begins, or None."""
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
    """Return the frame or footer that begins at `position`, or None if none that checks does."""
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
