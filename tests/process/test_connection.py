"""A webhook's POST that arrived whole is answered as twisted.web would have answered it."""

from __future__ import annotations

import random
import re
import socket

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from wxgptd.ports.wechat import Forward, Ignore, Say, Silence
from wxgptd.process import whole_post
from wxgptd.process.connection import EAGER_BYTES, IDLE_TIMEOUT_S
from wxgptd.process.site import BoundedSite, Bounds
from wxgptd.service.root import Root
from wxgptd.wechat import signature
from wxgptd.wechat.forwarding import BackendReply
from wxgptd.wechat.signature import Freshness
from wxgptd.wechat.webhook import Credentials, Onward, Webhook

TOKEN = "token"
MESSAGE = (
    "<xml><ToUserName>gh_1</ToUserName><FromUserName>oUser</FromUserName>"
    "<CreateTime>1700000000</CreateTime><MsgType>text</MsgType><Content>%s</Content>"
    "<MsgId>%d</MsgId></xml>"
)


def signed(nonce: int) -> bytes:
    digest = signature.sign(TOKEN, "1700000000", str(nonce))
    return f"timestamp=1700000000&nonce={nonce}&signature={digest}".encode()


SIGNED = signed(7)


def body(text: str = "你好", number: int = 1) -> bytes:
    return (MESSAGE % (text, number)).encode()


def message(number: int) -> bytes:
    """Return another message, with a signature of its own."""
    return post(data=body("再", number), query=signed(number))


def post(
    *more: bytes,
    data: bytes | None = None,
    query: bytes = SIGNED,
    version: bytes = b"HTTP/1.1",
    path: bytes = b"/wx/main",
    length: bytes | None = None,
) -> bytes:
    data = body() if data is None else data
    length = b"Content-Length: %d" % len(data) if length is None else length
    lines = [b"POST %b?%b %b" % (path, query, version), b"Host: x", *more, length, b"", b""]
    return b"\r\n".join(line for line in lines[:-2] if line) + b"\r\n\r\n" + data


class Transport(StringTransport):
    aborted = False
    paused = False

    def abortConnection(self):
        self.disconnecting = self.aborted = True

    handle: socket.socket | None = None

    def getHandle(self):
        return self.handle

    def pauseProducing(self):
        self.paused = True

    def resumeProducing(self):
        self.paused = False


class World:
    """A site with one webhook, whose attempts end as the test says."""

    def __init__(self, outcome=None) -> None:
        self.clock = Clock()
        self.outcome = outcome
        self.attempts: list = []
        self.contents: list = []
        self.cancelled = 0
        self.forwarded: list = []
        self.channels = 0
        webhook = Webhook(
            Credentials("main", TOKEN, "", []),
            self,
            freshness=Freshness(lambda: 1_700_000_000.0, 0.0),
            onward=Onward(self._forward, self._forward),
            secret=b"s" * 32,
            rejected=lambda account, kind: None,
        )
        pages = Resource()
        pages.isLeaf = True
        pages.render_GET = lambda request: b"a page"
        slow = Resource()
        slow.isLeaf = True
        self.slow: list = []
        slow.render_GET = lambda request: self.slow.append(request) or NOT_DONE_YET
        others = {b"page": pages, b"slow": slow}
        root = Root({b"/wx/main": webhook}, others, not_found=lambda request: b"not found\n")
        self.site = BoundedSite(root, self.clock, Bounds(9, 9), receiver=root.webhook)
        self.site.startFactory()
        make = self.site.channel

        def channel(*args):
            self.channels += 1
            return make(*args)

        self.site.channel = channel

    def attempt(self, user, delivery, content, sent_at, relay=None):
        self.contents.append(content)
        if self.outcome is not None:
            return succeed(self.outcome)
        attempt: Deferred = Deferred(self._cancel)
        self.attempts.append(attempt)
        return attempt

    def _cancel(self, _):
        self.cancelled += 1

    def _forward(self, url, original, arrived):
        headers = original.content_type, original.user_agent
        self.forwarded.append((original.query, original.body, headers))
        return succeed(BackendReply(b"text/xml", b"<xml/>"))

    def connect(self):
        protocol = self.site.buildProtocol(IPv4Address("TCP", "203.0.113.7", 1))
        transport = Transport()
        protocol.makeConnection(transport)
        return protocol, transport


