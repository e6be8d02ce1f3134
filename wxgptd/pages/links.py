"""Links to pages: capabilities that are unguessable and never stored. Pure.

The page cannot know who opens it (a personal account has no OAuth), so the link itself grants the
right to read. A token has two halves of 64 bits. The first is HMAC-SHA-256 over the delivery, under
a key that never leaves the state directory; the second is the user's tag (`eventlog.keyring`),
masked with another HMAC, of the first half. So the same link can be regenerated after a restart,
although the log holds only its hash, and leads to its user without an index of all links. Only the
hash decides whether a link is valid.

Earlier versions made tokens that lead to no user: 128 bits of HMAC over the delivery.
"""

from __future__ import annotations

import base64
import hmac
import re
from hashlib import sha256
from operator import xor

from wxgptd.domain.model.values import DeliveryKey, LinkHash, User

KEY_BYTES = 32
_TOKEN_BYTES = 16
_HALF_BYTES = 8
_MOMENT_BYTES = 6
_TOKEN = re.compile(r"[A-Za-z0-9_-]{22}")


def make_token(key: bytes, tag: int, user: User, delivery: DeliveryKey) -> str:
    """Return the token of the page for `delivery`; `tag` is its user's."""
    half = hmac.digest(key, b"\1" + _name(user, delivery), sha256)[:_HALF_BYTES]
    return _text(half + _masked(key, half, tag.to_bytes(_HALF_BYTES, "big")))


def make_earlier_token(key: bytes, user: User, delivery: DeliveryKey) -> str:
    """Return the token that earlier versions made, which leads to no user."""
    return _text(hmac.digest(key, _name(user, delivery), sha256)[:_TOKEN_BYTES])


def tag_in(key: bytes, token: str) -> int:
    """Return the tag of the user to whom `token` leads; any number if the token is not ours."""
    data = base64.urlsafe_b64decode(f"{token}==")
    half, masked = data[:_HALF_BYTES], data[_HALF_BYTES:]
    return int.from_bytes(_masked(key, half, masked), "big")


def _name(user: User, delivery: DeliveryKey) -> bytes:
    return f"{user.account}\0{user.openid}\0{delivery}".encode("utf-8", "surrogatepass")


def _masked(key: bytes, half: bytes, tag: bytes) -> bytes:
    mask = hmac.digest(key, b"\2" + half, sha256)
    return bytes(map(xor, tag, mask))


def _text(token: bytes) -> str:
    return base64.urlsafe_b64encode(token).rstrip(b"=").decode("ascii")


def hash_token(token: str) -> LinkHash:
    """Return the hash of `token`, which the log holds instead of the token."""
    return LinkHash(sha256(token.encode("ascii", "replace")).digest())


def make_confirmation(key: bytes, token: str) -> str:
    """Return the value that proves that a form came from the page of `token`."""
    digest = hmac.digest(key, f"confirmed\0{token}".encode("ascii", "replace"), sha256)
    return _text(digest[:_TOKEN_BYTES])


def make_secret(key: bytes, token: str, issued_at: float) -> str:
    """Return the write secret of the link with `token`, issued at `issued_at` (s since the epoch).

    It is the fragment of links in the chat only. It holds its time, in ms, and an HMAC of it and of
    the token, so that nothing about it needs to be stored before it is spent.
    """
    moment = round(issued_at * 1_000).to_bytes(_MOMENT_BYTES, "big")
    return _text(moment + _seal(key, token, moment))


def issued_at(key: bytes, token: str, secret: str) -> float:
    """Return when `secret` was issued for the link with `token`, or 0 if it was not."""
    if not well_formed(secret):
        return 0.0
    data = base64.urlsafe_b64decode(f"{secret}==")
    moment, seal = data[:_MOMENT_BYTES], data[_MOMENT_BYTES:]
    if not hmac.compare_digest(seal, _seal(key, token, moment)):
        return 0.0
    return int.from_bytes(moment, "big") / 1_000


def _seal(key: bytes, token: str, moment: bytes) -> bytes:
    signed = b"\3" + moment + token.encode("ascii", "replace")
    return hmac.digest(key, signed, sha256)[: _TOKEN_BYTES - _MOMENT_BYTES]


def make_cookie(key: bytes, secret: str, nonce: str) -> str:
    """Return the cookie for a browser that exchanges `secret` and has chosen `nonce`.

    So an exchange whose response was lost can be repeated, by that browser only.
    """
    signed = f"cookie\0{secret}\0{nonce}".encode("utf-8", "surrogatepass")
    return base64.urlsafe_b64encode(hmac.digest(key, signed, sha256)).rstrip(b"=").decode("ascii")


def make_cookie_name(key: bytes, user: User, *, secure: bool) -> str:
    """Return the name of a user's cookie, which reveals nothing about the user.

    A browser may have several: two accounts of one person, or two people with one phone. Over https
    its prefix makes browsers refuse it from anywhere but this very host.
    """
    digest = hmac.digest(key, b"\4" + _name(user, DeliveryKey("")), sha256)
    return f"{'__Host-' if secure else ''}wxgptd-{digest.hex()[:12]}"


def make_form_token(key: bytes, token: str, cookie: str) -> str:
    """Return what the forms on the page of `token` must send, in a browser with that cookie."""
    signed = f"form\0{token}\0{cookie}".encode("utf-8", "surrogatepass")
    return _text(hmac.digest(key, signed, sha256)[:_TOKEN_BYTES])


def instance_name(key: bytes) -> str:
    """Return a name that distinguishes this daemon from others and reveals nothing else."""
    return hmac.digest(key, b"\0instance", sha256).hex()[:16]


def well_formed(token: str) -> bool:
    """Return whether `token` has the format of our tokens."""
    return _TOKEN.fullmatch(token) is not None


def answer_url(public_url: str, token: str) -> str:
    """Return the URL of an answer's page."""
    return f"{public_url.rstrip('/')}/a/{token}"


def history_url(public_url: str, token: str) -> str:
    """Return the URL of a history page."""
    return f"{public_url.rstrip('/')}/h/{token}"
