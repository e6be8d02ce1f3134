"""What pages share: the page views, the texts, rendering to HTML, answering requests."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from wxgptd.domain.replies import wording
from wxgptd.domain.replies.texts import Texts
from wxgptd.errors import WxgptError
from wxgptd.pages import links
from wxgptd.pages.audience import Audiences
from wxgptd.pages.limits import Allowance, LinkLimits
from wxgptd.pages.outflow import PIECE_BYTES, send_all
from wxgptd.pages.render_queue import RenderQueue, TooBusy
from wxgptd.pages.rendition import StatusText
from wxgptd.pages.renditions import Renditions
from wxgptd.pages.unsent import Unsent
from wxgptd.ports.elsewhere import Alone, Elsewhere
from wxgptd.ports.pages import AnswerView, PageViews, Progress

log = Logger()

COMPRESSED_FROM_BYTES = 500
RETRY_AFTER_S = 5

LONG_BYTES = 64 * 1024
"""Building or compressing more takes milliseconds, so it is done in a thread."""

_LATER = {429: b"Too Many Requests", 503: b"Service Unavailable"}
HTML = "text/html; charset=utf-8"

_POLICY = "Content-Security-Policy"
PRIVATE_HEADERS = {
    "Cache-Control": "no-store, no-transform",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex, nofollow, noarchive",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    _POLICY: (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
        "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}
"""The headers that keep a page private and inert."""

STATIC = Path(__file__).parent / "static"
STATIC_TYPES = {
    "ask.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "copy.js": "text/javascript; charset=utf-8",
    "live.js": "text/javascript; charset=utf-8",
    "read.js": "text/javascript; charset=utf-8",
    "share.js": "text/javascript; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
}


class SiteLink(NamedTuple):
    """Words at the foot of every page, and the address that they link to, if any."""

    words: str
    address: str = ""


class Site(NamedTuple):
    """What the site says about itself; `qr_code` is a content type and a picture of that type."""

    name: str = ""
    about: str = ""
    qr_code: tuple[str, bytes] | None = None
    foot: Sequence[SiteLink] = ()


class Look(NamedTuple):
    """The words of the pages, as currently configured."""

    texts: Texts
    site: Site = Site()


class Place(NamedTuple):
    """Where pages are served: the prefix of their paths, the host, and the origin."""

    root: str = ""
    producer: str = ""
    origin: str = ""


class Pages:
    """What all pages share: the page views, the texts, and rendering to HTML."""

    def __init__(
        self,
        page_views: PageViews,
        look: Callable[[], Look],
        render_queue: RenderQueue,
        *,
        ready: Callable[[], bool],
        full: Callable[[str], None],
        place: Place = Place(),
    ) -> None:
        self.page_views = page_views
        self._look = look
        self.clock = render_queue.clock
        self.ready = ready
        self.render_queue = render_queue
        self.limits = LinkLimits(self.clock)
        self.unsent = Unsent()
        self.elsewhere: Elsewhere = Alone()
        self._full = full
        self.place = place
        self.renditions = Renditions(page_views, self.sentences, self.render_queue)
        self.audiences = Audiences(self.renditions, page_views, render_queue.pace)
        self._environment = Environment(
            loader=PackageLoader("wxgptd.pages"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        contents = b"".join((STATIC / name).read_bytes() for name in sorted(STATIC_TYPES))
        self._shared = {
            "root": place.root,
            "version": sha256(contents).hexdigest()[:8],
        }

    def forget_all(self) -> None:
        """Forget everything that was rendered: a user has been erased."""
        self.renditions.forget_all()
        self.audiences.forget_all()

    @property
    def texts(self) -> Texts:
        """The texts of the pages, as currently configured."""
        return self._look().texts

    @property
    def site(self) -> Site:
        """What the site says about itself, as currently configured."""
        return self._look().site

    def render(self, template: str, **values: object) -> bytes:
        """Render `template` to a page's bytes."""
        page = self._environment.get_template(template)
        texts, site = self._look()
        shared = {"texts": texts, "site": site, **self._shared}
        return page.render(**shared, **values).encode("utf-8", "replace")

    def sentences(self, view: AnswerView) -> StatusText:
        """Return an answer's status, and a hint on what to do next if the status gives none."""
        texts = self.texts
        match view.progress:
            case Progress.DONE:
                return StatusText(texts.page_done, texts.page_back)
            case Progress.FAILED:
                return StatusText(view.failure, texts.page_back_failed)
            case progress:
                return StatusText(str(getattr(texts, f"page_{progress}")))

    def gone(self, request: Request) -> bytes:
        """Answer 404 for a link that is not valid, whatever the reason."""
        request.setResponseCode(404)
        return self.word(self.texts.page_gone)

    def over_limit(self, request: Request, owner: str, allowance: Allowance) -> bytes | None:
        """Use up one request of an owner's links; return the 429 response if none was left."""
        again_s = self.limits.admit(owner, allowance)
        if not again_s:
            return None
        self._full("link")
        return self._later(request, 429, again_s)

    def _later(self, request: Request, status: int, again_s: int) -> bytes:
        request.setResponseCode(status, _LATER[status])
        request.setHeader("Retry-After", str(again_s))
        if request.responseHeaders.getRawHeaders("content-type") != [HTML]:
            return b"{}"
        return self.word(wording.page_busy(again_s, self.texts))

    def crowded(self, request: Request) -> bytes:
        """Answer 429, because the answer has reached its limit of readers."""
        self._full("link")
        return self._later(request, 429, RETRY_AFTER_S)

    def busy(self, request: Request) -> bytes:
        """Answer 503, because the pages are too busy."""
        self._full("pages")
        return self._later(request, 503, RETRY_AFTER_S)

    def word(self, word: str, lang: str = "zh-CN", home: str = "") -> bytes:
        """Return a page with a single message, in the language `lang`.

        `home` are the words of a link to the front page, if there is to be one.
        """
        title = self.texts.page_title
        return self.render("word.html", title=title, word=word, lang=lang, home=home)