def answered(data: bytes, outcome=Say("好"), *, whole: bool, closing: bool = False):
    """Return everything that a peer sees, and what reached the conversations and a backend."""
    world = World(outcome)
    protocol, transport = world.connect()
    world.site.closing = closing
    for part in (data,) if whole else (data[:9], data[9:]):
        if not transport.disconnecting:
            protocol.dataReceived(part)
    sent = re.sub(rb"Date: [^\r]*", b"Date: then", transport.value())
    # Without a response, the connection is already closed, so it does not matter.
    rests = None if isinstance(outcome, Silence) else (protocol.rests, protocol.due)
    return sent, transport.disconnecting, world.contents, world.forwarded, rests, world.channels


ORDINARY = {
    "keep-alive": post(b"Connection: keep-alive"),
    "HTTP/1.1": post(),
    "close": post(b"Connection: close"),
    "Close": post(b"CONNECTION:  Close "),
    "nginx": post(b"X-Real-IP: 1.2.3.4", b"Connection: close", version=b"HTTP/1.0"),
    "HTTP/1.0": post(version=b"HTTP/1.0"),
    "HTTP/1.0 keep-alive": post(b"Connection: keep-alive", version=b"HTTP/1.0"),
    "forged": post(query=SIGNED.replace(b"nonce=7", b"nonce=8")),
    "forged, close": post(b"Connection: close", query=b""),
    "malformed": post(data=b"<html></html>"),
    "empty": post(data=b""),
    "parameter twice": post(query=SIGNED + b"&nonce=7"),
    "semicolons": post(query=SIGNED.replace(b"&", b";")),
    "plus": post(query=SIGNED + b"&a=b+c&d=&e"),
    "question marks": post(query=SIGNED + b"&a=?&b=?"),
    "no content type": post(b"user-agent: WeChat"),
    "two user agents": post(b"User-Agent: a", b"user-agent: b", b"content-type: text/plain"),
    "spaces": post(length=b"content-length: \t%d \t" % len(body())),
}
OTHERS = {
    "no length": post(length=b""),
    "two lengths": post(b"Content-Length: %d" % len(body())),
    "two other lengths": post(b"content-length: 3"),
    "signed length": post(length=b"Content-Length: +%d" % len(body())),
    "lengths in a list": post(length=b"Content-Length: %d, 5" % len(body())),
    "chunked": post(b"Transfer-Encoding: chunked", length=b"", data=b"1\r\nx\r\n0\r\n\r\n"),
    "chunked and length": post(b"Transfer-Encoding: chunked"),
    "identity": post(b"Transfer-Encoding: identity"),
    "100 Continue": post(b"Expect: 100-continue"),
    "upgrade": post(b"Connection: upgrade", b"Upgrade: websocket"),
    "two connection headers": post(b"Connection: keep-alive", b"Connection: close"),
    "keep-alive and close": post(b"Connection: keep-alive, close"),
    "folded": post(b"X-A: b\r\n c"),
    "folded length": post(length=b"Content-Length:\r\n %d" % len(body())),
    "no colon": post(b"nothing"),
    "space before the colon": post(b"Content-Length : 3"),
    "NUL": post(b"X-A: \0"),
    "bare CR": post(b"X-A: b\rc"),
    "bare LF": post(b"X-A: b\nContent-Length: 3"),
    "percent": post(path=b"/wx/m%61in"),
    "elsewhere": post(path=b"/wx/other"),
    "slash": post(path=b"/wx/main/"),
    "absolute": post(path=b"http://x/wx/main"),
    "GET": post().replace(b"POST", b"GET"),
    "lower case": post().replace(b"POST", b"post"),
    "HTTP/2.0": post(version=b"HTTP/2.0"),
    "two spaces": post().replace(b"POST ", b"POST  "),
    "too long": post(data=b"x" * 70_000),
    "long head": post(b"X-A: " + b"a" * 9_000),
    "many headers": post(*[b"X-A: b"] * 100),
    "two requests": post() + message(2),
    "a request and a half": post() + post()[:30],
    "empty line first": b"\r\n" + post(),
}


@pytest.mark.parametrize("closing", [False, True])
@pytest.mark.parametrize(
    "outcome",
    [Say("好"), Say("]]>"), Ignore(), Silence(), Forward("http://backend.invalid/", 0.0)],
    ids=lambda outcome: type(outcome).__name__,
)
@pytest.mark.parametrize("data", ORDINARY.values(), ids=ORDINARY)
def test_a_whole_post_is_answered_as_by_twisted(data, outcome, closing):
    *directly, channels = answered(data, outcome, whole=True, closing=closing)
    assert channels == 0, "twisted.web was not needed"
    *by_twisted, _ = answered(data, outcome, whole=False, closing=closing)
    assert directly == by_twisted


