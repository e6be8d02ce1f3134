"""Writing on pages: the port that browsers' requests go through.

Reading is what a link allows; writing takes a cookie as well. Every method takes the token of the
page's link. Those that write return a `Refused` if they did nothing, which says why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum, StrEnum
from typing import NamedTuple, Protocol

from twisted.internet.defer import Deferred

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


class Belonging(StrEnum):
    """The session that a question on a page went to."""

    SAME = "same"
    RESUMED = "resumed"
    NEW = "new"
    OTHER = "other"


class Asked(NamedTuple):
    """A question was asked: `token` and `form_token` are those of its own answer's page."""

    token: str
    form_token: str
    question: str
    session: Belonging


class Form(NamedTuple):
    """What a browser sends with each request: its cookies, and its page's form token."""

    cookies: Cookies
    token: str


class PageWriting(Protocol):
    """Lets the readers of pages write."""

    @property
    def asks(self) -> bool:
        """Whether questions may be asked on pages at all."""
        ...

    def form_token(self, token: str, cookies: Cookies) -> str:
        """Return what the forms of a page must send, or "" if its reader may not write."""
        ...

    def claim(
        self, token: str, secret: str, nonce: str, cookies: Cookies
    ) -> Deferred[Admitted | Refused]:
        """Exchange a link's write secret for a cookie.

        A browser that repeats it with the same unguessable `nonce` gets the same cookie.
        """
        ...

    def ask(self, token: str, form: Form, question: str, key: str) -> Deferred[Asked | Refused]:
        """Ask a question. Asking again with the same `key` finds the same question."""
        ...

    def retry(self, token: str, form: Form, key: str) -> Deferred[Asked | Refused]:
        """Ask the page's question again, with a `key` as for `ask`."""
        ...

    def stop(self, token: str, form: Form) -> Deferred[Refused | None]:
        """Stop the page's answer, and keep what is written. None if it is stopped or ended."""
        ...

    def rate(self, token: str, form: Form, rating: str, words: str) -> Deferred[Refused | None]:
        """Rate the page's answer with "up", "down" or "", and perhaps some words."""
        ...

    def seen(self, token: str, form: Form) -> Deferred[Refused | None]:
        """Note that the reader is reading the page."""
        ...

    def rating(self, token: str) -> str:
        """Return how the user rated the page's answer: "up", "down" or ""."""
        ...

    def later(self, token: str, cookies: Cookies) -> Sequence[str]:
        """Return the tokens of the answers that followed, oldest first, if the reader may write."""
        ...
