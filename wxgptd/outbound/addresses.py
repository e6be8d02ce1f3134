"""URLs whose hosts are used as written if IDNA would reject them.

IP literals, and names with an underscore or a trailing hyphen, are not valid domain names, but
curl, browsers and operating systems accept them, and docker compose creates such names.
"""

from __future__ import annotations

from hyperlink import EncodedURL
from treq.client import HTTPClient
from twisted.internet.endpoints import HostnameEndpoint


class _Address(EncodedURL):
    """A URL whose host may be any ASCII text."""

    def to_uri(self) -> EncodedURL:
        """Return the URL in ASCII; a host that IDNA rejects is used as written if it is ASCII."""
        try:
            return super().to_uri()
        except UnicodeError:
            if not self.host.isascii():
                raise
        named = EncodedURL.from_text(self.replace(host="localhost").to_text())
        with_any_host: EncodedURL = named.to_uri().replace(host=self.host)
        return with_any_host


def ascii_url(url: str) -> bytes:
    """Return `url` in ASCII."""
    return _Address.from_text(url).to_uri().to_text().encode("ascii")


class Client(HTTPClient):
    """treq's client, which accepts such URLs as well."""

    def request(self, method, url, **kwargs):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
        """Make a request; see treq's HTTPClient."""
        text = url if isinstance(url, str) else url.decode("ascii")
        kwargs.setdefault("_stacklevel", 3)
        return super().request(method, _Address.from_text(text), **kwargs)


class AnyHostEndpoint(HostnameEndpoint):
    """Connects to a host with any ASCII name."""

    @staticmethod
    def _hostAsBytesAndText(host: bytes | str) -> tuple[bool, bytes, str]:
        invalid, as_bytes, as_text = HostnameEndpoint._hostAsBytesAndText(host)  # noqa: SLF001
        text = host if isinstance(host, str) else host.decode("charmap")
        if invalid and text.isascii() and text.isprintable():
            return False, text.encode("ascii"), text
        return invalid, as_bytes, as_text
