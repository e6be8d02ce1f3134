"""The bytes of headers, frames and footers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wxgptd.eventlog import framing
from wxgptd.eventlog.framing import Damaged, Header, Sealed, Torn, Unsealed

HEADER = Header(first_seq=5, created=1_700_000_000.0, key=0xDEADBEEF)
PAYLOADS = [b"first", b"", b"third" * 30]


def segment(*, sealed: bool) -> bytes:
    data, seq = framing.pack_header(HEADER), HEADER.first_seq
    for payload in PAYLOADS:
        data += framing.pack_frame(HEADER.key, seq, 2, payload)
        seq += 2
    return data + (framing.pack_footer(HEADER.key, seq) if sealed else b"")


def walk(data: bytes):
    frames, complete = framing.frames(memoryview(data), HEADER), []
    while True:
        try:
            complete.append(next(frames))
        except StopIteration as stop:
            return [bytes(frame.payload) for frame in complete], stop.value


def test_a_header_round_trips():
    assert framing.unpack_header(framing.pack_header(HEADER)) == HEADER


def test_frames_round_trip():
    assert walk(segment(sealed=True)) == (PAYLOADS, Sealed(len(segment(sealed=True)), 11))
    assert walk(segment(sealed=False)) == (PAYLOADS, Unsealed(len(segment(sealed=False)), 11))


def test_a_header_with_any_flipped_bit_is_invalid():
    data = framing.pack_header(HEADER)
    for position in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[position // 8] ^= 1 << position % 8
        assert framing.unpack_header(bytes(flipped)) is None


def test_every_bit_flip_in_a_sealed_segment_is_detected():
    data = segment(sealed=True)
    footer = len(data) - framing.HEAD_BYTES
    for position in range(framing.HEADER_BYTES * 8, len(data) * 8):
        flipped = bytearray(data)
        flipped[position // 8] ^= 1 << position % 8
        payloads, tail = walk(bytes(flipped))
        assert payloads == PAYLOADS[: len(payloads)], "a wrong record was read"
        if position // 8 < footer:
            assert isinstance(tail, Damaged), position
        else:
            assert not isinstance(tail, Sealed), position


def test_every_truncation_leaves_all_complete_frames():
    data = segment(sealed=False)
    ends, end = [framing.HEADER_BYTES], framing.HEADER_BYTES
    for payload in PAYLOADS:
        end += framing.HEAD_BYTES + len(payload)
        ends.append(end)
    for size in range(framing.HEADER_BYTES, len(data) + 1):
        payloads, tail = walk(data[:size])
        complete = max(n for n, end in enumerate(ends) if end <= size)
        assert payloads == PAYLOADS[:complete]
        assert isinstance(tail, Unsealed if size in ends else Torn)
        assert tail.end == ends[complete]


def test_frames_out_of_order_are_reported_as_damage():
    data = framing.pack_header(HEADER) + framing.pack_frame(HEADER.key, 6, 1, b"x")
    _, tail = walk(data)
    assert tail == Damaged(framing.HEADER_BYTES, 5, "event 5 expected, 6 found")


def test_bytes_after_the_footer_are_reported_as_damage():
    _, tail = walk(segment(sealed=True) + b"x")
    assert isinstance(tail, Damaged)


def test_a_frame_from_another_segment_is_not_read():
    """The segment key rules out frames sent as text by a user or left over from an old file."""
    foreign = framing.pack_frame(HEADER.key ^ 1, 11, 1, b"from elsewhere")
    payloads, tail = walk(segment(sealed=False) + foreign)
    assert payloads == PAYLOADS
    assert isinstance(tail, Torn)


@given(st.binary(max_size=300))
def test_the_reader_survives_arbitrary_bytes(junk):
    payloads, _ = walk(segment(sealed=False) + junk)
    assert payloads[:3] == PAYLOADS
    walk(framing.pack_header(HEADER) + junk)
    framing.unpack_header(junk)