class LinkedResource(Resource):
    """A resource reached through a link's token."""

    def __init__(self, pages: Pages, token: str) -> None:
        super().__init__()
        self._pages = pages
        self._token = token

    @property
    def _owner(self) -> str:
        """The owner of the link, whose limits apply, or "" if the link is not valid."""
        return self._pages.page_views.owner(self._token) if links.well_formed(self._token) else ""


def prepare(request: Request, content_type: str, *, forms: bool = False) -> None:
    """Set the headers that keep a page private and inert; `forms` lets it post to this site."""
    for name, value in PRIVATE_HEADERS.items():
        request.setHeader(name, value)
    if forms:
        policy = PRIVATE_HEADERS[_POLICY].replace("form-action 'none'", "form-action 'self'")
        request.setHeader(_POLICY, policy)
    request.setHeader("Content-Type", content_type)


async def send(
    pages: Pages, owner: str, request: Request, body: bytes, packed: bytes = b""
) -> None:
    """Write a complete response, compressed if the reader accepts that: phones pay by the byte.

    `packed` is the compressed body, if it exists already.

    Raises:
        TooBusy: too much is still unsent for this owner's links, or in total.
    """
    request.setHeader("Vary", "Accept-Encoding")
    if len(body) > COMPRESSED_FROM_BYTES and takes_gzip(request):
        request.setHeader("Content-Encoding", "gzip")
        body = packed or pack(body)
    if len(body) <= PIECE_BYTES:
        request.setHeader("Content-Length", str(len(body)))
        request.write(body)
        return
    with pages.unsent.counted(owner, len(body)):
        request.setHeader("Content-Length", str(len(body)))
        await send_all(request, body, pages.clock)


def pack(body: bytes) -> bytes:
    """Return `body` compressed with gzip."""
    return gzip.compress(body, 6, mtime=0)


def takes_gzip(request: Request) -> bool:
    """Return whether the reader accepts gzip."""
    return b"gzip" in (request.getHeader(b"accept-encoding") or b"")


def serve(
    pages: Pages,
    request: Request,
    work: Deferred[Any],  # Any: a bool if there is an `instead`, else None
    instead: Callable[[Request], None] | None = None,
) -> int:
    """Let `work` write the response; cancel it when the reader leaves.

    If `work` fires with True, `instead` answers the request.
    """
    left: list[bool] = []

    def leave(_: Failure) -> None:
        left.append(True)
        work.cancel()

    def finish(result: object) -> None:
        if isinstance(result, Failure) and result.check(TooBusy) and not request.startedWriting:
            result.cleanFailure()  # its stack frames hold the unsent page
            if not left:
                request.responseHeaders.removeHeader("content-encoding")
                request.write(pages.busy(request))
                request.finish()
        elif isinstance(result, Failure) and not result.check(CancelledError):
            if result.check(WxgptError):
                log.error(
                    "failed to serve a page: {error}",
                    id="page-failed",
                    error=result.value,
                    bounded_as="page failed",
                )
            else:
                log.failure(
                    "failed to serve a page", result, id="page-failed", bounded_as="page failed"
                )
            if not left:
                request.loseConnection()
        elif not left and result is True and instead is not None:
            instead(request)
        elif not left:
            request.finish()

    request.notifyFinish().addErrback(leave)
    work.addBoth(finish)
    return NOT_DONE_YET


def find(pages: Pages, token: str) -> AnswerView | None:
    """Return the answer that `token` links to, or None."""
    return pages.page_views.answer(token) if links.well_formed(token) else None
