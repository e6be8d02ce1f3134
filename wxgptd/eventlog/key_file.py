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
from array import array
from zlib import crc32

from wxgptd.eventlog.columns import U64

FORMAT_VERSION = 2
_HEAD = struct.Struct(">8sHQ")
_CRC = struct.Struct(">I")
_HEAD_MAGIC = b"WXGPTKEY"
_HEAD_BYTES = _HEAD.size + _CRC.size
_HEAD_BYTES_1 = 10
_MAGIC, _MAGIC_1, _COMMON_MAGIC = b"WXK2", b"WXKY", b"WXK"
_RECORD = struct.Struct(">4sII")
_INDEX = struct.Struct(">QQ")
_FULL_HEAD = struct.Struct(">4sIIQQ")


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
    if not beginning.startswith(_COMMON_MAGIC) or len(beginning) < _RECORD.size:
        return 0
    magic, length, _ = _RECORD.unpack_from(beginning)
    size: int = _RECORD.size + length + (_INDEX.size if magic == _MAGIC else 0)
    return size


def is_intact(record: bytes) -> bool:
    """Return whether a record is complete, and has not been deleted or damaged."""
    if len(record) < _RECORD.size or len(record) != size_of(record):
        return False
    _, _, checksum = _RECORD.unpack_from(record)
    return crc32(record[_RECORD.size :]) == int(checksum)


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
    """Finds the intact records of a file.

    Each has its offset, number and tag, the latter two 0 in format 1. `created` is when the file
    was first written in the current format, in seconds since the epoch, or infinity. `is_whole` is
    whether it contains nothing but intact and deleted records, in that format; `deleted` has the
    offsets and the sizes of the latter.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.created = float("inf")
        self.deleted: list[tuple[int, int]] = []
        self.offsets, self.numbers, self.tags = array(U64), array(U64), array(U64)
        begin = self._read_head()
        self.is_whole = begin == _HEAD_BYTES
        self._read(begin)

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

    def _read(self, position: int) -> None:
        data, size, unpack = memoryview(self._data), len(self._data), _FULL_HEAD.unpack_from
        add_offset, add_number, add_tag = (
            self.offsets.append, self.numbers.append, self.tags.append,
        )  # fmt: skip
        while position <= size - _FULL_HEAD.size:  # runs once for each user at startup
            magic, length, checksum, tag, number = unpack(data, position)
            end = position + _FULL_HEAD.size + length
            begin = position + _RECORD.size
            if magic == _MAGIC and end <= size and length and crc32(data[begin:end]) == checksum:
                add_offset(position)
                add_number(number)
                add_tag(tag)
                position = end
            else:
                position = self._read_other(position)
        while position < size:
            position = self._read_other(position)

    def _read_other(self, position: int) -> int:
        """Read a record of format 1, or skip what is none; return where it ends."""
        record = self._data[position : position + size_of(self._data[position : position + 12])]
        if record.startswith(_MAGIC_1) and _is_intact_1(record):
            self.is_whole = False
            self.offsets.append(position)
            self.numbers.append(0)
            self.tags.append(0)
            return position + len(record)
        due = self._data.find(_COMMON_MAGIC, position + 1)
        due = due if due >= 0 else len(self._data)
        if any(self._data[position:due]):
            self.is_whole = False  # not just a deleted record
        else:
            self.deleted.append((position, due - position))
        return due


def _is_intact_1(record: bytes) -> bool:
    _, length, checksum = _RECORD.unpack_from(record)
    payload = record[_RECORD.size :]
    # Zeros after the magic, as a power cut leaves them, are no record: their checksum is right.
    return bool(0 < length == len(payload)) and crc32(payload) == checksum
