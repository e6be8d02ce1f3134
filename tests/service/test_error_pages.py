"""HTTP responses to strangers, checked on the wire: none reveals private data."""

from __future__ import annotations

import re

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.logger import eventAsText, globalLogPublisher
from twisted.python.failure import Failure

from tests.support.model_server import answer_at
from tests.support.story import Story
from wxgptd.pages.serving import PRIVATE_HEADERS
from wxgptd.process.site import MAX_BODY_BYTES, BoundedSite, Bounds

TOKEN = "A" * 22


class Wire:
    """A connection to the whole service that exchanges raw bytes."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self._site = BoundedSite(story.service.root, story.clock, Bounds(9, 9))
        self._site.startFactory()

    def exchange(self, request: bytes) -> bytes:
        channel = self._site.buildProtocol(IPv4Address("TCP", "203.0.113.7", 1))
        transport = StringTransport()
        transport.abortConnection = transport.loseConnection
        channel.makeConnection(transport)
        channel.dataReceived(request)
        self._story.advance(1)
        channel.connectionLost(Failure(ConnectionDone()))
        return transport.value()


@pytest.fixture
def story():
    story = Story(answer_at(30, "好的。"))
    story.open()
    story.send("问题")
    return story


@pytest.fixture
def links(story):
    story.advance(16)
    history = re.search(r"/h/[\w-]+", story.say("/history", user="alice"))[0]
    return [history, f"{history}/download", f"{history}/erase", f"/a/{TOKEN}", f"/a/{TOKEN}/events"]


PATHS = [
    f"/a/{TOKEN}", f"/a/{TOKEN}/events", f"/a/{TOKEN}/poll", f"/a/{TOKEN}/nothing", f"/h/{TOKEN}",
    f"/h/{TOKEN}/download", f"/h/{TOKEN}/erase", f"/h/{TOKEN}/nothing", "/static/nothing", "/static/",
    "/", "/nothing", "/wx/main", "/wx/nobody", "*", "/healthz", "/readyz", "/a/", "/h/",
]  # fmt: skip
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "NONSENSE"]


def head_of(response: bytes) -> dict[str, str]:
    lines = response.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


@pytest.mark.parametrize("path", PATHS)
def test_error_pages_send_the_same_privacy_headers_as_other_pages(story, path):
    wire = Wire(story)
    for method in METHODS:
        response = wire.exchange(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        status = int(response.split(b" ")[1])
        head, body = head_of(response), response.partition(b"\r\n\r\n")[2]
        assert status < 500, (method, status)
        assert "server" not in head, method
        assert TOKEN.encode() not in body, (method, body)
        if status != 200:
            for name, value in PRIVATE_HEADERS.items():
                # Pages with a form may submit it only to this server.
                assert (
                    head[name.lower()].replace("form-action 'self'", "form-action 'none'") == value
                )


@pytest.mark.parametrize("path", PATHS)
def test_neither_queries_nor_link_tokens_are_logged(story, links, path):
    events = []
    globalLogPublisher.addObserver(events.append)
    try:
        wire = Wire(story)
        for method in METHODS:
            for address in [path, *links]:
                query = "signature=canary&timestamp=1&nonce=1&openid=canary"
                wire.exchange(f"{method} {address}?{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    finally:
        globalLogPublisher.removeObserver(events.append)
    logged = "\n".join(eventAsText(event) for event in events)
    assert "canary" not in logged
    assert not [link for link in links if link.split("/")[2] in logged]


HEADERS = [
    "Accept-Encoding", "Last-Event-ID", "User-Agent", "Content-Type", "Host", "Cookie", "Expect", "If-None-Match",
    "If-Modified-Since", "Range", "Connection", "Origin", "Referer", "X-Forwarded-For", "Authorization",
]  # fmt: skip


@pytest.mark.parametrize("name", HEADERS)
def test_no_header_value_causes_a_server_error(story, links, name, logged):
    wire = Wire(story)
    for path in [*links, *PATHS]:
        for value in (b"\xff", b"\xc3\x28", b"gzip;q=\xff", b"\x01", b" ", b"'" * 2_000):
            request = b"GET %s HTTP/1.1\r\nHost: x\r\n%s: %s\r\n\r\n"
            response = wire.exchange(request % (path.encode(), name.encode(), value))
            if response:  # empty if a stream has just started or a bad header closed the connection
                assert int(response.split(b" ")[1]) < 500, (path, value)
    assert not [line for line in logged() if "Traceback" in line]


@pytest.mark.parametrize(
    "query", ["q=%ff", "page=%ff", "position=%ff", "q=%00", "page=-1", "page=" + "9" * 400]
)
def test_no_query_string_causes_a_server_error(story, links, query, logged):
    wire = Wire(story)
    for path in [*links, *PATHS]:
        response = wire.exchange(f"GET {path}?{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert int(response.split(b" ")[1]) < 500, path
    assert not [line for line in logged() if "Traceback" in line]


def test_an_oversized_body_is_rejected_without_a_100_continue(story):
    head = f"POST /wx/main HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {MAX_BODY_BYTES + 1}\r\n\r\n"
    response = Wire(story).exchange(head.encode())
    assert response.startswith(b"HTTP/1.1 413 ")
    assert b"100 Continue" not in response


def test_an_internal_error_reveals_no_details(story, monkeypatch):
    def fail(path, request):
        raise ZeroDivisionError(TOKEN)

    monkeypatch.setattr(story.service.root, "getChild", fail)
    response = Wire(story).exchange(b"GET /a/x HTTP/1.1\r\nHost: x\r\n\r\n")
    assert response.startswith(b"HTTP/1.1 500 ")
    assert response.endswith(b"\r\n\r\ninternal error\n")
