"""The limits of the HTTP server, on the wire."""

from __future__ import annotations

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.protocol import connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from wxgptd.process.connection import READ_DEADLINE_S
from wxgptd.process.site import MAX_BODY_BYTES, BoundedSite, Bounds
from wxgptd.service.root import Root


class Echo(Resource):
    isLeaf = True

    def render_POST(self, request):
        return b"%d" % len(request.content.read())

    def render_GET(self, request):
        return b"ok"


class Transport(StringTransport):
    def getHandle(self):
        return None

    def abortConnection(self):
        self.disconnecting = True
        self.aborted = True

    aborted = False


@pytest.fixture
def clock():
    return Clock()


def site(clock, bounds=Bounds(3, 2), **more):
    root = Resource()
    root.putChild(b"echo", Echo())
    server = BoundedSite(root, clock, bounds, **more)
    server.startFactory()
    return server


def connect(server, host="203.0.113.7"):
    protocol = server.buildProtocol(IPv4Address("TCP", host, 1))
    if protocol is None:
        return None, None
    transport = Transport()
    protocol.makeConnection(transport)
    return protocol, transport


def test_a_request_is_answered(clock):
    protocol, transport = connect(site(clock))
    protocol.dataReceived(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
    assert transport.value().startswith(b"HTTP/1.1 200 OK")
    assert transport.value().endswith(b"3")


def test_a_long_body_is_rejected_before_it_is_read(clock):
    protocol, transport = connect(site(clock))
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1)
    protocol.dataReceived(head)
    assert transport.value().startswith(b"HTTP/1.1 413")
    assert transport.disconnecting


