"""Flip every bit of a segment and truncate it at every byte: no wrong record is ever read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import pytest

from tests.support.injuries import MASTER
from wxgptd.eventlog import codec, framing, packing
from wxgptd.eventlog.framing import Damaged, Header, Sealed, Torn, Unsealed
from wxgptd.eventlog.keyring import Keyring

SEGMENT_BYTES = 10_000
HEADER = Header(first_seq=1, created=1_700_000_000.0, key=0x5EED1234)


class Segment(NamedTuple):
    """The bytes of a segment, its payloads in order, and the end of each frame."""

    data: bytes
    payloads: list[bytes]
    ends: list[int]


Read = Callable[[bytes], Sequence[bytes] | None]
"""Returns the payloads that startup would read, or None if it would reject the segment."""


@pytest.fixture(scope="module")
def segment() -> Segment:
    from tests.support import workload
    from wxgptd.domain.model.values import User

    keys = Keyring(Path("/nowhere"), MASTER)
    key = keys.make(User("main", "oUser"))
    data, payloads, ends = framing.pack_header(HEADER), [], []
    seq = 1
    while len(data) < SEGMENT_BYTES:
        count = 1 + seq % 4
        entries = [codec.encode(key, n, "", workload.event(n)) for n in range(seq, seq + count)]
        payloads.append(codec.join(count, [codec.pack(entries)]))
        data += framing.pack_frame(HEADER.key, seq, count, payloads[-1])
        ends.append(len(data))
        seq += count
    return Segment(data, payloads, ends)


def sealed(segment: Segment) -> bytes:
    last = segment.data[segment.ends[-2] :]
    entries = packing.unpack(memoryview(last)[framing.HEAD_BYTES :])
    next_seq = framing._HEAD.unpack_from(last)[2] + len(entries)
    return segment.data + framing.pack_footer(HEADER.key, next_seq)


def read(data: bytes) -> Sequence[bytes] | None:
    """Read a segment as startup reads the newest one."""
    view = memoryview(data)
    header = framing.unpack_header(view)
    if header is None:
        return [] if len(data) <= framing.HEADER_BYTES else None
    if header.first_seq != HEADER.first_seq or header.version != HEADER.version:
        return None  # does not match the file name
    walk = framing.Walk(view, header)
    payloads = [bytes(frame.payload) for frame in walk]
    return None if isinstance(walk.tail, Damaged) else payloads


class Verdict(NamedTuple):
    """The injuries rejected, those that cut the tail, and those that yielded wrong records."""

    rejected: int
    cut: int
    wrong: list[int]


def flip_each(data: bytes, payloads: list[bytes], last_frame: int, reader: Read) -> Verdict:
    """Flip each bit of `data`; only a flip after `last_frame` may pass for a torn tail."""
    rejected, cut, wrong = 0, 0, []
    flipped = bytearray(data)
    for position in range(len(data) * 8):
        byte, mask = position // 8, 1 << position % 8
        flipped[byte] ^= mask
        records = reader(bytes(flipped))
        flipped[byte] ^= mask
        if records is None:
            rejected += 1
        elif byte >= last_frame and list(records) == payloads[: len(records)]:
            cut += 1
            if len(records) < len(payloads) - 1:
                wrong.append(position)
        else:
            wrong.append(position)
    return Verdict(rejected, cut, wrong)


def test_every_flipped_bit_is_rejected_or_leaves_all_but_the_last_commit(segment, report):
    verdict = flip_each(segment.data, segment.payloads, segment.ends[-2], read)
    assert verdict.wrong == []
    report(
        f"R6 open segment: {verdict.rejected:,} flips rejected, {verdict.cut:,} in the last commit"
    )


def test_every_flipped_bit_in_a_sealed_segment_is_rejected(segment, report):
    data = sealed(segment)
    assert read(data) == segment.payloads
    footer = len(segment.data)
    verdict = flip_each(data, segment.payloads, footer, read)
    # A flip in the footer breaks the seal but loses no commit.
    assert verdict.wrong == []
    assert verdict.rejected == len(segment.data) * 8
    report(f"R6 sealed segment: {verdict.rejected:,} of {len(segment.data) * 8:,} flips rejected")


def test_every_truncation_leaves_the_exact_prefix(segment, report):
    for size in range(len(segment.data) + 1):
        data = segment.data[:size]
        complete = sum(end <= size for end in segment.ends)
        assert read(data) == segment.payloads[:complete], size
        if size >= framing.HEADER_BYTES:
            view = memoryview(data)
            tail = framing.tail_of(view, framing.unpack_header(view))
            assert isinstance(
                tail, Unsealed if size in (framing.HEADER_BYTES, *segment.ends) else Torn
            )
    report(f"R6 truncations: {len(segment.data) + 1:,}, each leaves the exact prefix")


def test_a_segment_with_a_footer_is_sealed(segment):
    view = memoryview(sealed(segment))
    assert isinstance(framing.tail_of(view, framing.unpack_header(view)), Sealed)


# Check the harness itself: a log with chained checksums that is read up to the first error.


def chained(segment: Segment) -> bytes:
    data, checksum = b"", 0
    for payload in segment.payloads:
        checksum = crc32(payload, checksum)
        data += len(payload).to_bytes(4, "big") + checksum.to_bytes(4, "big") + payload
    return data


def read_chained(data: bytes) -> Sequence[bytes] | None:
    payloads, position, checksum = [], 0, 0
    while position + 8 <= len(data):
        size = int.from_bytes(data[position : position + 4], "big")
        payload = data[position + 8 : position + 8 + size]
        checksum = crc32(payload, checksum)
        if len(payload) < size or checksum != int.from_bytes(
            data[position + 4 : position + 8], "big"
        ):
            break
        payloads.append(payload)
        position += 8 + size
    return payloads


def test_the_harness_catches_chained_checksums(segment, report):
    data = chained(segment)
    assert read_chained(data) == segment.payloads
    last_frame = len(data) - len(segment.payloads[-1]) - 8
    verdict = flip_each(data, segment.payloads, last_frame, read_chained)
    assert len(verdict.wrong) > 0.9 * last_frame * 8
    report(f"R6 mutant, chained checksums: {len(verdict.wrong):,} flips silently lost commits")