@pytest.mark.parametrize("data", OTHERS.values(), ids=OTHERS)
def test_everything_else_is_left_to_twisted(data):
    *directly, channels = answered(data, whole=True)
    assert channels == 1
    *by_twisted, _ = answered(data, whole=False)
    assert directly == by_twisted


PIECES = (
    b"\r\n", b"\r", b"\n", b" ", b"\t", b":", b"\0", b"0", b"9", b"%", b"?", b"&", b";", b",",
    b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"HTTP/1.0",
    b"Expect: 100-continue\r\n", "好".encode(), b"\xff", b"\r\n\r\n", b"POST ", b"/",
)  # fmt: skip


@pytest.mark.parametrize("seed", range(60))
def test_an_altered_post_is_answered_as_by_twisted(seed):
    source = random.Random(seed)
    for _ in range(50):
        data = bytearray(source.choice(list(ORDINARY.values())))
        head = data.find(b"\r\n\r\n") + 4
        for _ in range(source.randint(1, 3)):
            at = source.randrange(head if source.random() < 0.9 else len(data))
            data[at : at + source.choice([0, 0, 1, 3])] = source.choice(PIECES)
        assert answered(bytes(data), whole=True)[:-2] == answered(bytes(data), whole=False)[:-2], (
            bytes(data)
        )


def test_the_mutants_reach_both_ways():
    source = random.Random(1)
    read = 0
    for _ in range(300):
        data = bytearray(post())
        data[source.randrange(len(data))] = source.randrange(256)
        read += whole_post.parse(bytes(data)) is not None
    assert 20 < read < 290


def test_a_peer_that_hangs_up_cancels_its_attempt():
    world = World()
    protocol, transport = world.connect()
    protocol.dataReceived(post())
    assert world.channels == 0
    protocol.connectionLost(connectionDone)
    assert world.cancelled == 1
    assert transport.value() == b""


def test_a_held_attempt_is_never_cut_off_and_an_idle_connection_is():
    world = World()
    protocol, transport = world.connect()
    protocol.dataReceived(post())
    world.clock.pump([1.0] * 100)
    assert not transport.aborted
    world.attempts[0].callback(Say("好"))
    world.clock.pump([1.0] * (int(IDLE_TIMEOUT_S) - 2))
    assert not transport.aborted
    world.clock.pump([1.0] * 4)
    assert transport.aborted


def test_the_next_request_waits_for_the_response_to_this_one():
    world = World()
    protocol, transport = world.connect()
    protocol.dataReceived(post())
    protocol.dataReceived(message(2)[:50])
    protocol.dataReceived(message(2)[50:])
    assert len(world.attempts) == 1
    world.attempts[0].callback(Say("first"))
    assert len(world.attempts) == 2
    assert b"first" in transport.value()
    world.attempts[1].callback(Say("second"))
    assert transport.value().index(b"first") < transport.value().index(b"second")
    assert world.channels == 0


def test_a_peer_that_sends_ahead_is_not_read_without_limit():
    world = World()
    protocol, transport = world.connect()
    protocol.dataReceived(post())
    many = b"".join(message(number) for number in range(2, 60))
    sent = 0
    while not transport.paused:
        protocol.dataReceived(many[sent : sent + 1_000])
        sent += 1_000
    assert sent < EAGER_BYTES + 2_000
    world.attempts[0].callback(Say("first"))
    assert not transport.paused
    assert len(world.attempts) == 2


def test_a_peer_that_does_not_read_is_sent_one_more_response():
    world = World(Say("好"))
    protocol, transport = world.connect()
    protocol.dataReceived(post())
    transport.producer.pauseProducing()  # 64 KiB of responses wait for it
    protocol.dataReceived(message(2))
    assert transport.disconnecting
    assert transport.producer is None, "with a producer, the transport would never close"


def test_posts_and_pages_share_a_connection():
    world = World(Say("好"))
    protocol, transport = world.connect()
    page = b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n"
    for number in range(3):
        protocol.dataReceived(message(number))
        protocol.dataReceived(page)
    assert transport.value().count(b"200 OK") == 6
    assert world.channels == 3, "none of the posts needed one"
    assert not transport.disconnecting


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_twisted_keeps_a_connection_on_which_part_of_the_next_request_has_arrived(cut):
    world = World(Say("好"))
    protocol, transport = world.connect()
    page = b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n"
    following = message(2)
    protocol.dataReceived(page + page + following[:cut])
    protocol.dataReceived(following[cut:])
    protocol.dataReceived(message(3))
    assert transport.value().count(b"200 OK") == 4
    assert world.channels == 1


