"""How long the addresses of a name live, as a server of DNS tells."""

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
    """A server that answers from ZONE, and the resolv.conf that names it."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listening.bind(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                asked, address = listening.recvfrom(4096)
            except OSError:
                return
            query = dns.message.from_wire(asked)
            [question] = query.question
            response = dns.message.make_response(query)
            kind = dns.rdatatype.to_text(question.rdtype)
            records = ZONE.get((question.name.to_text(), kind))
            if records is None:
                response.set_rcode(dns.rcode.NXDOMAIN)
            for name, ttl, kind, values in records or []:
                response.answer.append(dns.rrset.from_text(name, ttl, "IN", kind, *values))
            listening.sendto(response.to_wire(), address)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = ["127.0.0.1"]
    resolver.port = listening.getsockname()[1]
    resolver.search = [dns.name.from_text("home.test.")]
    monkeypatch.setattr("wxgptd.outbound.lifetimes.Resolver", lambda: resolver)
    yield resolver
    listening.close()


@pytest.mark.parametrize(
    ("name", "addresses", "life"),
    [
        ("model.test", ["192.0.2.2", "192.0.2.1"], (60.0, True)),
        ("model.test", ["192.0.2.1", "2001:db8::1"], (20.0, True)),
        ("model.test", ["2001:db8::1"], (20.0, True)),
        ("model.test", ["10.0.0.7"], (60.0, False)),  # as /etc/hosts has it
        ("model.test", ["192.0.2.1", "10.0.0.7"], (60.0, False)),
        ("alias.test", ["192.0.2.1"], (5.0, True)),  # the shortest life of the chain
        ("gpu", ["192.0.2.9"], (7.0, True)),  # by a search domain
        ("missing.test", ["10.0.0.7"], None),
        ("two..dots", ["10.0.0.7"], None),
        ("x" * 70, ["10.0.0.7"], None),
    ],
)
def test_the_life_of_a_name(dns_server, name, addresses, life):
    assert time_to_live(name, addresses) == life


def test_a_machine_without_dns_knows_no_life(monkeypatch):
    def no_configuration():
        raise dns.resolver.NoResolverConfiguration("no nameservers")

    monkeypatch.setattr("wxgptd.outbound.lifetimes.Resolver", no_configuration)
    assert time_to_live("model.test", ["192.0.2.1"]) is None


def test_a_server_that_is_silent_is_given_up(dns_server, monkeypatch):
    monkeypatch.setattr("wxgptd.outbound.lifetimes.QUERY_S", 0.05)
    dns_server.port = 9  # nobody answers
    assert time_to_live("model.test", ["192.0.2.1"]) is None
