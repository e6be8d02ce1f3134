"""`/a/TOKEN`: an answer, live until it is final, and for its user what followed."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.web.resource import IResource
from twisted.web.server import Request

from wxgptd.domain.replies import wording
from wxgptd.pages import aigc, site
from wxgptd.pages.download import answers_as_markdown
from wxgptd.pages.limits import ANSWER
from wxgptd.pages.live import Events, Poll
from wxgptd.pages.rendition import Rendition
from wxgptd.pages.serving import LONG_BYTES, LinkedResource, Pages, find, pack, prepare, send, serve
from wxgptd.pages.shares import listed
from wxgptd.pages.turns import Turn, title_of, turn_of
from wxgptd.pages.writing import cookies_of, write_resource
from wxgptd.ports.page_access import Cookies
from wxgptd.ports.page_writing import Belonging, Later, LaterTurn, PageWriting

_NOTHING_LATER = Later((), 0)


class AnswerPage(LinkedResource):
    """`/a/TOKEN`, and below it `events`, `poll`, `markdown` and what is written on the page."""

    def __init__(self, pages: Pages, writing: PageWriting, token: str) -> None:
        super().__init__(pages, token)
        self._writing = writing

    def getChild(self, path: bytes, request: Request) -> IResource:
        match path:
            case b"events":
                return Events(self._pages, self._token)
            case b"poll":
                return Poll(self._pages, self._token)
            case b"markdown":
                return AnswerText(self._pages, self._writing, self._token)
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
            work = self._write_conversation(request, cookies)
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

    async def _write_conversation(self, request: Request, cookies: Cookies) -> None:
        """Write the page for the one who may write, with the answers that followed."""
        pages = self._pages
        later = self._writing.later(self._token, cookies)
        turns: list[Turn] = []
        for token, session in (LaterTurn(self._token, Belonging.SAME), *later.turns):
            rendition = await pages.renditions.durable(token)
            view = pages.page_views.answer(token)
            if rendition is not None and view is not None:
                turn = turn_of(rendition, int(view.waited_s), pages.texts)
                turns.append(
                    turn._replace(
                        token=token,
                        form=self._writing.form_token(token, cookies),
                        rating=self._writing.rating(token),
                        remark=self._remark(session),
                    )
                )
        if not turns or turns[0].token != self._token:
            request.write(pages.gone(request))
            return
        earlier = [
            turn_of(rendition, 0, pages.texts)
            for token in self._writing.earlier(self._token, cookies)
            if (rendition := await pages.renditions.durable(token)) is not None
        ]

        def make() -> tuple[bytes, bytes]:
            page = self._page(turns, later, cookies, earlier)
            return page, pack(page)

        page, packed = await pages.render_queue.run(self._owner, make)
        await send(pages, self._owner, request, page, packed)

    def _remark(self, session: Belonging) -> str:
        match session:
            case Belonging.NEW:
                return self._pages.texts.page_new_session
            case Belonging.OTHER:
                return self._pages.texts.page_other_session
            case _:
                return ""

    async def _built(self, rendition: Rendition, waited_s: int) -> tuple[bytes, bytes]:
        """Return the page, and its compressed form if it is long.

        A long page of a final answer is built once for all readers.
        """
        cache = rendition.made
        cached, cached_packed = cache.find("page"), cache.find("packed page")
        if cached is not None and cached_packed is not None:
            return cached, cached_packed
        turns = [turn_of(rendition, waited_s, self._pages.texts)._replace(token=self._token)]

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

    def _page(
        self,
        turns: Sequence[Turn],
        later: Later = _NOTHING_LATER,
        cookies: Cookies | None = None,
        earlier: Sequence[Turn] = (),
    ) -> bytes:
        """Return the page's bytes; `cookies` are those of a browser that may write."""
        pages, texts, writing = self._pages, self._pages.texts, self._writing
        return pages.render(
            "answer.html",
            title=title_of(turns[0].question, texts),
            aigc=aigc.metadata(pages.place.producer, self._token),
            turns=turns,
            earlier=earlier,
            earlier_count=wording.page_earlier(len(earlier), texts),
            skipped=wording.page_skipped(later.skipped, texts) if later.skipped else "",
            elapsed_pattern=wording.elapsed("#", texts),
            asks=writing.asks,
            models=writing.models(self._token, cookies) if cookies is not None else (),
            shares=[
                share._asdict() for share in listed(pages, writing.sharing, self._token, cookies)
            ],
        )


class AnswerText(LinkedResource):
    """`/a/TOKEN/markdown`: what the page shows, as Markdown."""

    isLeaf = True

    def __init__(self, pages: Pages, writing: PageWriting, token: str) -> None:
        super().__init__(pages, token)
        self._writing = writing

    def render_GET(self, request: Request) -> bytes | int:
        """Serve the text."""
        prepare(request, "text/html; charset=utf-8")
        if find(self._pages, self._token) is None:
            return self._pages.gone(request)
        if response := self._pages.over_limit(request, self._owner, ANSWER):
            return response
        work = self._write(request, cookies_of(request))
        return serve(self._pages, request, Deferred.fromCoroutine(work))

    async def _write(self, request: Request, cookies: Cookies) -> None:
        later = self._writing.later(self._token, cookies)
        tokens = (self._token, *(turn.token for turn in later.turns))
        found = map(self._pages.page_views.answer, tokens)
        views = [view for view in found if view is not None]
        text = answers_as_markdown(views, self._pages.texts)
        await self._pages.page_views.durable()
        request.setHeader("Content-Type", "text/markdown; charset=utf-8")
        await send(self._pages, self._owner, request, text.encode("utf-8", "replace"))
