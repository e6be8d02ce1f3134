"""How long a name's addresses may be cached, according to a DNS server."""

from __future__ import annotations

import socket
import threading

import dns.message
import dns.resolver
import dns.rrset
import pytest

from wxgptd.outbound.lifetimes import time_to_live

ZONE = {
    ("model.test.", "A"): [("model.test.", 60, "A", ["192.0.2.1", "192.0.2.2"])],
    ("model.test.", "AAAA"): [("model.test.", 20, "AAAA", ["2001:db8::1"])],
    ("alias.test.", "A"): [
        ("alias.test.", 5, "CNAME", ["model.test."]),
        ("model.test.", 60, "A", ["192.0.2.1"]),
    ],
    ("gpu.home.test.", "A"): [("gpu.home.test.", 7, "A", ["192.0.2.9"])],
}


@pytest.fixture
def dns_server(monkeypatch):
    """A DNS server that answers from ZONE, and a resolver configured to use it."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                request, address = sock.recvfrom(4096)
            except OSError:
                return
            query = dns.message.from_wire(request)
            [question] = query.question
            response = dns.message.make_response(query)
            kind = dns.rdatatype.to_text(question.rdtype)
            records = ZONE.get((question.name.to_text(), kind))
            if records is None:
                response.set_rcode(dns.rcode.NXDOMAIN)
            for name, ttl, kind, values in records or []:
                response.answer.append(dns.rrset.from_text(name, ttl, "IN", kind, *values))
            sock.sendto(response.to_wire(), address)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = ["127.0.0.1"]
    resolver.port = sock.getsockname()[1]
    resolver.search = [dns.name.from_text("home.test.")]
    monkeypatch.setattr("wxgptd.outbound.lifetimes.Resolver", lambda: resolver)
    yield resolver
    sock.close()


@pytest.mark.parametrize(
    ("name", "addresses", "ttl"),
    [
        ("model.test", ["192.0.2.2", "192.0.2.1"], (60.0, True)),
        ("model.test", ["192.0.2.1", "2001:db8::1"], (20.0, True)),
        ("model.test", ["2001:db8::1"], (20.0, True)),
        ("model.test", ["10.0.0.7"], (60.0, False)),  # From /etc/hosts.
        ("model.test", ["192.0.2.1", "10.0.0.7"], (60.0, False)),
        ("alias.test", ["192.0.2.1"], (5.0, True)),  # The shortest TTL in the chain.
        ("gpu", ["192.0.2.9"], (7.0, True)),  # Found through a search domain.
        ("missing.test", ["10.0.0.7"], None),
        ("two..dots", ["10.0.0.7"], None),
        ("x" * 70, ["10.0.0.7"], None),
    ],
)
def test_a_name_s_ttl_is_read_from_dns(dns_server, name, addresses, ttl):
    assert time_to_live(name, addresses) == ttl


def test_a_machine_without_dns_finds_no_ttl(monkeypatch):
    def no_configuration():
        raise dns.resolver.NoResolverConfiguration("no nameservers")

    monkeypatch.setattr("wxgptd.outbound.lifetimes.Resolver", no_configuration)
    assert time_to_live("model.test", ["192.0.2.1"]) is None


def test_a_silent_dns_server_times_out(dns_server, monkeypatch):
    monkeypatch.setattr("wxgptd.outbound.lifetimes.QUERY_S", 0.05)
    dns_server.port = 9  # no server listens there
    assert time_to_live("model.test", ["192.0.2.1"]) is None
