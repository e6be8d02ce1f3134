"""Find the mistakes in the `[site]` table."""

from __future__ import annotations

import re
from collections.abc import Iterator

from wxgptd.config.tables import Site
from wxgptd.config.values import parse_http_url
from wxgptd.wording import say

_SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
}

MAX_QR_CODE_BYTES = 1024 * 1024


def mistakes(site: Site) -> Iterator[str]:
    """Yield what is wrong with the table."""
    for number, link in enumerate(site.links, 1):
        *words, address = link.rsplit(maxsplit=1) or [""]
        if not words or parse_http_url(address) is None:
            yield say(
                'site.links: number {number} must be "WORDS ADDRESS", not "{link}"',
                number=number,
                link=link,
            )
    if site.police and not re.search(r"\d{6,}", site.police):
        yield (
            say(
                "site.police: must contain the number in the police's register, for example "
                '"京公网安备11010502000000号", not "{police}"',
                police=site.police,
            )
        )
    if site.qr_code is not None:
        try:
            with site.qr_code.open("rb") as file:
                data = file.read(MAX_QR_CODE_BYTES + 1)
        except OSError as error:
            yield say(
                "site.qr_code: {qr_code} cannot be read: {strerror}",
                qr_code=site.qr_code,
                strerror=error.strerror,
            )
            return
        if not picture_type(data):
            yield say(
                "site.qr_code: {qr_code} is not a picture (png, jpg or gif)", qr_code=site.qr_code
            )
        elif len(data) > MAX_QR_CODE_BYTES:
            yield say("site.qr_code: {qr_code} is larger than 1 MiB", qr_code=site.qr_code)


def picture_type(data: bytes) -> str:
    """Return the content type of a picture, or "" if it is none that browsers show."""
    for signature, content_type in _SIGNATURES.items():
        if data.startswith(signature):
            return content_type
    return ""