def test_a_connection_with_part_of_a_request_is_cut_off():
    world = World(Say("好"))
    protocol, transport = world.connect()
    protocol.dataReceived(b"GET /page HTTP/1.1\r\nHost: x\r\n\r\nPOST /wx")
    protocol.dataReceived(b"/main HTTP/1.1\r\n")
    world.clock.pump([1.0] * 12)
    assert transport.aborted


def test_many_requests_in_one_read_do_not_exhaust_the_stack():
    world = World(Say("好"))
    protocol, transport = world.connect()
    protocol.dataReceived(b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n" * 3_000)
    assert transport.value().count(b"200 OK") == 3_000


def test_a_stopping_daemon_closes_resting_connections_and_answers_the_others():
    world = World()
    resting, resting_transport = world.connect()
    world.outcome = Say("好")
    resting.dataReceived(post())
    world.outcome = None
    held, held_transport = world.connect()
    held.dataReceived(message(2))
    world.site.close()
    assert resting_transport.disconnecting
    assert not held_transport.disconnecting
    world.attempts[0].callback(Say("最后"))
    assert b"Connection: close" in held_transport.value()
    assert held_transport.disconnecting


SLOW = b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"
PAGE = b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n"


def test_a_pipelined_request_that_takes_long_is_not_cut_off():
    world = World(Say("好"))
    protocol, transport = world.connect()
    protocol.dataReceived(PAGE + SLOW)
    assert not protocol.rests
    protocol.dataReceived(b"G")
    world.clock.pump([1.0] * 100)
    world.site.close()
    assert not transport.disconnecting
    world.slow[0].write(b"at last")
    world.slow[0].finish()
    assert b"at last" in transport.value()


def test_part_of_a_pipelined_request_has_the_deadline_of_a_request():
    world = World(Say("好"))
    protocol, transport = world.connect()
    protocol.dataReceived(PAGE + b"GET /pa")
    assert not protocol.rests
    assert world.site.arriving == 1
    world.clock.pump([1.0] * 12)
    assert transport.aborted


@pytest.mark.parametrize(
    "head",
    [b"Transfer-Encoding: chunked\r\n\r\n11001\r\n", b"Content-Length: 69633\r\n\r\n"],
)
@pytest.mark.parametrize("whole", [False, True])
def test_a_rejected_upload_is_cut_off_even_if_it_goes_on(head, whole):
    world = World(Say("好"))
    protocol, transport = world.connect()
    body = b"x" * 0x11001 + (b"\r\n0\r\n\r\n" if b"chunked" in head else b"")
    request = b"POST /x HTTP/1.1\r\nHost: x\r\n" + head + body
    for piece in [request] if whole else [request[:60], request[60:70_000], request[70_000:]]:
        protocol.dataReceived(piece)
    assert b" 413 " in transport.value()
    assert transport.disconnecting
    world.clock.pump([1.0] * (int(IDLE_TIMEOUT_S) + 2))
    assert transport.aborted


@pytest.mark.parametrize("last", ["close", "hang up", "stopping"])
def test_nothing_is_read_from_a_connection_that_is_being_closed(last):
    world = World(Silence() if last == "hang up" else Say("好"))
    protocol, transport = world.connect()
    protocol.dataReceived(post(b"Connection: close") if last == "close" else post())
    if last == "stopping":
        world.site.close()
    assert transport.disconnecting
    asked = len(world.contents)
    world.clock.advance(30)
    for number in range(2, 5):
        protocol.dataReceived(message(number))
        protocol.dataReceived(PAGE)
    assert len(world.contents) == asked
    assert world.channels == 0
    world.clock.pump([1.0] * (int(IDLE_TIMEOUT_S) - 28))
    assert transport.aborted, "its deadline did not move"


@pytest.mark.parametrize("gone", [False, True])
@pytest.mark.parametrize("more", [False, True])
def test_a_post_whose_peer_has_gone_costs_nothing(gone, more):
    world = World(Say("好"))
    protocol, transport = world.connect()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        transport.handle = ours
        if more:
            theirs.send(b"P")  # the next request; only after it is the end
        if gone:
            theirs.close()
        protocol.dataReceived(post())
        assert bool(world.contents) is (more or not gone)
        assert transport.aborted is (gone and not more)
        assert ours.fileno() >= 0
