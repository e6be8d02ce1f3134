"""Sharing turns: links that show exactly the chosen turns to anyone, until they are withdrawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from twisted.internet.defer import Deferred

from wxgptd.ports.page_access import Cookies, Form, Refused


class Shared(NamedTuple):
    """A link to shared turns: its token, how many were chosen, and when it was made."""

    token: str
    turns: int
    at: float


class PageSharing(Protocol):
    """Lets those who may write share their turns. Tokens are those of pages' links."""

    def share(
        self, token: str, form: Form, turns: Sequence[str], key: str
    ) -> Deferred[Shared | Refused]:
        """Share turns of the page's user, given the tokens of their answers.

        Without any, that is the page's own answer. Sharing the same again with the same `key` finds
        the same link, unless it has been withdrawn.
        """
        ...

    def share_session(
        self, token: str, form: Form, session: str, key: str
    ) -> Deferred[Shared | Refused]:
        """Share the finished turns of a session, with a `key` as for `share`."""
        ...

    def withdraw(self, token: str, form: Form, shared: str) -> Deferred[Refused | None]:
        """Withdraw the link with the token `shared`; it is gone at once."""
        ...

    def links(self, token: str, cookies: Cookies) -> Sequence[Shared]:
        """Return the links that were shared and still work, if the reader may write."""
        ...

    def turns(self, shared: str) -> Sequence[str]:
        """Return the tokens of the answers that a link shows, in order; none if it is gone.

        These tokens must not reach its readers, who could use them after it is withdrawn.
        """
        ...
