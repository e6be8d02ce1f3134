"""Links to pages: capabilities that are unguessable and never stored. Pure.

The page cannot know who opens it (a personal account has no OAuth), so the link itself grants the
right to read. A token is 128 bits of HMAC-SHA-256 over the delivery, under a key that never
leaves the state directory. The same link can therefore be regenerated after a restart, although
the log holds only its hash.
"""

from __future__ import annotations

import base64
import hmac
import re
from hashlib import sha256

from wxgptd.domain.model.values import DeliveryKey, LinkHash, User

KEY_BYTES = 32
_TOKEN_BYTES = 16
_TOKEN = re.compile(r"[A-Za-z0-9_-]{22}")


def make_token(key: bytes, user: User, delivery: DeliveryKey) -> str:
    """Return the token of the page for `delivery`."""
    message = f"{user.account}\0{user.openid}\0{delivery}".encode("utf-8", "surrogatepass")
    digest = hmac.digest(key, message, sha256)
    return base64.urlsafe_b64encode(digest[:_TOKEN_BYTES]).rstrip(b"=").decode("ascii")


def hash_token(token: str) -> LinkHash:
    """Return the hash of `token`, which the log holds instead of the token."""
    return LinkHash(sha256(token.encode("ascii", "replace")).digest())


def make_confirmation(key: bytes, token: str) -> str:
    """Return the value that proves that a form came from the page of `token`."""
    digest = hmac.digest(key, f"confirmed\0{token}".encode("ascii", "replace"), sha256)
    return base64.urlsafe_b64encode(digest[:_TOKEN_BYTES]).rstrip(b"=").decode("ascii")


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
