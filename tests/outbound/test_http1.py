"""Responses are read as Twisted's own client reads them, and connections are kept."""

from __future__ import annotations

import random

import pytest
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web._newclient import HTTP11ClientProtocol
from twisted.web._newclient import Request as TwistedRequest
from twisted.web.client import ResponseDone, ResponseFailed, ResponseNeverReceived
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers

from wxgptd.outbound.http1 import KEPT_FOR_S, KEPT_PER_SERVER, MAX_HEAD_BYTES, Server

REQUEST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Transport(StringTransport):
    aborted = False

    def abortConnection(self):
        self.aborted = self.disconnecting = True


class Collect(Protocol):
    def __init__(self) -> None:
        self.body = b""
        self.ended: type[Exception] | None = None

    def dataReceived(self, data):
        assert self.ended is None
        self.body += data

    def connectionLost(self, reason):
        assert self.ended is None, "a body ends once"
        self.ended = reason.type


class World:
    """A server, its connections, and the endpoint that leads there."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.connections: list = []
        self.fails: Exception | None = None
        self.pending: list[Deferred] = []
        self.slow = False
        self.cancelled = 0
        self.server = Server(self.clock, self)

    def connect(self, factory):
        if self.slow:
            result: Deferred = Deferred(self._cancel)
            self.pending.append(result)
            return result
        if self.fails is not None:
            return Deferred().errback(self.fails)
        protocol, transport = factory.buildProtocol(None), Transport()
        protocol.makeConnection(transport)
        self.connections.append((protocol, transport))
        return succeed(protocol)

    def _cancel(self, _):
        self.cancelled += 1

    def ask(self, request=REQUEST):
        outcomes: list = []
        deferred = self.server.ask(request)
        deferred.addBoth(outcomes.append)
        return outcomes, deferred

    def receive(self, data: bytes, number: int = -1):
        self.connections[number][0].dataReceived(data)

    def close(self, number: int = -1, error: Exception | None = None):
        self.connections[number][0].connectionLost(Failure(error or ConnectionDone()))


def ours(pieces: list[bytes], *, closes: bool):
    """Return the code, headers, body and end of a response."""
    world = World()
    outcomes, _ = world.ask()
    reader = Collect()
    for piece in pieces:
        if world.connections[0][1].disconnecting:
            break
        world.receive(piece)
        if outcomes and not isinstance(outcomes[0], Failure) and reader.transport is None:
            outcomes[0].deliverBody(reader)
    if closes or world.connections[0][1].disconnecting:
        world.close()
    return result(outcomes, reader)


def theirs(pieces: list[bytes], *, closes: bool):
    """Return the same for Twisted's client."""
    protocol, transport = HTTP11ClientProtocol(), Transport()
    protocol.makeConnection(transport)
    outcomes: list = []
    request = TwistedRequest(b"POST", b"/", Headers({b"host": [b"x"]}), None)
    protocol.request(request).addBoth(outcomes.append)
    reader = Collect()
    for piece in pieces:
        if transport.disconnecting:
            break
        protocol.dataReceived(piece)
        if outcomes and not isinstance(outcomes[0], Failure) and reader.transport is None:
            outcomes[0].deliverBody(reader)
    if closes or transport.disconnecting:
        protocol.connectionLost(Failure(ConnectionDone()))
    return result(outcomes, reader)


def result(outcomes, reader):
    if not outcomes:
        return "nothing"
    response = outcomes[0]
    if isinstance(response, Failure):
        return response.type
    headers = {name.lower(): values for name, values in response.headers.getAllRawHeaders()}
    for framing in (b"content-length", b"transfer-encoding", b"connection"):
        headers.pop(framing, None)  # Twisted keeps these apart
    return response.code, headers, reader.body, reader.ended


