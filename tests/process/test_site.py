"""The HTTP server's bounds, on the wire."""

from __future__ import annotations

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.protocol import connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from wxgptd.process.channel import READ_DEADLINE_S
from wxgptd.process.site import MAX_BODY_BYTES, BoundedSite, Bounds
from wxgptd.service.root import Root


class Echo(Resource):
    isLeaf = True

    def render_POST(self, request):
        return b"%d" % len(request.content.read())

    def render_GET(self, request):
        return b"ok"


class Transport(StringTransport):
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


def test_a_long_body_is_refused_before_it_is_read(clock):
    protocol, transport = connect(site(clock))
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1)
    protocol.dataReceived(head)
    assert transport.value().startswith(b"HTTP/1.1 413")
    assert transport.disconnecting


def test_a_chunked_body_is_refused_when_it_gets_too_long(clock):
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


def test_a_connection_that_says_nothing_is_cut_off(clock):
    _, transport = connect(site(clock))
    clock.pump([1.0] * int(READ_DEADLINE_S + 1))
    assert transport.disconnecting


def test_a_second_request_on_a_connection_has_a_deadline_of_its_own(clock):
    protocol, transport = connect(site(clock))
    get = b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n"
    protocol.dataReceived(get)
    clock.pump([1.0] * int(READ_DEADLINE_S + 5))
    assert not transport.disconnecting, "between requests a connection may rest"
    protocol.dataReceived(get)
    assert transport.value().count(b"200 OK") == 2
    protocol.dataReceived(get[:10])
    clock.pump([1.0] * int(READ_DEADLINE_S + 1))
    assert transport.disconnecting


def test_a_peer_that_does_not_take_its_response_is_cut_off(clock):
    protocol, transport = connect(site(clock))
    transport.loseConnection = lambda: None  # which waits for the peer to read
    protocol.dataReceived(b"GET /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    clock.pump([1.0] * 61)
    assert transport.aborted


class Open(Resource):
    """A page that goes on."""

    isLeaf = True

    def render_GET(self, request):
        request.write(b"...")
        return NOT_DONE_YET


GET_OPEN = b"GET /open HTTP/1.1\r\nHost: x\r\n\r\n"


def test_connections_are_bounded_by_address_and_in_all(clock):
    server = site(clock)
    server.resource.putChild(b"open", Open())

    def busy(host):
        protocol, transport = connect(server, host)
        if protocol is not None:
            protocol.dataReceived(GET_OPEN)
        return protocol, transport

    one = busy("203.0.113.1")
    busy("203.0.113.1")
    assert busy("203.0.113.1") == (None, None)
    busy("203.0.113.2")
    assert busy("203.0.113.3") == (None, None)
    one[0].connectionLost(connectionDone)
    assert busy("203.0.113.3") != (None, None)


def test_a_reverse_proxy_on_this_machine_may_have_as_many_as_there_are(clock):
    server = site(clock)
    for _ in range(3):
        assert connect(server, "127.0.0.1") != (None, None)
    assert len(server._channels) == 3


# Readers.

GET_PAGE = b"GET /a/x HTTP/1.1\r\nHost: x\r\n\r\n"


def reading_room(clock, seats=4, **more):
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
def test_however_a_page_is_spelt_it_needs_a_seat(clock, path):
    server = reading_room(clock)
    statuses = []
    for _ in range(4):
        protocol, transport = connect(server)
        protocol.dataReceived(GET_PAGE.replace(b"/a/x", path))
        statuses.append(int(transport.value().split(b" ")[1]))
    assert statuses == [200, 200, 200, 503]


def test_requests_that_are_sent_ahead_fill_no_memory(clock):
    protocol, transport = connect(site(clock))
    written = []

    def write(data):
        written.append(data)
        if sum(map(len, written)) > 2_000:  # as a real one does beyond 64 KiB
            protocol.pauseProducing()

    transport.write = write
    transport.writeSequence = lambda pieces: write(b"".join(pieces))
    protocol.dataReceived(b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n" * 5_000)
    assert sum(map(len, written)) < 10_000
    assert transport.disconnecting


def test_some_connections_are_kept_for_webhooks(clock):
    full = []
    server = reading_room(clock, full=full.append)
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


def test_who_stops_reading_makes_room_for_another(clock):
    server = reading_room(clock)
    readers = [connect(server)[0] for _ in range(3)]
    for protocol in readers:
        protocol.dataReceived(GET_PAGE)
    readers[0].connectionLost(connectionDone)
    protocol, transport = connect(server)
    protocol.dataReceived(GET_PAGE)
    assert b" 200 OK" in transport.value()


def test_a_connection_that_rests_gives_way_to_one_that_asks(clock):
    server = site(clock)
    rested, its_transport = connect(server, "127.0.0.1")
    rested.dataReceived(b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n")
    clock.advance(0.1)
    for _ in range(2):
        connect(server, "127.0.0.1")
    protocol, transport = connect(server, "127.0.0.1")
    assert its_transport.aborted
    protocol.dataReceived(b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b" 200 OK" in transport.value()
    rested.connectionLost(connectionDone)
    assert len(server._channels) == 3


def test_a_response_just_sent_is_not_cut_off_for_who_has_been_silent_longer(clock):
    server = site(clock)
    silent = connect(server, "127.0.0.1")[1]
    clock.advance(0.1)
    others = [connect(server, "127.0.0.1") for _ in range(2)]
    for protocol, _ in others:
        protocol.dataReceived(b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n")
    connect(server, "127.0.0.1")
    assert silent.aborted
    assert not any(transport.aborted for _, transport in others)


def test_connections_that_say_nothing_give_way_to_one_that_asks(clock):
    server = site(clock)
    silent = []
    for _ in range(3):
        silent.append(connect(server, "127.0.0.1"))
        clock.advance(0.1)
    protocol, transport = connect(server, "127.0.0.1")
    assert [one[1].aborted for one in silent] == [True, False, False], "the oldest"
    protocol.dataReceived(b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b" 200 OK" in transport.value()


def test_a_stream_that_was_asked_for_ahead_takes_a_seat(clock):
    server = reading_room(clock)
    held = []

    class Poll(Resource):
        isLeaf = True

        def render_GET(self, request):
            held.append(request)
            return NOT_DONE_YET

    server.resource.putChild(b"poll", Poll())
    for _ in range(3):
        protocol, _ = connect(server)
        protocol.dataReceived(GET_PAGE.replace(b"/a/x", b"/poll") + GET_PAGE)
    for request in held:
        request.finish()
    assert server._reading == 3


def test_a_webhook_is_found_by_its_whole_path_and_by_no_other():
    webhook = Resource()
    root = Root({b"/wx/main": webhook}, {}, ready=lambda: True)

    class Request:
        def __init__(self, path):
            self.path = path

    assert root.getChild(b"wx", Request(b"/wx/main")) is webhook
    for path in (b"/wx", b"/wx/main/", b"/wx/main/x", b"/wx/other"):
        assert root.getChild(b"wx", Request(path)) is not webhook
