"""The URLs of the pages: `/a/TOKEN`, `/h/TOKEN`, `/s/TOKEN` and the static files."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from functools import partial

from twisted.web.resource import IResource, Resource
from twisted.web.server import Request

from wxgptd.pages import links, site
from wxgptd.pages.answer import AnswerPage
from wxgptd.pages.elsewhere import Awaited, PassedOn
from wxgptd.pages.history import HistoryPage
from wxgptd.pages.serving import (
    STATIC,
    STATIC_TYPES,
    Pages,
    prepare,
    takes_gzip,
)
from wxgptd.pages.shared import SharedPage
from wxgptd.ports.page_writing import PageWriting


def resources(pages: Pages, writing: PageWriting) -> dict[bytes, Resource]:
    """Return the resources by the first segments of their paths."""
    return {
        b"a": _Tokens(pages, lambda token: AnswerPage(pages, writing, token)),
        b"h": _Tokens(pages, lambda token: HistoryPage(pages, writing, token)),
        b"s": _Tokens(pages, lambda token: SharedPage(pages, writing.sharing, token)),
        b"static": _Static(pages),
        b"": site.FrontPage(pages),
        site.QR_CODE: site.QrCode(pages),
    }


class _Tokens(Resource):
    """The path segment that holds the token."""

    def __init__(self, pages: Pages, page: Callable[[str], Resource]) -> None:
        super().__init__()
        self._pages = pages
        self._page = page

    def getChild(self, path: bytes, request: Request) -> Resource:
        if not self._pages.ready():
            return _Starting(self._pages)
        token, elsewhere = path.decode("ascii", "replace"), self._pages.elsewhere
        if elsewhere.leader() is None:
            return self._page(token)
        page = partial(self._page, token)
        if request.method == b"POST":
            return PassedOn(self._pages, elsewhere, page)
        if not links.well_formed(token) or self._pages.page_views.owner(token):
            return page()
        return Awaited(self._pages, elsewhere, page)

    def render(self, request: Request) -> bytes:
        """Answer 404: there is no page without a token."""
        return site.not_found(self._pages, request)


class _Starting(Resource):
    """The page shown while the log is replayed, which reloads itself."""

    isLeaf = True

    def __init__(self, pages: Pages) -> None:
        super().__init__()
        self._pages = pages

    def render_GET(self, request: Request) -> bytes:
        prepare(request, "text/html; charset=utf-8")
        request.setResponseCode(503)
        request.setHeader("Retry-After", "2")
        request.setHeader("Refresh", "2")
        return self._pages.word(self._pages.texts.page_starting)


class _Static(Resource):
    """Style sheet, scripts and icon from the package; their URLs change when they do."""

    def __init__(self, pages: Pages) -> None:
        super().__init__()
        self._pages = pages
        for name, content_type in STATIC_TYPES.items():
            self.putChild(name.encode(), _File((STATIC / name).read_bytes(), content_type))

    def getChild(self, path: bytes, request: Request) -> IResource:
        return site.NotFound(self._pages)


class _File(Resource):
    isLeaf = True

    def __init__(self, content: bytes, content_type: str) -> None:
        super().__init__()
        self._content = content
        self._compressed = gzip.compress(content, 9, mtime=0)
        self._type = content_type

    def render_GET(self, request: Request) -> bytes:
        request.setHeader("Content-Type", self._type)
        request.setHeader("Cache-Control", "public, max-age=31536000, immutable")
        request.setHeader("X-Content-Type-Options", "nosniff")
        request.setHeader("Vary", "Accept-Encoding")
        if takes_gzip(request):
            request.setHeader("Content-Encoding", "gzip")
            return self._compressed
        return self._content
