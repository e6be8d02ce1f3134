"""What the site says about itself: the front page, the foot of every page, and the 404 page.

Chinese law wants a site's ICP number on its home page, linked to the register; likewise the number
of the police's register, for those who have one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import quote

from twisted.web.resource import Resource
from twisted.web.server import Request

from wxgptd.pages.serving import HTML, Pages, SiteLink, prepare

ICP_REGISTER = "https://beian.miit.gov.cn/"
POLICE_REGISTER = "https://beian.mps.gov.cn/#/query/webSearch?code="

QR_CODE = b"qr-code"
_ENGLISH = re.compile(rb"\s*en\b", re.IGNORECASE)


def foot(icp: str, police: str, contact: str, links: Sequence[tuple[str, str]]) -> list[SiteLink]:
    """Return what stands at the foot of every page; a link without an address is plain text."""
    parts = [SiteLink(words, address) for words, address in links]
    if contact:
        parts.append(SiteLink(contact, f"mailto:{contact}" if _is_mail(contact) else ""))
    if icp:
        parts.append(SiteLink(icp, ICP_REGISTER))
    if police:
        number = "".join(re.findall(r"\d", police))
        parts.append(SiteLink(police, f"{POLICE_REGISTER}{quote(number)}"))
    return parts


def _is_mail(text: str) -> bool:
    return re.fullmatch(r"[^\s@:/?&]+@[^\s@:/?&]+\.[A-Za-z]{2,}", text) is not None


class FrontPage(Resource):
    """`/`: the account's name and QR code, and what it is."""

    isLeaf = True

    def __init__(self, pages: Pages) -> None:
        super().__init__()
        self._pages = pages

    def render_GET(self, request: Request) -> bytes:
        """Serve the page."""
        prepare(request, HTML)
        request.setHeader("X-Robots-Tag", "noarchive")
        site = self._pages.site
        return self._pages.render(
            "front.html",
            title=site.name or self._pages.texts.site_title,
            about=site.about or self._pages.texts.site_about,
            qr_code=site.qr_code is not None,
        )


class QrCode(Resource):
    """`/qr-code`: the account's QR code, a file of the operator's."""

    isLeaf = True

    def __init__(self, pages: Pages) -> None:
        super().__init__()
        self._pages = pages

    def render_GET(self, request: Request) -> bytes:
        """Serve the picture."""
        picture = self._pages.site.qr_code
        if picture is None:
            return not_found(self._pages, request)
        prepare(request, picture[0])
        request.setHeader("Cache-Control", "public, max-age=3600")
        return picture[1]


class NotFound(Resource):
    """A path below a page that does not exist."""

    isLeaf = True

    def __init__(self, pages: Pages) -> None:
        super().__init__()
        self._pages = pages

    def render(self, request: Request) -> bytes:
        """Answer 404."""
        return not_found(self._pages, request)


def not_found(pages: Pages, request: Request) -> bytes:
    """Answer 404, as a page in the visitor's language if the visitor is a browser."""
    request.setResponseCode(404)
    if b"text/html" not in (request.getHeader(b"accept") or b""):
        request.setHeader("Content-Type", "text/plain; charset=utf-8")
        return b"not found\n"
    prepare(request, HTML)
    request.setHeader("Vary", "Accept-Language")
    is_english = _ENGLISH.match(request.getHeader(b"accept-language") or b"") is not None
    if is_english:
        return pages.word("There is no page at this address.", "en", "Home")
    return pages.word(pages.texts.page_not_found, home=pages.texts.page_home)
