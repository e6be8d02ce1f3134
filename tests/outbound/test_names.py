"""Host name lookups: one that hangs does not delay the others."""

from __future__ import annotations

import socket
import threading
from collections import Counter

import pytest
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IResolutionReceiver
from twisted.internet.task import Clock
from zope.interface import implementer

from wxgptd.outbound.names import (
    KEPT_FAILURE_S,
    KEPT_S,
    LONGEST_S,
    MAX_LOOKUPS,
    SHORTEST_S,
    Names,
)


class Reactor(Clock):
    """A virtual clock whose calls from threads run at once."""

    def callFromThread(self, call, *args):
        call(*args)


@implementer(IResolutionReceiver)
class Receiver:
    def __init__(self) -> None:
        self.addresses: list[object] = []
        self.complete = False

    def resolutionBegan(self, resolution) -> None:
        self.resolution = resolution

    def addressResolved(self, address) -> None:
        self.addresses.append(address)

    def resolutionComplete(self) -> None:
        self.complete = True

    @property
    def hosts(self):
        return [address.host for address in self.addresses]


class HangingResolver:
    """A resolver whose lookups hang until the test runs them."""

    def __init__(self) -> None:
        self.reactor = Reactor()
        self.lookups: Counter[str] = Counter()
        self.hanging: list = []
        self.records = {"model.test": ["192.0.2.1", "2001:db8::1"], "other.test": ["192.0.2.2"]}
        self.lives: dict[str, tuple[float, bool]] = {}
        self.names = Names(self.reactor, self._look_up, self._life_of, self.hanging.append)

    def _look_up(self, name):
        self.lookups[name] += 1
        if name not in self.records:
            raise socket.gaierror("no such name")
        return self.records[name]

    def _life_of(self, name, addresses):
        assert addresses == self.records[name]
        return self.lives.get(name)

    def ask(self, name, **more) -> Receiver:
        receiver = Receiver()
        self.names.resolveHostName(receiver, name, 443, **more)
        return receiver

    def finish_all(self) -> None:
        while self.hanging:
            self.hanging.pop(0)()


@pytest.fixture
def resolver():
    return HangingResolver()


@pytest.mark.parametrize(
    "literal", ["127.0.0.1", "192.0.2.7", "::1", "2001:db8::7", "fe80::1%eth0"]
)
def test_an_ip_address_is_not_looked_up(resolver, literal):
    receiver = resolver.ask(literal)
    assert receiver.complete
    assert receiver.hosts == [literal]
    assert resolver.hanging == []


def test_concurrent_requests_share_one_lookup(resolver):
    receivers = [resolver.ask("model.test") for _ in range(50)]
    resolver.finish_all()
    assert all(receiver.hosts == ["192.0.2.1", "2001:db8::1"] for receiver in receivers)
    assert resolver.lookups["model.test"] == 1


def test_a_result_is_cached_for_a_limited_time(resolver):
    resolver.ask("model.test")
    resolver.finish_all()
    resolver.reactor.advance(KEPT_S - 1)
    assert resolver.ask("model.test").complete
    resolver.records["model.test"] = ["192.0.2.9"]
    resolver.reactor.advance(2)
    moved = resolver.ask("model.test")
    resolver.finish_all()
    assert moved.hosts == ["192.0.2.9"]
    assert resolver.lookups["model.test"] == 2


@pytest.mark.parametrize(
    ("life", "kept_s"),
    [
        ((5.0, True), 5.0),
        ((300.0, True), 300.0),
        ((0.0, True), SHORTEST_S),  # Must not be cached at all.
        ((604_800.0, True), LONGEST_S),
        ((5.0, False), 5.0),  # A load balancer that answers each query differently.
        ((300.0, False), KEPT_S),  # /etc/hosts disagrees with DNS.
        (None, KEPT_S),
    ],
)
def test_a_result_is_cached_for_the_ttl_of_its_record(resolver, life, kept_s):
    if life is not None:
        resolver.lives["model.test"] = life
    resolver.ask("model.test")
    resolver.finish_all()
    resolver.reactor.advance(kept_s - 0.1)
    assert resolver.ask("model.test").complete
    resolver.reactor.advance(0.2)
    assert not resolver.ask("model.test").complete
    resolver.finish_all()
    assert resolver.lookups["model.test"] == 2


def test_a_result_does_not_wait_for_its_ttl(resolver):
    seen = []

    def ttl_of(name, addresses):
        seen.append(receiver.hosts)
        raise RuntimeError("whatever a library may do")

    resolver.names = Names(resolver.reactor, resolver._look_up, ttl_of, resolver.hanging.append)
    receiver = resolver.ask("model.test")
    others = [resolver.ask(f"host{number}.test") for number in range(MAX_LOOKUPS)]
    resolver.finish_all()
    assert seen == [["192.0.2.1", "2001:db8::1"]]
    assert all(receiver.complete for receiver in others)  # and the failure freed its slot


def test_every_request_fails_if_no_thread_can_start(resolver):
    def no_thread(work):
        raise RuntimeError("can't start new thread")

    resolver.names = Names(resolver.reactor, resolver._look_up, resolver._life_of, no_thread)
    receivers = [resolver.ask(f"host{number}.test") for number in range(MAX_LOOKUPS + 3)]
    assert all(receiver.complete and not receiver.hosts for receiver in receivers)


def test_a_name_not_found_is_looked_up_again_soon(resolver):
    missing = resolver.ask("new.test")
    resolver.finish_all()
    assert missing.complete
    assert missing.hosts == []
    resolver.records["new.test"] = ["192.0.2.3"]
    resolver.reactor.advance(KEPT_FAILURE_S + 0.1)
    retried = resolver.ask("new.test")
    resolver.finish_all()
    assert retried.hosts == ["192.0.2.3"]


def test_a_hanging_lookup_delays_no_other_name(resolver):
    hung = resolver.ask("hangs.test")
    other = resolver.ask("other.test")
    resolver.hanging.pop(1)()  # and the first lookup never returns
    assert other.hosts == ["192.0.2.2"]
    assert not hung.complete
    assert resolver.ask("other.test").complete


def test_lookups_beyond_the_limit_are_queued(resolver):
    receivers = [resolver.ask(f"host{number}.test") for number in range(MAX_LOOKUPS + 3)]
    assert len(resolver.hanging) == MAX_LOOKUPS
    resolver.hanging.pop(0)()
    assert len(resolver.hanging) == MAX_LOOKUPS
    resolver.finish_all()
    assert all(receiver.complete for receiver in receivers)


def test_cancelling_one_request_does_not_affect_the_others(resolver):
    cancelled, other = resolver.ask("model.test"), resolver.ask("model.test")
    cancelled.resolution.cancel()
    resolver.finish_all()
    assert not cancelled.complete
    assert other.complete


def test_only_the_requested_address_types_are_returned(resolver):
    receivers = [
        resolver.ask("model.test", addressTypes=[kind]) for kind in (IPv4Address, IPv6Address)
    ]
    resolver.finish_all()
    assert [receiver.hosts for receiver in receivers] == [["192.0.2.1"], ["2001:db8::1"]]


def test_lookups_run_in_daemon_threads_by_default():
    stopped, threads = threading.Event(), []

    def look_up(name):
        threads.append(threading.current_thread())
        stopped.set()
        return ["192.0.2.1"]

    Names(Reactor(), look_up, lambda *_: None).resolveHostName(Receiver(), "model.test")
    assert stopped.wait(10)
    assert threads[0].daemon
    assert threads[0] is not threading.main_thread()