RESPONSES = {
    "counted": OK,
    "counted, nothing": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n3;a=b\r\n...\r\n0\r\n\r\n",
    "trailers": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX: y\r\n\r\n",
    "until it closes": b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nok",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\nok",
    "HTTP/1.0 counted": b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "close": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
    "no reason": b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok",
    "empty reason": b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok",
    "continue": b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
    "hints": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nLink: </b>\r\n\r\n" + OK,
    "LF": OK.replace(b"\r\n", b"\n"),
    "folded": b"HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\n\td\r\nContent-Length: 2\r\n\r\nok",
    "no space": b"HTTP/1.1 200 OK\r\nContent-Length:2\r\nX-A:b\r\n\r\nok",
    "spaces": b"HTTP/1.1 200 OK\r\nContent-Length:   2  \r\nX-A: \t b c \r\n\r\nok",
    "204": b"HTTP/1.1 204 No Content\r\nX: y\r\n\r\n",
    "304": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n",
    "500": b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops",
    "twice a header": b"HTTP/1.1 200 OK\r\nX: a\r\nx: b\r\nContent-Length: 2\r\n\r\nok",
    "cut off": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
    "chunk cut off": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nok",
    "before a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
    "last chunk only": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n",
    "malformed chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n",
    "long chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokay\r\n0\r\n\r\n",
    "nothing": b"",
}


@pytest.mark.parametrize("closes", [False, True])
@pytest.mark.parametrize("data", RESPONSES.values(), ids=RESPONSES)
def test_a_response_is_read_as_by_twisted(data, closes):
    for seed in range(12):
        source, pieces, rest = random.Random(seed), [], data
        while rest:
            size = source.choice([1, 3, 10, 40]) if seed else len(rest)
            pieces.append(rest[:size])
            rest = rest[size:]
        assert ours(pieces, closes=closes) == theirs(pieces, closes=closes)


@pytest.mark.parametrize(
    "data",
    [b"SSH-2.0-OpenSSH\r\n", b"<html>", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 2000 OK\r\n\r\n", b"ICY 200 OK\r\n\r\n",
     b"HTTP/1.1 101 Switching Protocols\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", b"\r\n\r\n",
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"],
)  # fmt: skip
def test_anything_else_is_an_error(data):
    assert ours([data], closes=False) is ResponseFailed
    assert ours([bytes([byte]) for byte in data], closes=False) is ResponseFailed


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000,
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 5_000,
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 2 * MAX_HEAD_BYTES,
    ],
)
def test_a_head_is_bounded(data):
    for size in (1_000, len(data)):
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        assert ours(pieces, closes=False) is ResponseFailed


def answered(world: World, data: bytes = OK) -> Collect:
    """Ask, and read the whole response."""
    outcomes, _ = world.ask()
    world.receive(data)
    reader = Collect()
    outcomes[0].deliverBody(reader)
    return reader


def test_a_connection_is_used_again():
    world = World()
    assert answered(world).body == b"ok"
    assert answered(world).ended is ResponseDone
    assert len(world.connections) == 1


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nConnection: Keep-Alive, Close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        OK + b"more",
    ],
)
def test_a_connection_that_cannot_be_used_again_is_closed(data):
    world = World()
    assert answered(world, data).body == b"ok"
    assert world.connections[0][1].aborted
    world.close()
    answered(world)
    assert len(world.connections) == 2


def test_an_idle_connection_is_closed_in_time():
    world = World()
    answered(world)
    world.clock.advance(KEPT_FOR_S - 1)
    answered(world)
    world.clock.advance(KEPT_FOR_S - 1)
    assert not world.connections[0][1].aborted
    world.clock.advance(2)
    assert world.connections[0][1].aborted
    assert world.clock.getDelayedCalls() == []


