"""Names of hosts: one that hangs holds up nobody else's."""

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
    """A virtual clock, and a way back from threads that is taken by hand."""

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
        return [one.host for one in self.addresses]


class Asked:
    """Names that hang until a test lets them be found."""

    def __init__(self) -> None:
        self.reactor = Reactor()
        self.lookups: Counter[str] = Counter()
        self.hanging: list = []
        self.known = {"model.test": ["192.0.2.1", "2001:db8::1"], "other.test": ["192.0.2.2"]}
        self.lives: dict[str, tuple[float, bool]] = {}
        self.names = Names(self.reactor, self._look_up, self._life_of, self.hanging.append)

    def _look_up(self, name):
        self.lookups[name] += 1
        if name not in self.known:
            raise socket.gaierror("no such name")
        return self.known[name]

    def _life_of(self, name, addresses):
        assert addresses == self.known[name]
        return self.lives.get(name)

    def ask(self, name, **more) -> Receiver:
        receiver = Receiver()
        self.names.resolveHostName(receiver, name, 443, **more)
        return receiver

    def let_go(self) -> None:
        while self.hanging:
            self.hanging.pop(0)()


@pytest.fixture
def asked():
    return Asked()


@pytest.mark.parametrize(
    "literal", ["127.0.0.1", "192.0.2.7", "::1", "2001:db8::7", "fe80::1%eth0"]
)
def test_an_address_is_looked_up_by_nobody(asked, literal):
    received = asked.ask(literal)
    assert received.complete
    assert received.hosts == [literal]
    assert asked.hanging == []


def test_a_name_is_looked_up_once_for_all_who_ask(asked):
    all_of_them = [asked.ask("model.test") for _ in range(50)]
    asked.let_go()
    assert all(one.hosts == ["192.0.2.1", "2001:db8::1"] for one in all_of_them)
    assert asked.lookups["model.test"] == 1


def test_what_is_known_is_kept_for_a_while_and_not_longer(asked):
    asked.ask("model.test")
    asked.let_go()
    asked.reactor.advance(KEPT_S - 1)
    assert asked.ask("model.test").complete
    asked.known["model.test"] = ["192.0.2.9"]
    asked.reactor.advance(2)
    moved = asked.ask("model.test")
    asked.let_go()
    assert moved.hosts == ["192.0.2.9"]
    assert asked.lookups["model.test"] == 2


@pytest.mark.parametrize(
    ("life", "kept_s"),
    [
        ((5.0, True), 5.0),
        ((300.0, True), 300.0),
        ((0.0, True), SHORTEST_S),  # not to be kept at all
        ((604_800.0, True), LONGEST_S),
        ((5.0, False), 5.0),  # a balancer that answers each question otherwise
        ((300.0, False), KEPT_S),  # /etc/hosts says otherwise than DNS
        (None, KEPT_S),
    ],
)
def test_what_is_known_is_kept_for_as_long_as_its_record_lives(asked, life, kept_s):
    if life is not None:
        asked.lives["model.test"] = life
    asked.ask("model.test")
    asked.let_go()
    asked.reactor.advance(kept_s - 0.1)
    assert asked.ask("model.test").complete
    asked.reactor.advance(0.2)
    assert not asked.ask("model.test").complete
    asked.let_go()
    assert asked.lookups["model.test"] == 2


def test_nobody_waits_for_the_life_of_a_record(asked):
    seen = []

    def life_of(name, addresses):
        seen.append(received.hosts)
        raise RuntimeError("whatever a library may do")

    asked.names = Names(asked.reactor, asked._look_up, life_of, asked.hanging.append)
    received = asked.ask("model.test")
    others = [asked.ask(f"host{number}.test") for number in range(MAX_LOOKUPS)]
    asked.let_go()
    assert seen == [["192.0.2.1", "2001:db8::1"]]
    assert all(one.complete for one in others)  # and the failure gave its place back


def test_without_threads_everybody_is_told_and_asks_again_later(asked):
    def no_thread(work):
        raise RuntimeError("can't start new thread")

    asked.names = Names(asked.reactor, asked._look_up, asked._life_of, no_thread)
    received = [asked.ask(f"host{number}.test") for number in range(MAX_LOOKUPS + 3)]
    assert all(one.complete and not one.hosts for one in received)


def test_a_name_that_is_not_found_is_looked_for_again_soon(asked):
    missing = asked.ask("new.test")
    asked.let_go()
    assert missing.complete
    assert missing.hosts == []
    asked.known["new.test"] = ["192.0.2.3"]
    asked.reactor.advance(KEPT_FAILURE_S + 0.1)
    found = asked.ask("new.test")
    asked.let_go()
    assert found.hosts == ["192.0.2.3"]


def test_a_name_that_hangs_holds_up_no_other(asked):
    hung = asked.ask("hangs.test")
    other = asked.ask("other.test")
    asked.hanging.pop(1)()  # and the first one never comes back
    assert other.hosts == ["192.0.2.2"]
    assert not hung.complete
    assert asked.ask("other.test").complete


def test_beyond_the_bound_names_wait_in_line(asked):
    received = [asked.ask(f"host{number}.test") for number in range(MAX_LOOKUPS + 3)]
    assert len(asked.hanging) == MAX_LOOKUPS
    asked.hanging.pop(0)()
    assert len(asked.hanging) == MAX_LOOKUPS
    asked.let_go()
    assert all(one.complete for one in received)


def test_who_leaves_is_told_nothing_and_the_others_are(asked):
    leaves, stays = asked.ask("model.test"), asked.ask("model.test")
    leaves.resolution.cancel()
    asked.let_go()
    assert not leaves.complete
    assert stays.complete


def test_only_the_wanted_kind_of_address_is_told(asked):
    received = [asked.ask("model.test", addressTypes=[kind]) for kind in (IPv4Address, IPv6Address)]
    asked.let_go()
    assert [one.hosts for one in received] == [["192.0.2.1"], ["2001:db8::1"]]


def test_by_default_lookups_run_in_threads_that_a_stop_does_not_wait_for():
    stopped, threads = threading.Event(), []

    def look_up(name):
        threads.append(threading.current_thread())
        stopped.set()
        return ["192.0.2.1"]

    Names(Reactor(), look_up, lambda *_: None).resolveHostName(Receiver(), "model.test")
    assert stopped.wait(10)
    assert threads[0].daemon
    assert threads[0] is not threading.main_thread()
