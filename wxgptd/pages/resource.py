"""The URLs of the pages: `/a/TOKEN`, `/h/TOKEN` and the static files."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from markupsafe import Markup
from twisted.internet.defer import Deferred
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request

from wxgptd.domain.replies import wording
from wxgptd.pages import aigc, site, times
from wxgptd.pages.history import HistoryPage
from wxgptd.pages.limits import ANSWER
from wxgptd.pages.live import Events, Poll
from wxgptd.pages.rendition import Rendition
from wxgptd.pages.serving import (
    LONG_BYTES,
    STATIC,
    STATIC_TYPES,
    LinkedResource,
    Pages,
    find,
    pack,
    prepare,
    send,
    serve,
    takes_gzip,
)
from wxgptd.pages.writing import cookies_of, write_resource
from wxgptd.ports.page_writing import PageWriting

MAX_TITLE_CHARS = 40
"""A page's title is the beginning of its question."""


def resources(pages: Pages, writing: PageWriting) -> dict[bytes, Resource]:
    """Return the resources by the first segments of their paths."""
    return {
        b"a": _Tokens(pages, lambda token: AnswerPage(pages, writing, token)),
        b"h": _Tokens(pages, lambda token: HistoryPage(pages, writing, token)),
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
        return self._page(path.decode("ascii", "replace"))

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


class Turn(NamedTuple):
    """A question and its answer, as the template needs them; `form` is its page's form token."""

    token: str
    form: str
    question: str
    about: str
    blocks: Sequence[Markup]
    position: str
    progress: str
    status: str
    hint: str
    thoughts: str
    waited: int
    elapsed: str
    final: bool
    rating: str = ""


class AnswerPage(LinkedResource):
    """`/a/TOKEN`, and below it `events`, `poll` and what is written on the page."""

    def __init__(self, pages: Pages, writing: PageWriting, token: str) -> None:
        super().__init__(pages, token)
        self._writing = writing

    def getChild(self, path: bytes, request: Request) -> IResource:
        match path:
            case b"events":
                return Events(self._pages, self._token)
            case b"poll":
                return Poll(self._pages, self._token)
            case b"":
                return self
            case _:
                posts = write_resource(self._pages, self._writing, self._token, path)
                return posts or site.NotFound(self._pages)

    def render_GET(self, request: Request) -> bytes | int:
        """Serve the answer so far, complete and readable without scripts."""
        prepare(request, "text/html; charset=utf-8")
        view = find(self._pages, self._token)
        if view is None:
            return self._pages.gone(request)
        if response := self._pages.over_limit(request, self._owner, ANSWER):
            return response
        if request.method == b"GET":
            self._pages.page_views.opened(self._token)
        cookies = cookies_of(request)
        if self._writing.form_token(self._token, cookies):
            tokens = (self._token, *self._writing.later(self._token, cookies))
            forms = {token: self._writing.form_token(token, cookies) for token in tokens}
            work = self._write_conversation(request, forms)
        else:
            work = self._write(request, int(view.waited_s))
        return serve(self._pages, request, Deferred.fromCoroutine(work))

    async def _write(self, request: Request, waited_s: int) -> None:
        """Write the page for those who may only read."""
        pages = self._pages
        rendition = await pages.renditions.durable(self._token)
        if rendition is None:
            request.write(pages.gone(request))
            return
        page, packed = await self._built(rendition, waited_s)
        await send(pages, self._owner, request, page, packed)

    async def _write_conversation(self, request: Request, forms: Mapping[str, str]) -> None:
        """Write the page for the one who may write, with the answers that followed.

        `forms` has the form token of each answer's page, by its link's token.
        """
        pages = self._pages
        turns: list[Turn] = []
        for token, form in forms.items():
            rendition = await pages.renditions.durable(token)
            if rendition is not None:
                view = pages.page_views.answer(token)
                waited_s = int(view.waited_s) if view is not None else 0
                turn = self._turn(token, rendition, waited_s, form)
                turns.append(turn._replace(rating=self._writing.rating(token)))
        if not turns or turns[0].token != self._token:
            request.write(pages.gone(request))
            return

        def make() -> tuple[bytes, bytes]:
            page = self._page(turns)
            return page, pack(page)

        page, packed = await pages.render_queue.run(self._owner, make)
        await send(pages, self._owner, request, page, packed)

    async def _built(self, rendition: Rendition, waited_s: int) -> tuple[bytes, bytes]:
        """Return the page, and its compressed form if it is long.

        A long page of a final answer is built once for all readers.
        """
        cache = rendition.made
        cached, cached_packed = cache.find("page"), cache.find("packed page")
        if cached is not None and cached_packed is not None:
            return cached, cached_packed
        turns = [self._turn(self._token, rendition, waited_s)]

        def make() -> tuple[bytes, bytes]:
            page = self._page(turns)
            return page, pack(page)

        if sum(map(len, rendition.blocks)) < LONG_BYTES:
            return self._page(turns), b""
        page, packed = await self._pages.render_queue.run(self._owner, make)
        if rendition.view.progress.final:
            cache.keep("page", page)
            cache.keep("packed page", packed)
        return page, packed

    def _turn(self, token: str, rendition: Rendition, waited_s: int, form: str = "") -> Turn:
        view = rendition.view
        return Turn(
            token=token,
            form=form,
            question=view.question,
            about=f"{view.author} · {times.local(view.asked_at)}",
            blocks=[Markup(block) for block in rendition.blocks],  # noqa: S704 (sanitised by nh3)
            position=rendition.position,
            progress=view.progress.value,
            status=rendition.said.status,
            hint=rendition.said.hint,
            thoughts=view.thoughts,
            waited=waited_s,
            elapsed=wording.elapsed(str(waited_s), self._pages.texts),
            final=view.progress.final,
        )

    def _page(self, turns: Sequence[Turn]) -> bytes:
        texts = self._pages.texts
        return self._pages.render(
            "answer.html",
            title=turns[0].question[:MAX_TITLE_CHARS] or texts.page_title,
            aigc=aigc.metadata(self._pages.place.producer, self._token),
            turns=turns,
            elapsed_pattern=wording.elapsed("#", texts),
            asks=self._writing.asks,
        )
