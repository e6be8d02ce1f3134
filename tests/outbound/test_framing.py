"""Where a body ends."""

from __future__ import annotations

import random

import pytest

from wxgptd.outbound.framing import MAX_LINE_BYTES, Body, Chunked, Counted, Malformed, body_of


def feed(body: Body, data: bytes, source: random.Random) -> bytes:
    """Feed `data` in pieces of any size, and return the body."""
    pieces = []
    while data:
        size = source.choice([1, 2, 3, 7, 50, len(data)])
        pieces.append(body.feed(data[:size]))
        data = data[size:]
        if body.is_over:
            body.rest += data
            break
    return b"".join(pieces)


@pytest.mark.parametrize("seed", range(300))
def test_a_chunked_body_is_read_however_it_arrives(seed):
    source = random.Random(seed)
    chunks = [source.randbytes(source.choice([1, 2, 15, 16, 300])) for _ in range(seed % 7)]
    extension = source.choice([b"", b";a=b", b" ; a", b"  "])
    data = b"".join(b"%x%b\r\n%b\r\n" % (len(chunk), extension, chunk) for chunk in chunks)
    data += b"0\r\n" + source.choice([b"", b"X: y\r\n", b"X: y\r\nZ: " + b"z" * 90 + b"\r\n"])
    data += b"\r\n"
    rest = source.choice([b"", b"HTTP/1.1 200 OK"])
    body = Chunked()
    assert feed(body, data + rest, source) == b"".join(chunks)
    assert body.is_over
    assert not body.wrong
    assert body.rest == rest


@pytest.mark.parametrize("seed", range(20))
def test_a_counted_body_is_read_however_it_arrives(seed):
    source = random.Random(seed)
    text = source.randbytes(source.randrange(1, 200))
    body = Counted(len(text))
    assert feed(body, text + b"more", source) == text
    assert body.is_over
    assert body.rest == b"more"


@pytest.mark.parametrize(
    "data",
    [
        b"x\r\n", b"-1\r\n", b"\r\n", b"3\nabc\n", b"3\r\nabcd\r\n", b"3\r\nabc\n0\r\n", b"3 a\r\nabc\r\n",
        b"1" * 16 + b"\r\n", b"1;" + b"a" * MAX_LINE_BYTES, b"0\r\n" + b"X: y\r\n" * 20_000,
        b"0\r\n" + b"a" * 70_000,
    ],
)  # fmt: skip
@pytest.mark.parametrize("step", [1, 10_000_000])
def test_a_malformed_chunk_is_noticed(data, step):
    if step == 1 and len(data) > 2_000:
        step = 1_000

    body = Chunked()
    for at in range(0, len(data), step):
        body.feed(data[at : at + step])
    assert body.wrong
    assert not body.is_over


@pytest.mark.parametrize(
    ("code", "fields", "kind"),
    [
        (200, [], Body),
        (204, [(b"content-length", b"5")], Counted),
        (304, [], Counted),
        (200, [(b"content-length", b"5")], Counted),
        (200, [(b"content-length", b"5"), (b"content-length", b"5")], Counted),
        (200, [(b"content-length", b"5"), (b"content-length", b"6")], None),
        (200, [(b"content-length", b"-5")], None),
        (200, [(b"content-length", b"")], None),
        (200, [(b"transfer-encoding", b"Chunked")], Chunked),
        (200, [(b"transfer-encoding", b"chunked"), (b"content-length", b"5")], Chunked),
        (200, [(b"transfer-encoding", b"identity"), (b"content-length", b"5")], Counted),
        (200, [(b"transfer-encoding", b"gzip, chunked")], None),
        (200, [(b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"chunked")], None),
    ],
)
def test_the_headers_say_how_a_body_ends(code, fields, kind):
    if kind is None:
        with pytest.raises(Malformed):
            body_of(code, fields)
    else:
        assert type(body_of(code, fields)) is kind
