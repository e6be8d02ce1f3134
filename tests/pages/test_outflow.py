"""Stalled readers cost a few kilobytes each, and are soon disconnected."""

from __future__ import annotations

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from wxgptd.pages.outflow import PIECE_BYTES, STALLED_S, send_all
from wxgptd.pages.render_queue import TooBusy
from wxgptd.pages.unsent import MAX_BYTES, MAX_BYTES_PER_OWNER, Unsent
from wxgptd.process.site import BoundedSite, Bounds

BODY = bytes(range(256)) * 4_000


class Transport(StringTransport):
    """Pauses its producer after `limit` bytes, until the test calls `take`."""

    limit = 64 * 1024
    aborted = False

    def write(self, data):
        super().write(data)
        if self.producer is not None and len(self.value()) - self.taken > self.limit:
            self.producer.pauseProducing()

    taken = 0

    def take(self):
        self.taken = len(self.value())
        if self.producer is not None:
            self.producer.resumeProducing()

    def abortConnection(self):
        self.aborted = True


class Page(Resource):
    isLeaf = True

    def __init__(self, clock):
        super().__init__()
        self._clock = clock
        self.sent: list[str] = []

    def render_GET(self, request):
        request.setHeader("Content-Length", str(len(BODY)))
        sending = Deferred.fromCoroutine(send_all(request, BODY, self._clock))
        request.notifyFinish().addErrback(lambda _: sending.cancel())
        sending.addCallbacks(
            lambda _: (self.sent.append("all"), request.finish()),
            lambda _: self.sent.append("left"),
        )
        return NOT_DONE_YET


class Reader:
    def __init__(self) -> None:
        self.clock = Clock()
        self.page = Page(self.clock)
        site = BoundedSite(self.page, self.clock, Bounds(3, 3))
        site.startFactory()
        self.channel = site.buildProtocol(IPv4Address("TCP", "203.0.113.7", 1))
        self.transport = Transport()
        self.channel.makeConnection(self.transport)
        self.channel.dataReceived(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")


@pytest.fixture
def reader():
    return Reader()


def test_a_stalled_reader_does_not_buffer_the_whole_page(reader):
    assert len(reader.transport.value()) <= reader.transport.limit + 2 * PIECE_BYTES
    assert reader.page.sent == []


def test_a_slow_reader_gets_the_complete_page(reader):
    for _ in range(100):
        reader.transport.take()
    assert reader.page.sent == ["all"]
    assert reader.transport.value().endswith(BODY)


def test_a_reader_stalled_for_a_minute_is_disconnected(reader):
    reader.clock.advance(STALLED_S - 1)
    assert not reader.transport.aborted
    reader.clock.advance(2)
    assert reader.transport.aborted


def test_a_reader_that_keeps_reading_stays_connected(reader):
    for _ in range(5):
        reader.clock.advance(STALLED_S - 1)
        reader.transport.take()
    assert not reader.transport.aborted


def test_a_reader_that_disconnects_is_forgotten(reader):
    reader.channel.connectionLost(Failure(ConnectionDone()))
    assert reader.page.sent == ["left"]
    reader.clock.advance(2 * STALLED_S)
    assert not reader.transport.aborted


def test_unsent_bytes_are_limited_per_link_and_in_total():
    unsent = Unsent()
    with unsent.counted("a", MAX_BYTES_PER_OWNER):
        with pytest.raises(TooBusy), unsent.counted("a", 1):
            pass
        with unsent.counted("b", 1):
            assert unsent.bytes == MAX_BYTES_PER_OWNER + 1
        with pytest.raises(TooBusy), unsent.counted("c", MAX_BYTES):
            pass
    assert unsent.bytes == 0
    with unsent.counted("a", 1):
        pass
