"""The links to shared turns, as their user sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from wxgptd.domain.replies import wording
from wxgptd.pages import times
from wxgptd.pages.serving import Pages
from wxgptd.ports.page_access import Cookies
from wxgptd.ports.page_sharing import PageSharing, Shared


class Share(NamedTuple):
    """A link to shared turns: its token, its address, and what it is in words."""

    token: str
    url: str
    about: str


def share_of(pages: Pages, shared: Shared) -> Share:
    """Return a link as templates and scripts show it."""
    turns = wording.history_count(shared.turns, pages.texts)
    url = f"{pages.place.origin}{pages.place.root}/s/{shared.token}"
    return Share(shared.token, url, f"{times.local(shared.at)} · {turns}")


def listed(
    pages: Pages, sharing: PageSharing, token: str, cookies: Cookies | None
) -> Sequence[Share]:
    """Return the links to list on the page behind `token`, if its reader may write."""
    links = sharing.links(token, cookies) if cookies is not None else ()
    return [share_of(pages, shared) for shared in links]
