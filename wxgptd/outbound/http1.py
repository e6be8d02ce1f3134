"""HTTP/1.1 on kept connections, as lean as calls to models need it.

A model's answer is thousands of small pieces, and treq with Twisted's Agent spends more on each
than the rest of the program (bench/stream.py). This client makes one kind of request, a POST whose
body is in memory, and reads responses as RFC 9112 frames them. Everything else uses treq.

A connection to a model costs two or three round trips, and with TLS milliseconds of CPU, so it is
kept. A server may close a kept one just as a request is sent on it. If nothing of a response has
arrived by then, the request is made once more, on a new connection; in any other case, never.
"""

from __future__ import annotations

import re
from typing import Protocol, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IDelayedCall, IStreamClientEndpoint
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.protocol import Protocol as BytesProtocol
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone, ResponseFailed, ResponseNeverReceived
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers

from wxgptd.errors import WxgptError
from wxgptd.outbound.framing import Body, Malformed, body_of
from wxgptd.untyped import Reactor, Result, Wrapped

KEPT_FOR_S = 50.0
"""Less than the minute after which many servers and firewalls drop an idle connection."""

KEPT_PER_SERVER = 64

MAX_HEAD_BYTES = 64 * 1024
"""The size limit of a response head, including the 1xx responses before it."""

_HEAD_ENDS = re.compile(rb"\r?\n\r?\n")
_STATUS = re.compile(rb"HTTP/(\d)\.(\d) (\d{3})(?:[ \r\n]|$)")
_FOLD = re.compile(rb"\r?\n(?=[ \t])")


class MalformedResponse(WxgptError):
    """the server sent something that is not an HTTP response"""


class Response:
    """A response: the status `code`, the headers, and a body that must be delivered.

    `fields` has the headers by their names in lower case. Implements what is used of
    `twisted.web.iweb.IResponse`, and is the transport of the protocol that reads the body.
    """

    def __init__(
        self, code: int, fields: list[tuple[bytes, bytes]], connection: _Connection
    ) -> None:
        self.code = code
        self.fields = fields
        self._connection: _Connection | None = connection
        self._headers: Headers | None = None

    @property
    def headers(self) -> Headers:
        """The headers."""
        if self._headers is None:
            self._headers = Headers()
            for name, value in self.fields:
                self._headers.addRawHeader(name, value)
        return self._headers

    def deliverBody(self, protocol: Wrapped) -> None:
        """Deliver the body to `protocol`; see IResponse."""
        if self._connection is not None:
            self._connection.deliver(protocol, self)

    def loseConnection(self) -> None:
        """Close the connection at once, unless the body has ended: then it is no longer ours."""
        if self._connection is not None:
            self._connection.abort()

    def ended(self) -> None:
        """Let go of the connection."""
        self._connection = None


class _Transport(Protocol):
    """What is used of a TCP or TLS transport."""

    def write(self, data: bytes) -> None: ...
    def abortConnection(self) -> None: ...
    def pauseProducing(self) -> None: ...
    def resumeProducing(self) -> None: ...


class _Connection(BytesProtocol):
    """One connection, which answers one request at a time."""

    def __init__(self, idle: _Idle) -> None:
        self._idle = idle
        self._call: _Call | None = None
        self._head = b""
        self._head_bytes = 0
        self._body: Body | None = None
        self._response: Response | None = None
        self._reader: Wrapped = None
        self._early = b""
        """What arrived of a body before there was a reader."""
        self._is_persistent = self._is_aborted = False
        self._lost: Failure | None = None
        self.kept_until = 0.0

    def connectionMade(self) -> None:
        self._tcp = cast("_Transport", self.transport)

    def send(self, call: _Call, request: bytes) -> None:
        """Make a request."""
        self._call, self._head, self._head_bytes = call, b"", 0
        self._tcp.write(request)

    def abort(self) -> None:
        """Close the connection at once."""
        self._is_persistent, self._is_aborted = False, True
        self._tcp.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        if self._body is not None:
            self._read_body(data)
        elif self._call is not None:
            self._read_head(data)
        else:
            self.abort()  # nothing was asked

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lost = reason
        call, self._call = self._call, None
        if call is not None:
            call.lost(reason, began=self._head_bytes > 0)
        elif self._body is None:
            self._idle.remove(self)
        elif self._reader is not None:
            self._end_early(self._body, reason)

    # The head.

    def _read_head(self, data: bytes) -> None:
        self._head += data
        self._head_bytes += len(data)
        while (end := _HEAD_ENDS.search(self._head)) is not None:
            head, rest = self._head[: end.start()], self._head[end.end() :]
            status = _STATUS.match(head)
            if status is None or status[3] == b"101":
                break
            if not status[3].startswith(b"1"):
                if self._head_bytes - len(rest) > MAX_HEAD_BYTES:
                    break
                self._begin_body(status, head, rest)
                return
            self._head = rest
        if self._head_bytes > MAX_HEAD_BYTES:
            self._fail(f"the response head is longer than {MAX_HEAD_BYTES} bytes")
        elif end is not None or not b"HTTP/".startswith(self._head[:5]):
            self._fail("not an HTTP response")

    def _begin_body(self, status: re.Match[bytes], head: bytes, rest: bytes) -> None:
        fields = []
        for line in _FOLD.sub(b"", head).split(b"\n")[1:]:
            name, _, value = line.partition(b":")
            fields.append((name.strip().lower(), value.strip()))
        code = int(status[3])
        try:
            body = body_of(code, fields)
        except Malformed as error:
            self._fail(str(error))
            return
        says_close = any(
            b"close" in value.lower() for name, value in fields if name == b"connection"
        )
        self._is_persistent = (
            status[1] == b"1" and status[2] == b"1" and not says_close
        ) and not body.ends_with_connection
        call, self._call, self._body = self._call, None, body
        self._head = b""
        assert call is not None
        self._early = rest
        self._response = Response(code, fields, self)
        call.answered(self._response)
        if self._reader is None and self._body is body:
            self._tcp.pauseProducing()  # until there is a reader

    def _fail(self, why: str) -> None:
        call, self._call = self._call, None
        self.abort()
        if call is not None:
            call.failed(Failure(ResponseFailed([Failure(MalformedResponse(why))])))

    # The body.

    def deliver(self, reader: Wrapped, response: Response) -> None:
        """Deliver the body of `response` to `reader`."""
        self._reader = reader
        reader.makeConnection(response)
        early, self._early = self._early, b""
        if self._body is not None and (early or self._body.is_over):
            self._read_body(early)
        if self._lost is not None:
            if self._body is not None:
                self._end_early(self._body, self._lost)
        elif not self._is_aborted:
            self._tcp.resumeProducing()  # also for the next request

    def _read_body(self, data: bytes) -> None:
        body = self._body
        assert body is not None
        if self._reader is None:
            self._early += data
            return
        piece = body.feed(data)
        if piece:
            self._reader.dataReceived(piece)
        if self._body is not body:
            return  # the reader has closed the connection
        if body.wrong:
            self._body = None
            self.abort()
            self._end(Failure(ResponseFailed([Failure(MalformedResponse(body.wrong))])))
        elif body.is_over:
            self._body = None
            keeps = self._is_persistent and not body.rest and self._lost is None
            if not keeps:
                self.abort()
            self._end(Failure(ResponseDone()), keeps=keeps)

    def _end_early(self, body: Body, reason: Failure) -> None:
        """End a body because the connection is lost, which may be how it is meant to end."""
        self._body = None
        if body.ends_with_connection:
            self._end(Failure(PotentialDataLoss()))
        else:
            self._end(Failure(ResponseFailed([reason])))

    def _end(self, reason: Failure, *, keeps: bool = False) -> None:
        response, self._response = self._response, None
        reader, self._reader = self._reader, None
        if response is not None:
            response.ended()
        if keeps:
            self._idle.keep(self)
        if reader is not None:
            reader.connectionLost(reason)


