"""Server-sent events, parsed as bytes arrive."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wxgptd.llm import sse

STREAM = (
    "\ufeff: keep-alive\n\ndata: 一\n\ndata:二\r\n\r\nevent: x\rdata: three\rdata: lines\r\r"
    "id: 4\n\n: comment\ndata: 四🚀\n\ndata: [DONE]"
).encode()
EVENTS = ["一", "二", "three\nlines", "四🚀", "[DONE]"]


def parsed(pieces: list[bytes]) -> list[str]:
    parser = sse.Parser()
    events = [event for piece in pieces for event in parser.feed(piece)]
    return events + parser.close()


def test_events_in_every_format_are_parsed():
    assert parsed([STREAM]) == EVENTS


def test_a_stream_may_be_split_after_any_byte():
    assert parsed([bytes([byte]) for byte in STREAM]) == EVENTS
    for at in range(len(STREAM)):
        assert parsed([STREAM[:at], STREAM[at:]]) == EVENTS, at


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_a_stream_may_be_split_several_times(cuts):
    places = [0, *sorted(cuts), len(STREAM)]
    assert parsed([STREAM[a:b] for a, b in itertools.pairwise(places)]) == EVENTS


def test_an_event_is_returned_as_soon_as_it_is_complete():
    parser = sse.Parser()
    assert parser.feed(b"data: 1\n\ndata: 2\n") == ["1"]
    assert parser.feed(b"\n") == ["2"]


def test_an_endless_line_is_rejected():
    parser = sse.Parser(max_line_bytes=100)
    with pytest.raises(sse.LineTooLong):
        parser.feed(b"data: " + b"x" * 100)


@given(st.lists(st.binary(max_size=60), max_size=6))
def test_the_parser_accepts_arbitrary_bytes(pieces):
    parsed(pieces)
