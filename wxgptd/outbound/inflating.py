"""Inflate bodies that servers compressed unasked, a little at a time.

A 200 KB compression bomb takes half a gigabyte if it is unpacked in one go, as treq does. Here
readers get 64 KB at a time, and unpacking stops once they have had enough.
"""

from __future__ import annotations

import zlib

from twisted.internet.interfaces import IProtocol, ITransport
from twisted.python.components import proxyForInterface
from twisted.python.failure import Failure
from twisted.web.client import ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IResponse

from wxgptd.errors import WxgptError
from wxgptd.untyped import Wrapped

PIECE_BYTES = 64 * 1024

_GZIP_BEGINS = 0x1F

_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS


class Encoded(WxgptError):
    """the server encoded its response although it was asked not to"""


def inflated(response: IResponse) -> IResponse:
    """Return `response` with a body that is decoded on delivery.

    An error response in an unknown encoding gets an empty body: its status is enough.

    Raises:
        Encoded: a successful response has an unknown encoding.
    """
    headers: Headers = response.headers
    encodings = [
        encoding.strip().lower()
        for line in headers.getRawHeaders(b"content-encoding", [])
        for encoding in line.split(b",")
        if encoding.strip().lower() not in (b"", b"identity")
    ]
    if not encodings:
        return response
    headers.removeHeader(b"content-encoding")
    if len(encodings) == 1 and encodings[0] in (b"gzip", b"x-gzip", b"deflate"):
        return _Inflated(response, encodings[0])
    if 200 <= response.code < 300:
        response.deliverBody(_Discarding())
        names = b", ".join(encodings).decode("ascii", "replace")[:40]
        raise Encoded(f"unsupported Content-Encoding: {names}")
    return _Inflated(response, b"")


class _Inflated(proxyForInterface(IResponse)):  # type: ignore[misc]
    """A response whose body is inflated, or empty if `encoding` is."""

    def __init__(self, response: IResponse, encoding: bytes) -> None:
        super().__init__(response)
        self._encoding = encoding
        self.length = UNKNOWN_LENGTH

    def deliverBody(self, protocol: IProtocol) -> None:
        """Deliver the body to `protocol`; see IResponse."""
        self.original.deliverBody(_Inflating(protocol, self._encoding))


class _Inflating:
    """Inflates a body as it arrives and passes the data to its reader."""

    def __init__(self, reader: Wrapped, encoding: bytes) -> None:
        self._reader = reader
        self._encoding = encoding
        self._decoder: Wrapped = None
        self._transport: Wrapped = None
        self._error: Exception | None = None
        self._started = False

    def makeConnection(self, transport: ITransport) -> None:
        self._transport = transport
        self._reader.makeConnection(transport)

    def dataReceived(self, data: bytes) -> None:
        if not self._encoding or self._error is not None:
            return
        try:
            self._inflate(data)
        except zlib.error as error:
            self._error = error
            self._transport.loseConnection()

    def _inflate(self, data: bytes) -> None:
        has_more = False
        while (data or has_more) and not getattr(self._reader, "ended", False):
            if self._decoder is None:
                if self._started and (self._encoding == b"deflate" or data[0] != _GZIP_BEGINS):
                    return  # padding
                self._started = True
                self._decoder = self._new_decoder(data)
            inflated = self._decoder.decompress(data, PIECE_BYTES)
            data = self._decoder.unconsumed_tail
            has_more = len(inflated) == PIECE_BYTES  # more may come without further input
            if self._decoder.eof:
                data, self._decoder, has_more = self._decoder.unused_data, None, False
            if inflated:
                self._reader.dataReceived(inflated)

    def _new_decoder(self, data: bytes) -> Wrapped:
        if self._encoding != b"deflate":
            return zlib.decompressobj(_GZIP)
        # "deflate" means the zlib format (RFC 9110); some servers send raw deflate data.
        checksum_matches = len(data) < 2 or int.from_bytes(data[:2], "big") % 31 == 0
        is_zlib = data[0] & 0x0F == 8 and checksum_matches
        return zlib.decompressobj(_ZLIB if is_zlib else _RAW)

    def connectionLost(self, reason: Failure) -> None:
        if self._error is None and self._decoder is not None:
            self._error = zlib.error("truncated data")
        if self._error is not None:
            mismatch = Encoded(f"the response does not match its Content-Encoding: {self._error}")
            reason = Failure(ResponseFailed([Failure(mismatch)]))
        self._reader.connectionLost(reason)


class _Discarding:
    """Discards a body by closing its connection."""

    def makeConnection(self, transport: Wrapped) -> None:
        transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """Drop data that was already on its way."""

    def connectionLost(self, reason: object) -> None:
        """Do nothing."""