def test_a_chunked_body_is_rejected_once_it_is_too_long(clock):
    protocol, transport = connect(site(clock))
    protocol.dataReceived(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(70):
        if transport.disconnecting:
            break
        protocol.dataReceived(b"400\r\n" + b"x" * 1_024 + b"\r\n")
    assert transport.value().startswith(b"HTTP/1.1 413")
    assert transport.value().count(b"HTTP/1.1") == 1
    protocol.connectionLost(connectionDone)


def test_a_request_that_trickles_in_is_cut_off(clock):
    protocol, transport = connect(site(clock))
    for byte in b"POST /echo HTTP/1.1\r\n":
        protocol.dataReceived(bytes([byte]))
        clock.advance(0.45)
    protocol.dataReceived(b"Host: x\r\n")
    clock.pump([1.0] * int(READ_DEADLINE_S))
    assert transport.disconnecting


def test_a_silent_connection_is_cut_off(clock):
    _, transport = connect(site(clock))
    clock.pump([1.0] * int(READ_DEADLINE_S + 1))
    assert transport.disconnecting


def test_every_request_on_a_connection_has_its_own_deadline(clock):
    protocol, transport = connect(site(clock))
    get = b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n"
    protocol.dataReceived(get)
    clock.pump([1.0] * int(READ_DEADLINE_S + 5))
    assert not transport.disconnecting, "a connection may be idle between requests"
    protocol.dataReceived(get)
    assert transport.value().count(b"200 OK") == 2
    protocol.dataReceived(get[:10])
    clock.pump([1.0] * int(READ_DEADLINE_S + 1))
    assert transport.disconnecting


def test_a_peer_that_does_not_read_its_response_is_cut_off(clock):
    protocol, transport = connect(site(clock))
    transport.loseConnection = lambda: None  # as if it waited for the peer to read
    protocol.dataReceived(b"GET /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    clock.pump([1.0] * 61)
    assert transport.aborted


class Open(Resource):
    """A page whose response never ends."""

    isLeaf = True

    def render_GET(self, request):
        request.write(b"...")
        return NOT_DONE_YET


GET_OPEN = b"GET /open HTTP/1.1\r\nHost: x\r\n\r\n"


def test_connections_are_limited_per_address_and_in_total(clock):
    server = site(clock)
    server.resource.putChild(b"open", Open())

    def busy(host):
        protocol, transport = connect(server, host)
        if protocol is not None:
            protocol.dataReceived(GET_OPEN)
        return protocol, transport

    first = busy("203.0.113.1")
    busy("203.0.113.1")
    assert busy("203.0.113.1") == (None, None)
    busy("203.0.113.2")
    assert busy("203.0.113.3") == (None, None)
    first[0].connectionLost(connectionDone)
    assert busy("203.0.113.3") != (None, None)


def test_a_local_reverse_proxy_may_use_every_connection(clock):
    server = site(clock)
    for _ in range(3):
        assert connect(server, "127.0.0.1") != (None, None)
    assert len(server._open) == 3


# Readers.

GET_PAGE = b"GET /a/x HTTP/1.1\r\nHost: x\r\n\r\n"


def site_with_seats(clock, seats=4, **more):
    root = Resource()
    root.putChild(b"a", Open())
    root.putChild(b"echo", Echo())
    server = BoundedSite(
        root,
        clock,
        Bounds(seats, seats),
        reserved=lambda path: path == b"/echo",
        **more,
    )
    server.startFactory()
    return server


@pytest.mark.parametrize("path", [b"/a/x", b"/%61/x"])
def test_a_page_needs_a_seat_however_its_path_is_encoded(clock, path):
    server = site_with_seats(clock)
    statuses = []
    for _ in range(4):
        protocol, transport = connect(server)
        protocol.dataReceived(GET_PAGE.replace(b"/a/x", path))
        statuses.append(int(transport.value().split(b" ")[1]))
    assert statuses == [200, 200, 200, 503]


def test_pipelined_requests_do_not_fill_memory(clock):
    protocol, transport = connect(site(clock))
    written = []

    def write(data):
        written.append(data)
        if sum(map(len, written)) > 2_000:  # as a real transport does beyond 64 KiB
            transport.producer.pauseProducing()

    transport.write = write
    transport.writeSequence = lambda pieces: write(b"".join(pieces))
    protocol.dataReceived(b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n" * 5_000)
    assert sum(map(len, written)) < 10_000
    assert transport.disconnecting


def test_some_connections_are_reserved_for_webhooks(clock):
    full = []
    server = site_with_seats(clock, full=full.append)
    for _ in range(3):
        protocol, transport = connect(server)
        protocol.dataReceived(GET_PAGE)
        assert b" 200 OK" in transport.value()
    protocol, transport = connect(server)
    protocol.dataReceived(GET_PAGE)
    assert b" 503 " in transport.value()
    assert full == ["readers"]
    protocol.connectionLost(connectionDone)
    protocol, transport = connect(server)
    protocol.dataReceived(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na")
    assert b" 200 OK" in transport.value()


def test_a_reader_that_disconnects_frees_a_seat(clock):
    server = site_with_seats(clock)
    readers = [connect(server)[0] for _ in range(3)]
    for protocol in readers:
        protocol.dataReceived(GET_PAGE)
    readers[0].connectionLost(connectionDone)
    protocol, transport = connect(server)
    protocol.dataReceived(GET_PAGE)
    assert b" 200 OK" in transport.value()


def test_an_idle_connection_gives_way_to_a_new_one(clock):
    server = site(clock)
    idle, idle_transport = connect(server, "127.0.0.1")
    idle.dataReceived(b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n")
    clock.advance(0.1)
    for _ in range(2):
        connect(server, "127.0.0.1")
    protocol, transport = connect(server, "127.0.0.1")
    assert idle_transport.aborted
    protocol.dataReceived(b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b" 200 OK" in transport.value()
    idle.connectionLost(connectionDone)
    assert len(server._open) == 3


def test_the_connection_that_was_silent_longest_gives_way_first(clock):
    server = site(clock)
    silent = connect(server, "127.0.0.1")[1]
    clock.advance(0.1)
    others = [connect(server, "127.0.0.1") for _ in range(2)]
    for protocol, _ in others:
        protocol.dataReceived(b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n")
    connect(server, "127.0.0.1")
    assert silent.aborted
    assert not any(transport.aborted for _, transport in others)


def test_the_oldest_silent_connection_gives_way_to_a_new_one(clock):
    server = site(clock)
    silent = []
    for _ in range(3):
        silent.append(connect(server, "127.0.0.1"))
        clock.advance(0.1)
    protocol, transport = connect(server, "127.0.0.1")
    assert [transport.aborted for _, transport in silent] == [True, False, False], (
        "not the oldest was cut off"
    )
    protocol.dataReceived(b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b" 200 OK" in transport.value()


def test_a_pipelined_stream_takes_a_seat(clock):
    server = site_with_seats(clock)
    requests = []

    class Poll(Resource):
        isLeaf = True

        def render_GET(self, request):
            requests.append(request)
            return NOT_DONE_YET

    server.resource.putChild(b"poll", Poll())
    for _ in range(3):
        protocol, _ = connect(server)
        protocol.dataReceived(GET_PAGE.replace(b"/a/x", b"/poll") + GET_PAGE)
    for request in requests:
        request.finish()
    assert server._reading == 3


def test_a_webhook_is_found_only_by_its_exact_path():
    webhook = object()
    root = Root({b"/wx/main": webhook}, {}, not_found=lambda request: b"not found\n")

    class Request:
        def __init__(self, path):
            self.path = path

    assert root.getChild(b"wx", Request(b"/wx/main")).webhook is webhook
    assert root.webhook(b"/wx/main") is webhook
    for path in (b"/wx", b"/wx/main/", b"/wx/main/x", b"/wx/other"):
        assert not hasattr(root.getChild(b"wx", Request(path)), "webhook")
        assert root.webhook(path) is None
