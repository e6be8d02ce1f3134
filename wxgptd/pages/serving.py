"""What pages share: the library, the texts, how text becomes HTML, how a request is answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from wxgptd.domain.texts import Texts
from wxgptd.errors import WxgptError
from wxgptd.pages import html, links
from wxgptd.ports import AnswerView, InThread, Library, Progress

log = Logger()

Blocks = tuple[str, ...]
Rendered = list[Blocks]

RENDER_IN_THREAD_CHARS = 4_000

_HEADERS = {
    "Cache-Control": "no-store, no-transform",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex, nofollow, noarchive",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
        "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}

STATIC = Path(__file__).parent / "static"
STATIC_TYPES = {
    "icon.svg": "image/svg+xml",
    "live.js": "text/javascript; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
}


class Pages:
    """What all pages share: the library, the texts, and how text becomes HTML."""

    def __init__(
        self,
        library: Library,
        texts: Texts,
        *,
        clock: IReactorTime,
        in_thread: InThread,
        ready: Callable[[], bool],
        root: str = "",
    ) -> None:
        self.library = library
        self.texts = texts
        self.clock = clock
        self.ready = ready
        self._in_thread = in_thread
        self._environment = Environment(
            loader=PackageLoader("wxgptd.pages"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
        )
        contents = b"".join((STATIC / name).read_bytes() for name in sorted(STATIC_TYPES))
        self._shared = {
            "texts": texts,
            "root": root,
            "version": sha256(contents).hexdigest()[:8],
        }

    def render(self, template: str, **values: object) -> bytes:
        """Return a page's bytes."""
        page = self._environment.get_template(template)
        return page.render(**self._shared, **values).encode("utf-8", "replace")

    async def blocks(self, text: str) -> Blocks:
        """Return `text` as the HTML of its blocks."""
        (blocks,) = await self.all_blocks([text])
        return blocks

    async def all_blocks(self, texts: Sequence[str]) -> Rendered:
        """Return each of `texts` as the HTML of its blocks."""

        def render() -> Rendered:
            return [html.blocks(text) for text in texts]

        if sum(map(len, texts)) < RENDER_IN_THREAD_CHARS:
            return render()
        return await self._in_thread(render)

    def status(self, progress: Progress, failure: str) -> str:
        """Return the sentence about how far an answer is."""
        if progress is Progress.FAILED:
            return failure
        return str(getattr(self.texts, f"page_{progress}"))

    def gone(self, request: Request) -> bytes:
        """Answer for a link that leads nowhere, whatever the reason."""
        request.setResponseCode(404)
        return self.render("word.html", title=self.texts.page_title, word=self.texts.page_gone)


class Linked(Resource):
    """Something behind a link."""

    def __init__(self, pages: Pages, token: str) -> None:
        super().__init__()
        self._pages = pages
        self._token = token


def prepare(request: Request, content_type: str) -> None:
    """Set the headers that keep a page private and inert."""
    for name, value in _HEADERS.items():
        request.setHeader(name, value)
    request.setHeader("Content-Type", content_type)


def serve(request: Request, work: Deferred[None]) -> int:
    """Let `work` write the response; cancel it when the reader leaves."""
    left: list[bool] = []

    def leave(_: Failure) -> None:
        left.append(True)
        work.cancel()

    def finish(result: object) -> None:
        if isinstance(result, Failure) and not result.check(CancelledError):
            if result.check(WxgptError):
                log.error("a page could not be served: {error}", error=result.value)
            else:
                log.failure("a page could not be served", result)
            if not left:
                request.loseConnection()
        elif not left:
            request.finish()

    request.notifyFinish().addErrback(leave)
    work.addBoth(finish)
    return NOT_DONE_YET


def find(pages: Pages, token: str) -> AnswerView | None:
    """Return the answer behind `token` as it stands, or None."""
    return pages.library.answer(token) if links.well_formed(token) else None