def test_an_idle_connection_that_is_closed_or_that_talks_is_not_used():
    world = World()
    answered(world)
    world.close()
    answered(world)
    assert len(world.connections) == 2
    world.receive(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    assert world.connections[1][1].aborted
    world.close()
    answered(world)
    assert len(world.connections) == 3


def test_only_so_many_connections_are_kept():
    world = World()
    waiting = [world.ask()[0] for _ in range(KEPT_PER_SERVER + 3)]
    for number, outcomes in enumerate(waiting):
        world.receive(OK, number)
        outcomes[0].deliverBody(Collect())
    closed = [transport.aborted for _, transport in world.connections]
    assert closed == [True] * 3 + [False] * KEPT_PER_SERVER


def test_a_request_lost_with_a_kept_connection_is_made_once_more():
    world = World()
    answered(world)
    outcomes, _ = world.ask()
    world.close(error=ConnectionLost())
    assert not outcomes
    assert len(world.connections) == 2
    assert world.connections[1][1].value() == REQUEST
    world.close()
    assert outcomes[0].type is ResponseNeverReceived
    assert len(world.connections) == 2


@pytest.mark.parametrize(
    ("kept", "received", "error", "failure"),
    [
        (True, b"H", ConnectionDone(), ResponseFailed),
        (True, b"HTTP/1.1 103 Early Hints\r\n\r\n", ConnectionDone(), ResponseFailed),
        (True, b"HTTP/1.1 100 \r\n\r\n", ConnectionLost(), ResponseFailed),
        (True, b"", RuntimeError("a certificate"), ResponseNeverReceived),
        (False, b"", ConnectionDone(), ResponseNeverReceived),
    ],
)
def test_no_other_request_is(kept, received, error, failure):
    world = World()
    if kept:
        answered(world)
    outcomes, _ = world.ask()
    if received:
        world.receive(received)
    world.close(error=error)
    assert outcomes[0].type is failure
    assert len(world.connections) == 1


def test_a_cancelled_request_closes_its_connection():
    world = World()
    outcomes, deferred = world.ask()
    deferred.cancel()
    assert outcomes[0].type is CancelledError
    assert world.connections[0][1].aborted
    world.close()
    assert len(world.connections) == 1


def test_a_cancelled_request_is_not_made_again():
    world = World()
    answered(world)
    _, deferred = world.ask()
    deferred.cancel()
    world.close()
    assert len(world.connections) == 1


def test_a_request_can_be_cancelled_while_it_connects():
    world = World()
    world.slow = True
    outcomes, deferred = world.ask()
    deferred.cancel()
    assert world.cancelled == 1
    assert outcomes[0].type is CancelledError


def test_a_body_waits_for_its_reader():
    world = World()
    outcomes, _ = world.ask()
    world.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\no")
    transport = world.connections[0][1]
    assert transport.producerState == "paused"
    world.receive(b"k")  # was already on its way
    reader = Collect()
    outcomes[0].deliverBody(reader)
    assert transport.producerState == "producing"
    world.receive(b"!?")
    assert reader.body == b"ok!?"
    assert reader.ended is ResponseDone


@pytest.mark.parametrize(
    ("head", "ending"),
    [(b"", PotentialDataLoss), (b"Content-Length: 9\r\n", ResponseFailed)],
)
def test_a_body_whose_connection_was_closed_still_reaches_its_reader(head, ending):
    world = World()
    outcomes, _ = world.ask()
    world.receive(b"HTTP/1.1 200 OK\r\n" + head + b"\r\nok")
    world.close()
    reader = Collect()
    outcomes[0].deliverBody(reader)
    assert reader.body == b"ok"
    assert reader.ended is ending


def test_a_reader_that_stops_closes_the_connection():
    world = World()
    outcomes, _ = world.ask()
    world.receive(b"HTTP/1.1 200 OK\r\n\r\nok")
    reader = Collect()
    outcomes[0].deliverBody(reader)
    reader.transport.loseConnection()
    assert world.connections[0][1].aborted


def test_a_reader_that_stops_late_does_not_close_the_next_ones_connection():
    world = World()
    first = answered(world)
    world.ask()
    first.transport.loseConnection()
    assert not world.connections[0][1].aborted


def test_a_connection_whose_body_was_read_late_is_read_again():
    world = World()
    outcomes, _ = world.ask()
    world.receive(OK)
    transport = world.connections[0][1]
    assert transport.producerState == "paused"
    outcomes[0].deliverBody(Collect())
    assert transport.producerState == "producing"
    assert answered(world).body == b"ok"
    assert len(world.connections) == 1


def test_a_connection_closed_by_its_reader_is_not_kept():
    class Closing(Collect):
        def dataReceived(self, data):
            super().dataReceived(data)
            self.transport.loseConnection()

    world = World()
    outcomes, _ = world.ask()
    world.receive(OK)
    outcomes[0].deliverBody(Closing())
    world.ask()
    assert len(world.connections) == 2
