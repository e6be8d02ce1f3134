"""Read a POST that arrived whole, without twisted.web's parser.

Only what is beyond doubt is read here: one complete request, nothing after it, no header that
changes how the body or the connection is read. Everything else is None, and twisted.web decides
what becomes of it. What is read, it would have read the same (RFC 9112).
"""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_HEAD_BYTES = 8 * 1024
"""Less than twisted.web accepts."""

_HEAD = re.compile(
    rb"POST (/[!-$&-~]*) (HTTP/1\.[01])"  # no percent sign: the path is compared as it is
    rb"((?:\r\n[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[^\r\n\0]*){1,64})"
)
_SPECIAL = re.compile(
    rb"(?i)\r\n(content-length|connection|transfer-encoding|expect|upgrade):[ \t]*([^\r]*)"
)
_DIGITS = re.compile(rb"[0-9]{1,8}")


class WholePost(NamedTuple):
    """A request: `uri` as sent, `version` such as `HTTP/1.1`, and its header lines."""

    uri: bytes
    version: bytes
    headers: bytes
    body: bytes
    persistent: bool

    def header(self, name: bytes) -> bytes | None:
        """Return the last header called `name`, which is in lower case, or None."""
        found = None
        for line in self.headers.split(b"\r\n"):
            given, _, value = line.partition(b":")
            if given.lower() == name:
                found = value.strip(b" \t")
        return found


def parse(data: bytes) -> WholePost | None:
    """Return the request that `data` consists of, or None if it is anything else."""
    end = data.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES)
    if end < 0:
        return None
    head = _HEAD.fullmatch(data, 0, end)
    if head is None:
        return None
    uri, version, headers = head.groups()
    length = connection = None
    for name, value in _SPECIAL.findall(headers):
        match name.lower():
            case b"content-length" if length is None and _DIGITS.fullmatch(value.rstrip(b" \t")):
                length = int(value)
            case b"connection" if connection is None:
                connection = value.rstrip(b" \t").lower()
            case _:
                return None
    if length is None or end + 4 + length != len(data):
        return None
    if connection not in (None, b"close", b"keep-alive"):
        return None
    persistent = version == b"HTTP/1.1" and connection != b"close"
    return WholePost(uri, version, headers, data[end + 4 :], persistent)
