"""Fetch the pictures that users send, from the hosts where WeChat stores them and no others."""

from __future__ import annotations

import base64
from collections import OrderedDict
from collections.abc import Sequence
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred, DeferredSemaphore, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from wxgptd.errors import WxgptError
from wxgptd.outbound.client import HttpClient
from wxgptd.outbound.exchange import within
from wxgptd.outbound.reading import read_whole

log = Logger()

TIMEOUT_S = 10.0

AT_ONCE = 4
"""Limits concurrent fetches, because each picture may be as large as the size limit."""

REMEMBERED_BYTES = 32 * 1024 * 1024
"""The size of the cache: a picture is sent to the model with every question that follows it."""

_SIGNATURES = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)


class NoPicture(WxgptError):
    """the response is not a picture"""


class WeChatPictures:
    """Implements `wxgptd.ports.models.Pictures`.

    `hosts` lists host names, which include their subdomains, or `name:port`; `limit` is in bytes.
    """

    def __init__(
        self, http: HttpClient, clock: IReactorTime, hosts: Sequence[str], limit: int
    ) -> None:
        self._http = http
        self._clock = clock
        self._hosts = tuple(hosts)
        self._limit = limit
        self._remembered: OrderedDict[str, str] = OrderedDict()
        self._size = 0
        self._slots = DeferredSemaphore(AT_ONCE)

    @property
    def largest(self) -> int:
        """See `wxgptd.ports.models.Pictures`."""
        return self._limit * 4 // 3 + 64

    def fetch(self, url: str) -> Deferred[str | None]:
        """Fire with the picture as a data URL; see `wxgptd.ports.models.Pictures`."""
        cached = self._remembered.get(url)
        if cached is not None:
            self._remembered.move_to_end(url)
            return succeed(cached)
        return self._slots.run(lambda: Deferred.fromCoroutine(self._fetch(url)))

    async def _fetch(self, url: str) -> str | None:
        cached = self._remembered.get(url)
        if cached is not None:
            return cached  # another caller has fetched it in the meantime
        if not self._is_allowed(url):
            host = url.split("/")[2][:80] if url.count("/") > 2 else "no host"
            log.warn(
                "picture not fetched, host not in [pictures] hosts: {where}",
                id="picture-refused",
                where=host,
                bounded_as="picture elsewhere",
            )
            return None
        try:
            picture = data_url(await within(TIMEOUT_S, self._clock, self._download(url)))
        except WxgptError as error:
            log.warn(
                "failed to fetch a picture: {why}",
                id="picture-failed",
                why=error,
                bounded_as="picture",
            )
            return None
        self._remember(url, picture)
        return picture

    async def _download(self, url: str) -> bytes:
        response = await self._http.get(url, unbuffered=True, allow_redirects=False)
        body = await read_whole(response, self._clock, idle_timeout_s=TIMEOUT_S, limit=self._limit)
        if response.code != 200:
            raise NoPicture(f"HTTP {response.code}")
        return body

    def _is_allowed(self, url: str) -> bool:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            return False
        if parts.scheme not in ("http", "https") or parts.username is not None:
            return False
        host = (parts.hostname or "").rstrip(".")
        host = f"[{host}]" if ":" in host else host  # as in URLs
        if port is not None:
            return f"{host}:{port}" in self._hosts
        return any(host == allowed or host.endswith(f".{allowed}") for allowed in self._hosts)

    def _remember(self, url: str, picture: str) -> None:
        self._size += len(picture) - len(self._remembered.pop(url, ""))
        self._remembered[url] = picture
        while self._size > REMEMBERED_BYTES:
            _, evicted = self._remembered.popitem(last=False)
            self._size -= len(evicted)


def data_url(body: bytes) -> str:
    """Return a picture as a data URL.

    Raises:
        NoPicture: it does not begin with the signature of a format that models accept.
    """
    kind = next((kind for signature, kind in _SIGNATURES if body.startswith(signature)), "")
    if body[:4] == b"RIFF" and body[8:12] == b"WEBP":
        kind = "image/webp"
    if not kind:
        raise NoPicture("not a JPEG, PNG, GIF or WebP picture")
    return f"data:{kind};base64,{base64.b64encode(body).decode('ascii')}"
