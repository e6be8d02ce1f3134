"""twisted.web's part of a connection and the requests on it, with limits that it lacks.

twisted.web does not limit bodies, and its error pages repeat the URL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from twisted.internet.interfaces import IAddress
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http, server
from twisted.web.error import UnsupportedMethod
from twisted.web.resource import IResource

from wxgptd.pages.serving import PRIVATE_HEADERS

if TYPE_CHECKING:
    from wxgptd.process.connection import Connection
    from wxgptd.process.site import BoundedSite

log = Logger(namespace="wxgptd.site")

_TOO_LARGE = (
    "\r\n".join(
        (
            "HTTP/1.1 413 Content Too Large",
            "Connection: close",
            "Content-Length: 0",
            *(f"{name}: {value}" for name, value in PRIVATE_HEADERS.items()),
            "",
            "",
        )
    )
).encode()


class BoundedRequest(server.Request):
    """A request that rejects an oversized body before reading it."""

    def render(self, resrc: IResource) -> None:
        """Render `resrc`; answer an unknown method with one line that does not repeat the URL."""
        try:
            body = resrc.render(self)
        except UnsupportedMethod as error:
            self.setResponseCode(http.NOT_ALLOWED)
            self.setHeader(b"allow", b", ".join(error.allowedMethods))
            body = self._plain_text(b"method not allowed\n")
        if body is server.NOT_DONE_YET:
            return
        assert isinstance(body, bytes)
        self.setHeader(b"content-length", b"%d" % len(body))
        self.write(body)
        self.finish()

    def processingFailed(self, reason: Failure) -> Failure:
        """Answer with an internal error, without details."""
        log.failure(
            "a request could not be answered",
            reason,
            id="request-failed",
            bounded_as="request failed",
        )
        self.setResponseCode(http.INTERNAL_SERVER_ERROR)
        body = self._plain_text(b"internal error\n")
        self.setHeader(b"content-length", b"%d" % len(body))
        self.write(body)
        self.finish()
        return reason

    def _plain_text(self, body: bytes) -> bytes:
        self.setHeader(b"content-type", b"text/plain; charset=utf-8")
        return body

    def write(self, data: bytes) -> None:
        """Write to the peer, adding to error pages the headers that all pages have."""
        if not self.startedWriting:
            self.responseHeaders.removeHeader(b"server")
            if self.code != http.OK:
                for name, value in PRIVATE_HEADERS.items():
                    if not self.responseHeaders.hasHeader(name):
                        self.setHeader(name, value)
        super().write(data)

    def gotLength(self, length: int | None) -> None:
        if length is not None and length > self._max_body_bytes():
            self._reject()
        else:
            super().gotLength(length)

    def handleContentChunk(self, data: bytes) -> None:
        if self._bounded.rejects:
            return
        assert self.content is not None
        if self.content.tell() + len(data) > self._max_body_bytes():
            self._reject()
        else:
            super().handleContentChunk(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        if not self._bounded.rejects:
            super().requestReceived(command, path, version)

    @property
    def _bounded(self) -> BoundedChannel:
        return cast("BoundedChannel", self.channel)

    def _max_body_bytes(self) -> int:
        return self._bounded.site.max_body_bytes

    def _reject(self) -> None:
        self._bounded.rejects = True
        if self.content is not None:
            self.content.close()
        self.requestHeaders.removeHeader(b"expect")  # or a 100 Continue would follow
        assert self.channel.transport is not None
        self.channel.transport.write(_TOO_LARGE)
        self.channel.loseConnection()


class BoundedChannel(http.HTTPChannel):
    """twisted.web's part of a connection, which reads what `connection` does not read itself."""

    site: BoundedSite
    connection: Connection
    rejects = False
    """Whether it has rejected a request, so that nothing more will be answered."""
    _answering = False
    _congested = False
    """Whether the peer reads more slowly than it is sent data."""
    _host: IAddress | None = None

    def allContentReceived(self) -> None:
        if not self.rejects:
            self.connection.answers()
        self._answering = True
        super().allContentReceived()

    def pauseProducing(self) -> None:
        self._congested = True
        super().pauseProducing()

    def resumeProducing(self) -> None:
        self._congested = False
        super().resumeProducing()

    def requestDone(self, request: http.Request) -> None:
        if self._congested:
            # The responses to pipelined requests would pile up in this process's memory.
            self.persistent = False
        self.site.leave_seat(self.connection)  # before a pipelined request takes one
        self._answering = False
        super().requestDone(request)
        if self.persistent and not self._answering:
            self.connection.rest()
            if not self.requests:  # nothing of the next request has been read, but some may be here
                early = self.clearLineBuffer()
                if early:
                    self.connection.dataReceived(early)
                else:
                    self.connection.end_channel()

    def loseConnection(self) -> None:
        """Close the connection once everything was sent."""
        self.connection.lose()

    def forceAbortClient(self) -> None:
        """Abort the connection; unlike Twisted, do not log the peer's address."""
        self.connection.abort()

    def checkPersistence(self, request: http.Request, version: bytes) -> bool:
        if self.site.closing:
            request.responseHeaders.setRawHeaders(b"connection", [b"close"])
            return False
        persistent: bool = super().checkPersistence(request, version)
        return persistent

    def getHost(self) -> IAddress:
        # Called for every request; each call would be a system call.
        if self._host is None:
            self._host = super().getHost()
        return self._host
