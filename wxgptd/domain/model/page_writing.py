"""Which browsers may write on a user's pages, and what the user shares. Pure.

A link only lets its reader read: links are shared. Writing takes a cookie, which a browser gets in
exchange for the write secret that a link in the chat carries. Each exchange spends its secret and
all that were issued before it.
"""

from __future__ import annotations

from typing import NamedTuple

from wxgptd.domain.model.values import DeliveryKey

MAX_WRITERS = 8
"""A user's devices; the browser that was admitted first makes room for another."""


MAX_SHARES = 50
"""How many links to chosen turns a user may have at a time."""

MAX_SHARED_TURNS = 200
"""How many turns one of them may show."""

MAX_WITHDRAWN = 100
"""How many withdrawn links are remembered, so that a repeated request does not revive them."""


class Share(NamedTuple):
    """A link, made at `at`, that shows the turns with these `questions` to anyone.

    One without questions has been withdrawn, or what it showed was deleted.
    """

    delivery: DeliveryKey
    questions: tuple[DeliveryKey, ...]
    at: float


class Writers(NamedTuple):
    """The browsers that may write on one user's pages.

    `cookies` holds the digests of their cookies, oldest first; secrets issued up to `spent_at` are
    spent. `seen_at` is when one of the browsers was last used. Times are in seconds since the
    epoch.
    """

    cookies: tuple[bytes, ...] = ()
    spent_at: float = 0.0
    seen_at: float = 0.0

    def admitted(self, cookie: bytes, issued_at: float) -> Writers:
        """Return the state after a secret issued at `issued_at` was exchanged for `cookie`."""
        others = tuple(other for other in self.cookies if other != cookie)
        return self._replace(
            cookies=(*others, cookie)[-MAX_WRITERS:], spent_at=max(self.spent_at, issued_at)
        )

    def ended(self, at: float) -> Writers:
        """Return the state in which no browser may write, and all secrets so far are spent.

        Before the first admission there is nothing to end.
        """
        if not self.spent_at:
            return self
        return self._replace(cookies=(), spent_at=max(self.spent_at, at))

    def seen(self, at: float) -> Writers:
        """Return the state after some activity at `at`."""
        return self._replace(seen_at=max(self.seen_at, at))


NO_WRITERS = Writers()
