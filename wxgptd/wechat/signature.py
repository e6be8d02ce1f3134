"""WeChat's request signatures: SHA-1 over the sorted token, timestamp and nonce. Pure.

Source: WeChat's "Access guide" and, for safe mode, "Message encryption and decryption". Sorting
and joining without separators is ambiguous (digits can move from one field to the next), and
SHA-1 is open to length extension; a strict format for each parameter prevents both.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha1
from typing import NamedTuple

from wxgptd.errors import WxgptError

_TIMESTAMP = re.compile(rb"[0-9]{10}")
_NONCE = re.compile(rb"[0-9A-Za-z]{1,32}")
_DIGEST = re.compile(rb"[0-9a-f]{40}")

Query = Mapping[bytes, Sequence[bytes]]


class Forged(WxgptError):
    """the signature does not match"""


def sign(token: str, *parts: str) -> str:
    """Return the signature over `token` and `parts`, as WeChat computes it."""
    joined = "".join(sorted((token, *parts)))
    return sha1(joined.encode(), usedforsecurity=False).hexdigest()


def single(query: Query, name: bytes) -> bytes:
    """Return the parameter `name`.

    Raises:
        Forged: it is missing or given more than once.
    """
    values = query.get(name, ())
    if len(values) != 1:
        count = "missing" if not values else "given more than once"
        raise Forged(f"the parameter {name.decode()} is {count}")
    return values[0]


class Freshness(NamedTuple):
    """How far a timestamp may be from the wall clock, in seconds; 0 disables the check."""

    wall: Callable[[], float]
    tolerance_s: float


def check(token: str, query: Query, freshness: Freshness, encrypted: str | None = None) -> str:
    """Check that the query was signed with `token`; return the signature.

    `encrypted` is the Encrypt element in safe mode, which `msg_signature` covers too.

    Raises:
        Forged: it was not, or its timestamp is too far off.
    """
    timestamp = single(query, b"timestamp")
    nonce = single(query, b"nonce")
    name = b"signature" if encrypted is None else b"msg_signature"
    given = single(query, name)
    if not token:
        raise Forged("no token is configured")
    if not _TIMESTAMP.fullmatch(timestamp):
        raise Forged("the parameter timestamp is not 10 digits")
    if not _NONCE.fullmatch(nonce):
        raise Forged("the parameter nonce is not 1 to 32 letters and digits")
    if not _DIGEST.fullmatch(given):
        raise Forged(f"the parameter {name.decode()} is not 40 hexadecimal digits")
    parts = [timestamp.decode(), nonce.decode()]
    if encrypted is not None:
        parts.append(encrypted)
    expected = sign(token, *parts)
    if not hmac.compare_digest(expected.encode(), given):
        raise Forged("the signature does not match: compare token with WeChat's backend")
    skew = freshness.wall() - int(timestamp)
    if freshness.tolerance_s and abs(skew) > freshness.tolerance_s:
        direction = "behind" if skew > 0 else "ahead of"
        raise Forged(f"the timestamp is {abs(skew):.0f} s {direction} this machine's clock")
    return expected
