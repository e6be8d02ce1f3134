"""Values as msgpack, the way the log holds them."""

from __future__ import annotations

import threading

import msgpack

from wxgptd.errors import WxgptError
from wxgptd.untyped import Packed
from wxgptd.wording import say


class Unencodable(WxgptError):
    """an event has a value that the log cannot hold"""


class _Packers(threading.local):
    """A packer for each thread: making one for each value takes longer than packing it."""

    def __init__(self) -> None:
        self.pack = msgpack.Packer(use_bin_type=True, unicode_errors="surrogatepass").pack


_PACKERS = _Packers()


def packed(value: object) -> bytes:
    """Return `value` as msgpack; lone surrogates survive, as they must in users' messages."""
    try:
        result: bytes = _PACKERS.pack(value)
    except (OverflowError, TypeError, ValueError) as error:
        raise Unencodable(say("cannot encode an event: {error}", error=error)) from error
    return result


def unpack(payload: memoryview | bytes) -> Packed:
    """Return the entries of a frame's payload."""
    entries: Packed = msgpack.unpackb(
        payload, use_list=False, raw=False, unicode_errors="surrogatepass"
    )
    return entries
