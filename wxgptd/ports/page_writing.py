"""Writing on pages: the port that browsers' requests go through.

Reading is what a link allows; writing takes a cookie as well. Every method takes the token of the
page's link. Those that write return a `Refused` if they did nothing, which says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

from twisted.internet.defer import Deferred

from wxgptd.ports.page_access import Admitted, Cookies, Form, Refused
from wxgptd.ports.page_sharing import PageSharing


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


class LaterTurn(NamedTuple):
    """An answer that followed, by its page's token, and how it relates to the one before it."""

    token: str
    session: Belonging


class Later(NamedTuple):
    """The answers that followed a page's own, oldest first; the first `skipped` are left out."""

    turns: Sequence[LaterTurn]
    skipped: int


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

    def retry(self, token: str, form: Form, key: str, model: str = "") -> Deferred[Asked | Refused]:
        """Ask the page's question again, with a `key` as for `ask`.

        `model` is one of `models`: it answers this question and the session's later ones.
        """
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

    def later(self, token: str, cookies: Cookies) -> Later:
        """Return the answers that followed, if the reader may write."""
        ...

    def earlier(self, token: str, cookies: Cookies) -> Sequence[str]:
        """Return the tokens of the session's answers before this one, if the reader may write."""
        ...

    def models(self, token: str, cookies: Cookies) -> Sequence[str]:
        """Return the models to choose from, if there are several and the reader may write."""
        ...

    def delete(self, token: str, form: Form, session: str) -> Deferred[Refused | None]:
        """Delete a session, which is hidden at once. None if it is deleted, or was before."""
        ...

    @property
    def sharing(self) -> PageSharing:
        """Sharing the turns of those who may write."""
        ...
