"""Every bit of a segment flipped, and every byte its last: no wrong record, ever."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import pytest

from tests.support.injuries import MASTER
from wxgptd.eventlog import codec, framing
from wxgptd.eventlog.framing import Damaged, Header, Sealed, Torn, Unsealed
from wxgptd.eventlog.keyring import Keyring

SEGMENT_BYTES = 10_000
HEADER = Header(first_seq=1, created=1_700_000_000.0, key=0x5EED1234)


class Segment(NamedTuple):
    """Bytes, and which payloads are in them, in order, with the end of each frame."""

    data: bytes
    payloads: list[bytes]
    ends: list[int]


Read = Callable[[bytes], Sequence[bytes] | None]
"""Returns the payloads that a start would take, or None if it would refuse."""


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
    entries = codec.unpack(memoryview(last)[framing.HEAD_BYTES :])
    next_seq = framing._HEAD.unpack_from(last)[2] + len(entries)
    return segment.data + framing.pack_footer(HEADER.key, next_seq)


def read(data: bytes) -> Sequence[bytes] | None:
    """Read as a start does the newest segment of a log."""
    view = memoryview(data)
    header = framing.unpack_header(view)
    if header is None:
        return [] if len(data) <= framing.HEADER_BYTES else None
    if header.first_seq != HEADER.first_seq or header.version != HEADER.version:
        return None  # the name says another number
    walk = framing.Walk(view, header)
    found = [bytes(frame.payload) for frame in walk]
    return None if isinstance(walk.tail, Damaged) else found


class Verdict(NamedTuple):
    """How many injuries were refused, how many cut the tail, and which gave anything wrong."""

    refused: int
    cut: int
    wrong: list[int]


def flip_each(data: bytes, payloads: list[bytes], last_frame: int, reader: Read) -> Verdict:
    """Flip each bit of `data`; only in what stands behind `last_frame` may it pass for a torn tail."""
    refused, cut, wrong = 0, 0, []
    flipped = bytearray(data)
    for position in range(len(data) * 8):
        byte, mask = position // 8, 1 << position % 8
        flipped[byte] ^= mask
        found = reader(bytes(flipped))
        flipped[byte] ^= mask
        if found is None:
            refused += 1
        elif byte >= last_frame and list(found) == payloads[: len(found)]:
            cut += 1
            if len(found) < len(payloads) - 1:
                wrong.append(position)
        else:
            wrong.append(position)
    return Verdict(refused, cut, wrong)


def test_every_flipped_bit_is_refused_or_leaves_all_but_the_last_commit(segment, report):
    verdict = flip_each(segment.data, segment.payloads, segment.ends[-2], read)
    assert verdict.wrong == []
    report(
        f"R6 open segment: {verdict.refused:,} flips refused, {verdict.cut:,} in the last commit"
    )


def test_every_flipped_bit_of_a_sealed_segment_is_refused(segment, report):
    data = sealed(segment)
    assert read(data) == segment.payloads
    footer = len(segment.data)
    verdict = flip_each(data, segment.payloads, footer, read)
    # In the footer itself a flip leaves every commit, and no seal.
    assert verdict.wrong == []
    assert verdict.refused == len(segment.data) * 8
    report(f"R6 sealed segment: {verdict.refused:,} of {len(segment.data) * 8:,} flips refused")


def test_every_truncation_leaves_the_exact_prefix(segment, report):
    for size in range(len(segment.data) + 1):
        data = segment.data[:size]
        kept = sum(end <= size for end in segment.ends)
        assert read(data) == segment.payloads[:kept], size
        if size >= framing.HEADER_BYTES:
            view = memoryview(data)
            tail = framing.tail_of(view, framing.unpack_header(view))
            assert isinstance(
                tail, Unsealed if size in (framing.HEADER_BYTES, *segment.ends) else Torn
            )
    report(f"R6 truncations: {len(segment.data) + 1:,}, each leaves the exact prefix")


def test_a_seal_is_a_seal(segment):
    view = memoryview(sealed(segment))
    assert isinstance(framing.tail_of(view, framing.unpack_header(view)), Sealed)


# The harness can fail: a log whose checksums are chained, read up to the first error.


def chained(segment: Segment) -> bytes:
    data, checksum = b"", 0
    for payload in segment.payloads:
        checksum = crc32(payload, checksum)
        data += len(payload).to_bytes(4, "big") + checksum.to_bytes(4, "big") + payload
    return data


def read_chained(data: bytes) -> Sequence[bytes] | None:
    found, position, checksum = [], 0, 0
    while position + 8 <= len(data):
        size = int.from_bytes(data[position : position + 4], "big")
        payload = data[position + 8 : position + 8 + size]
        checksum = crc32(payload, checksum)
        if len(payload) < size or checksum != int.from_bytes(
            data[position + 4 : position + 8], "big"
        ):
            break
        found.append(payload)
        position += 8 + size
    return found


def test_chained_checksums_that_end_at_the_first_error_are_caught(segment, report):
    data = chained(segment)
    assert read_chained(data) == segment.payloads
    last_frame = len(data) - len(segment.payloads[-1]) - 8
    verdict = flip_each(data, segment.payloads, last_frame, read_chained)
    assert len(verdict.wrong) > 0.9 * last_frame * 8
    report(f"R6 mutant, chained checksums: {len(verdict.wrong):,} flips lost commits in silence")
