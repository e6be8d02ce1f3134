"""What every request to write on a page carries, and how it is refused.

Reading is what a link allows; writing takes a cookie as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple

Cookies = Mapping[str, str]
"""A browser's cookies, by name."""


class Reason(IntEnum):
    """Why a request to write is refused, as an HTTP status."""

    INVALID = 400
    NOT_ADMITTED = 401
    NOT_ALLOWED = 403
    CONFLICT = 409
    GONE = 410


class Refused(NamedTuple):
    """Nothing was done; `text` is a sentence for the reader."""

    reason: Reason
    text: str


class Admitted(NamedTuple):
    """The browser may write: it must keep the cookie, and send `form_token` with each request."""

    cookie_name: str
    cookie: str
    form_token: str


class Form(NamedTuple):
    """What a browser sends with each request: its cookies, and its page's form token."""

    cookies: Cookies
    token: str