class _Idle:
    """One server's idle connections; the one that was used last is used first."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._connections: list[_Connection] = []
        self._expiry: IDelayedCall | None = None

    def take(self) -> _Connection | None:
        """Return a connection to use, if there is one."""
        return self._connections.pop() if self._connections else None

    def keep(self, connection: _Connection) -> None:
        """Keep a connection for the next request."""
        if len(self._connections) >= KEPT_PER_SERVER:
            self._connections.pop(0).abort()
        connection.kept_until = self._reactor.seconds() + KEPT_FOR_S
        self._connections.append(connection)
        if self._expiry is None:
            self._expiry = self._reactor.callLater(KEPT_FOR_S, self._expire)

    def remove(self, connection: _Connection) -> None:
        """Forget a connection that was closed."""
        if connection in self._connections:
            self._connections.remove(connection)

    def close(self) -> None:
        """Close all of them."""
        connections, self._connections = self._connections, []
        for connection in connections:
            connection.abort()

    def _expire(self) -> None:
        self._expiry = None
        now = self._reactor.seconds()
        while self._connections and self._connections[0].kept_until <= now:
            self._connections.pop(0).abort()
        if self._connections:
            wait_s = self._connections[0].kept_until - now
            self._expiry = self._reactor.callLater(wait_s, self._expire)


class Server:
    """A server that requests are made to, at `endpoint`."""

    def __init__(self, reactor: Reactor, endpoint: IStreamClientEndpoint) -> None:
        self.endpoint = endpoint
        self.idle = _Idle(reactor)
        self.factory = Factory.forProtocol(lambda: _Connection(self.idle))
        self.factory.noisy = False

    def ask(self, request: bytes) -> Deferred[Response]:
        """Send `request`; fire with the response when its head has arrived.

        Cancelling closes the connection.

        Errs:
            ResponseNeverReceived: the connection was lost before the response began.
            ResponseFailed: the response is not HTTP.
            Exception: it could not be connected to.
        """
        return _Call(self, request).result


class _Call:
    """One request."""

    def __init__(self, server: Server, request: bytes) -> None:
        self._server = server
        self._request = request
        self._connecting: Deferred[Result] | None = None
        self._connection = server.idle.take()
        self._may_ask_again = self._connection is not None
        self.result: Deferred[Response] = Deferred(self._cancel)
        if self._connection is not None:
            self._connection.send(self, request)
        else:
            self._connect()

    def _connect(self) -> None:
        self._connecting = self._server.endpoint.connect(self._server.factory)
        self._connecting.addCallbacks(self._connected, self.failed)

    def _connected(self, connection: _Connection) -> None:
        self._connecting, self._connection = None, connection
        connection.send(self, self._request)

    def _cancel(self, _: object) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
        elif self._connection is not None:
            self._connection.abort()

    def answered(self, response: Response) -> None:
        """Pass on the response."""
        self.result.callback(response)

    def failed(self, reason: Failure) -> None:
        """Report a failure, unless the request was cancelled."""
        self._connecting = None
        if not self.result.called:
            self.result.errback(reason)

    def lost(self, reason: Failure, *, began: bool) -> None:
        """Ask again if that is safe, now that the connection is lost."""
        dead = reason.check(ConnectionDone, ConnectionLost) and not began
        if self._may_ask_again and dead and not self.result.called:
            self._may_ask_again = False
            self._server.idle.close()  # the others may be dead as well
            self._connect()
        elif began:
            self.failed(Failure(ResponseFailed([reason])))
        else:
            self.failed(Failure(ResponseNeverReceived([reason])))
