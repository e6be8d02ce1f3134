"""The bytes of the keyring file, whatever its payloads contain. Pure.

All integers are big-endian. The file is a head (``WXGPTKEY``, u16 format version, u64 time of the
first write in this format, in ms since the epoch, u32 CRC-32 of all that) followed by records:
``WXK2``, u32 length of the payload, u32 CRC-32 of everything after it, u64 tag, u64 number, and the
payload: a 12-byte nonce and AES-256-GCM of the msgpack array ``[reference, account, openid, key]``.
The number is that of the reference; the tag is a keyed digest of the user. With both in the clear,
a key is found without decrypting all others, and only a few bytes per user are in memory. The first
record has an empty reference and is used to verify the master key.

**Format 1** has no time, no tags and no numbers: ``WXKY``, u32 length, u32 CRC-32 of the payload,
payload. Such records are decrypted when the file is read, and rewritten at the next start.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple
from zlib import crc32

FORMAT_VERSION = 2
_HEAD = struct.Struct(">8sHQ")
_CRC = struct.Struct(">I")
_HEAD_MAGIC = b"WXGPTKEY"
_HEAD_BYTES = _HEAD.size + _CRC.size
_HEAD_BYTES_1 = 10
_MAGIC, _MAGIC_1, _COMMON_MAGIC = b"WXK2", b"WXKY", b"WXK"
_RECORD = struct.Struct(">4sII")
_INDEX = struct.Struct(">QQ")


class Record(NamedTuple):
    """A record in a file; `tag` and `number` are 0 in format 1."""

    offset: int
    size: int
    tag: int
    number: int
    payload: bytes


def pack_head(created: float) -> bytes:
    """Return the head of a file that was first written in this format at `created`."""
    head = _HEAD.pack(_HEAD_MAGIC, FORMAT_VERSION, int(created * 1000))
    return head + _CRC.pack(crc32(head))


def pack_record(tag: int, number: int, payload: bytes) -> bytes:
    """Return the bytes of a record."""
    index = _INDEX.pack(tag, number)
    return _RECORD.pack(_MAGIC, len(payload), crc32(payload, crc32(index))) + index + payload


def is_current(record: bytes) -> bool:
    """Return whether a record is in the current format."""
    return record.startswith(_MAGIC)


def size_of(beginning: bytes) -> int:
    """Return the size of the record that begins like this; 0 if none does."""
    if not beginning.startswith(_COMMON_MAGIC):
        return 0
    magic, length, _ = _RECORD.unpack_from(beginning)
    size: int = _RECORD.size + length + (_INDEX.size if magic == _MAGIC else 0)
    return size


def payload_of(record: bytes) -> bytes:
    """Return the encrypted part of a record."""
    return record[_RECORD.size + (_INDEX.size if is_current(record) else 0) :]


def joined(one: bytes, other: bytes) -> bytes:
    """Return a file with the records of both files."""
    if other.startswith(one):
        return other
    version = int.from_bytes(other[8:10], "big")
    return one + other[_HEAD_BYTES if version == FORMAT_VERSION else _HEAD_BYTES_1 :]


class Scan:
    """Iterates over the intact records of a file, and then knows more about it.

    `created` is when it was first written in the current format, in seconds since the epoch, or
    infinity. `is_whole` is whether it contains nothing but intact and deleted records, in that
    format; `deleted_bytes` is the size of the latter.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.created = float("inf")
        self.deleted_bytes = 0
        self._begin = self._read_head()
        self.is_whole = self._begin == _HEAD_BYTES

    def _read_head(self) -> int:
        """Return where the records begin."""
        data = self._data
        if len(data) >= _HEAD_BYTES and data.startswith(_HEAD_MAGIC):
            _, version, created_ms = _HEAD.unpack_from(data)
            (checksum,) = _CRC.unpack_from(data, _HEAD.size)
            if version == FORMAT_VERSION and checksum == crc32(data[: _HEAD.size]):
                self.created = created_ms / 1000
                return _HEAD_BYTES
        return _HEAD_BYTES_1

    def __iter__(self) -> Iterator[Record]:
        data, view, position = self._data, memoryview(self._data), self._begin
        while position < len(data):
            end = _end_of_record(view, position)
            if end < 0:
                position = self._skip(position)
                continue
            if view[position : position + 4] == _MAGIC:
                tag, number = _INDEX.unpack_from(view, position + _RECORD.size)
                begin = position + _RECORD.size + _INDEX.size
            else:
                self.is_whole = False
                tag, number, begin = 0, 0, position + _RECORD.size
            yield Record(position, end - position, tag, number, data[begin:end])
            position = end

    def _skip(self, position: int) -> int:
        """Return where the next record may begin after `position`, where none does."""
        due = self._data.find(_COMMON_MAGIC, position + 1)
        due = due if due >= 0 else len(self._data)
        if any(self._data[position:due]):
            self.is_whole = False  # not just a deleted record
        self.deleted_bytes += due - position
        return due


def _end_of_record(data: memoryview, position: int) -> int:
    """Return where the record at `position` ends, or -1 if there is no intact one."""
    if len(data) - position < _RECORD.size:
        return -1
    magic, length, checksum = _RECORD.unpack_from(data, position)
    begin = position + _RECORD.size
    end = begin + length + (_INDEX.size if magic == _MAGIC else 0)
    # Zeros after the magic, as a power cut leaves them, are no record: their checksum is right.
    if magic not in (_MAGIC, _MAGIC_1) or not length or end > len(data):
        return -1
    return end if crc32(data[begin:end]) == checksum else -1
