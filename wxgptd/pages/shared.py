"""`/s/TOKEN`: the turns that a user has shared, and nothing else.

Neither the page nor anything it loads contains another token: its readers could use that after the
link has been withdrawn.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.web.resource import IResource
from twisted.web.server import Request

from wxgptd.pages import aigc, links
from wxgptd.pages.limits import ANSWER
from wxgptd.pages.serving import HTML, LinkedResource, Pages, pack, prepare, send, serve
from wxgptd.pages.site import NotFound
from wxgptd.pages.turns import Turn, title_of, turn_of
from wxgptd.ports.page_sharing import PageSharing


class SharedPage(LinkedResource):
    """The page of a link to shared turns."""

    def __init__(self, pages: Pages, sharing: PageSharing, token: str) -> None:
        super().__init__(pages, token)
        self._sharing = sharing

    def getChild(self, path: bytes, request: Request) -> IResource:
        return self if path == b"" else NotFound(self._pages)

    def render_GET(self, request: Request) -> bytes | int:
        """Serve the turns, if the link has not been withdrawn."""
        prepare(request, HTML)
        tokens = self._sharing.turns(self._token) if links.well_formed(self._token) else ()
        if not tokens:
            return self._gone(request)
        owner = self._pages.page_views.owner(tokens[0])
        if response := self._pages.over_limit(request, owner, ANSWER):
            return response
        return serve(
            self._pages, request, Deferred.fromCoroutine(self._write(request, owner, tokens))
        )

    def _gone(self, request: Request) -> bytes:
        request.setResponseCode(404)
        return self._pages.word(self._pages.texts.page_share_gone)

    async def _write(self, request: Request, owner: str, tokens: Sequence[str]) -> None:
        pages = self._pages
        turns: list[Turn] = []
        for token in tokens:
            rendition = await pages.renditions.durable(token)
            if rendition is not None:
                turns.append(turn_of(rendition, 0, pages.texts))
        if not turns or not self._sharing.turns(self._token):  # withdrawn in the meantime
            request.write(self._gone(request))
            return

        def make() -> tuple[bytes, bytes]:
            page = pages.render(
                "shared.html",
                title=title_of(turns[0].question, pages.texts),
                aigc=aigc.metadata(pages.place.producer, self._token),
                turns=turns,
            )
            return page, pack(page)

        page, packed = await pages.render_queue.run(owner, make)
        if not self._sharing.turns(self._token):
            request.write(self._gone(request))
            return
        await send(pages, owner, request, page, packed)
