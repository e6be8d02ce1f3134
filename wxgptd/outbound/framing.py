"""Where the body of an HTTP response ends: RFC 9112, section 6. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

MAX_LINE_BYTES = 1024
"""The size limit of a line with a chunk's size."""

MAX_TRAILER_BYTES = 64 * 1024

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")
_DIGITS = re.compile(rb"[0-9]{1,18}")


class Malformed(ValueError):
    """The server framed its response wrongly."""


class Body:
    """A body that lasts until the connection closes; other framings are subclasses.

    `is_over` is set with its last byte, and `rest` is what came after that. `wrong` says what is
    wrong with the framing, in which case nothing more can be read.
    """

    ends_with_connection = True

    def __init__(self) -> None:
        self.is_over = False
        self.rest = b""
        self.wrong = ""

    def feed(self, data: bytes) -> bytes:
        """Return the part of the body in `data`."""
        return data


class Counted(Body):
    """A body of `length` bytes."""

    ends_with_connection = False

    def __init__(self, length: int) -> None:
        super().__init__()
        self._left = length
        self.is_over = not length

    def feed(self, data: bytes) -> bytes:
        """Return the part of the body in `data`."""
        piece, self.rest = data[: self._left], data[self._left :]
        self._left -= len(piece)
        self.is_over = not self._left
        return piece


class Chunked(Body):
    """A chunked body."""

    ends_with_connection = False

    def __init__(self) -> None:
        super().__init__()
        self._left = 0
        """How many bytes of the current chunk are missing, including the CRLF after it."""
        self._pending = b""
        """The beginning of a line, or of the trailers."""
        self._in_trailers = False
        self._trailer_bytes = 0

    def feed(self, data: bytes) -> bytes:
        """Return the part of the body in `data`."""
        data, self._pending = self._pending + data, b""
        pieces, at, end = [], 0, len(data)
        while at < end and not self.is_over and not self.wrong:
            if self._in_trailers:
                at = self._skip_trailers(data, at)
            elif self._left > 2:
                piece = data[at : at + self._left - 2]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
            elif self._left:
                if data[at : at + self._left] != b"\r\n"[-self._left :][: end - at]:
                    self.wrong = "a chunk is longer than its size says"
                taken = min(self._left, end - at)
                self._left -= taken
                at += taken
            else:
                at = self._read_size(data, at)
        self.rest = data[at:] if self.is_over else b""
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _read_size(self, data: bytes, at: int) -> int:
        found = _SIZE.match(data, at)
        if found is None:
            if len(data) - at > MAX_LINE_BYTES or data.find(b"\n", at) >= 0:
                self.wrong = "the size of a chunk is not a number"
            self._pending = data[at:]
            return len(data)
        size = int(found[1], 16)
        if size:
            self._left = size + 2
        else:
            self._in_trailers = True
        return found.end()

    def _skip_trailers(self, data: bytes, at: int) -> int:
        end = data.find(b"\r\n", at)
        if end < 0:
            self._pending = data[at:]
            self._limit_trailers(len(self._pending))
            return len(data)
        self._trailer_bytes += end - at
        self._limit_trailers(0)
        self.is_over = end == at
        return end + 2

    def _limit_trailers(self, more: int) -> None:
        if self._trailer_bytes + more > MAX_TRAILER_BYTES:
            self.wrong = "the trailers are too long"


def body_of(code: int, fields: Sequence[tuple[bytes, bytes]]) -> Body:
    """Return the body that follows a head with this status and these headers (names in lower case).

    Raises:
        Malformed: the headers contradict each other.
    """
    if code in (204, 304):
        return Counted(0)
    codings = [value.lower() for name, value in fields if name == b"transfer-encoding"]
    if codings not in ([], [b"identity"]):
        if codings != [b"chunked"]:
            raise Malformed("unknown Transfer-Encoding")
        return Chunked()
    lengths = {value for name, value in fields if name == b"content-length"}
    if not lengths:
        return Body()
    length = lengths.pop()
    if lengths or not _DIGITS.fullmatch(length):
        raise Malformed("invalid Content-Length")
    return Counted(int(length))
