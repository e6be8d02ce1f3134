"""Looks up the names of other hosts, so that one name that hangs holds up nobody else's.

Twisted looks names up in the reactor's one pool of ten threads, again for each connection and even
for an address that needs no lookup: one name server that does not answer, and no call of any model
gets through. Here an IP literal is its own answer, a name is looked up once for all who ask at the
time, the result is kept for as long as its record lives, and lookups have threads that nothing
else waits for.

`getaddrinfo` stays the way to look up, because it knows /etc/hosts, search domains and whatever
else the machine is configured for. How long its result may be kept is asked of DNS afterwards
(`lifetimes.py`), when those who waited have long been answered.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address
from threading import Thread

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IReactorTime,
    IResolutionReceiver,
)
from zope.interface import implementer

from wxgptd.loose import Reactor
from wxgptd.outbound.lifetimes import time_to_live

KEPT_S = 30.0
"""How long addresses are kept of which DNS does not tell, such as those of /etc/hosts."""

SHORTEST_S = 1.0
"""For records that want not to be kept at all: a burst of connections looks up once."""

LONGEST_S = 3_600.0
"""For records of days and weeks: what an administrator corrects is seen within the hour."""

KEPT_FAILURE_S = 1.0

MAX_LOOKUPS = 16
"""How many names may hang at once before further ones wait in line."""

MAX_NAMES = 1_000

LookUp = Callable[[str], Sequence[str]]
"""Returns the addresses of a name, or raises OSError."""

LifeOf = Callable[[str, Sequence[str]], tuple[float, bool] | None]
"""Tells how long the addresses of a name live; see `lifetimes.time_to_live`."""


def system_addresses(name: str) -> Sequence[str]:
    """Return the addresses of `name` in the system's order of preference, IPv6 with its scope.

    Raises:
        OSError: there are none, or they cannot be found out.
    """
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


def in_own_thread(work: Callable[[], None]) -> None:
    """Start `work` in a thread that a stop of the process does not wait for."""
    Thread(target=work, name="wxgptd name lookup", daemon=True).start()


@implementer(IHostResolution)
class _Resolution:
    """One who asked for a name."""

    def __init__(
        self,
        name: str,
        receiver: IResolutionReceiver,
        port: int,
        types: Sequence[type[IAddress]] | None,
    ) -> None:
        self.name = name
        self._receiver = receiver
        self._port = port
        self._types = types
        self._cancelled = False
        receiver.resolutionBegan(self)

    def cancel(self) -> None:
        """Want the result no longer; the lookup goes on for others."""
        self._cancelled = True

    def answer(self, addresses: Sequence[str]) -> None:
        """Hand over `addresses`, as far as they are of the wanted types."""
        if self._cancelled:
            return
        for address in addresses:
            kind = IPv6Address if ":" in address else IPv4Address
            if self._types is None or kind in self._types:
                self._receiver.addressResolved(kind("TCP", address, self._port))
        self._receiver.resolutionComplete()


@dataclass(slots=True)
class _Name:
    """What is known of a name until `until`, or who waits for it while it is looked up."""

    addresses: Sequence[str] = ()
    found_at: float = 0.0
    until: float = 0.0
    waiting: list[_Resolution] = field(default_factory=list)
    running: bool = False


@implementer(IHostnameResolver)
class Names:
    """The resolver of a reactor: `reactor.installNameResolver(Names(reactor))`."""

    def __init__(
        self,
        reactor: Reactor,
        look_up: LookUp = system_addresses,
        life_of: LifeOf = time_to_live,
        start: Callable[[Callable[[], None]], None] = in_own_thread,
    ) -> None:
        self._clock: IReactorTime = reactor
        self._in_reactor: Callable[..., None] = reactor.callFromThread
        self._look_up = look_up
        self._life_of = life_of
        self._start = start
        self._names: dict[str, _Name] = {}
        self._running = 0
        self._in_line: deque[str] = deque()

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """Look `hostName` up; see IHostnameResolver."""
        resolution = _Resolution(hostName, resolutionReceiver, portNumber, addressTypes)
        if _is_literal(hostName):
            resolution.answer([hostName.strip("[]")])
            return resolution
        name = self._names.get(hostName)
        if name is None:
            self._forget_some()
            name = self._names[hostName] = _Name()
        if not name.running and self._clock.seconds() < name.until:
            resolution.answer(name.addresses)
            return resolution
        name.waiting.append(resolution)
        if not name.running:
            name.running = True
            self._in_line.append(hostName)
            self._begin()
        return resolution

    def _forget_some(self) -> None:
        """Drop what is known no longer, where that has become much."""
        if len(self._names) >= MAX_NAMES:
            now = self._clock.seconds()
            current = {k: v for k, v in self._names.items() if v.running or now < v.until}
            self._names = current

    def _begin(self) -> None:
        """Start the lookups that there are threads for."""
        while self._in_line and self._running < MAX_LOOKUPS:
            self._running += 1
            name = self._in_line.popleft()
            try:
                self._start(partial(self._work, name))
            except RuntimeError:  # no thread can be started: ask again soon
                self._found(name, ())
                self._running -= 1

    def _work(self, name: str) -> None:
        """Look a name up, then find out for how long that holds; in a thread."""
        try:
            addresses = self._look_up(name)
        except Exception:  # noqa: BLE001 (whatever it is: those who wait have to be told)
            addresses = ()
        self._in_reactor(self._found, name, addresses)
        try:
            life = self._life_of(name, addresses) if addresses else None
        except Exception:  # noqa: BLE001 (the next lookup must begin)
            life = None
        self._in_reactor(self._ended, name, addresses, life)

    def _found(self, name: str, addresses: Sequence[str]) -> None:
        """Tell those who wait."""
        known, now = self._names[name], self._clock.seconds()
        kept_s = KEPT_S if addresses else KEPT_FAILURE_S
        known.addresses, known.found_at, known.until = addresses, now, now + kept_s
        known.running = False
        waiting, known.waiting = known.waiting, []
        for resolution in waiting:
            resolution.answer(addresses)

    def _ended(self, name: str, addresses: Sequence[str], life: tuple[float, bool] | None) -> None:
        """Keep what was found for as long as it lives, and let the next lookup begin."""
        known = self._names.get(name)
        if life is not None and known is not None and known.addresses is addresses:
            seconds, certain = life
            longest = LONGEST_S if certain else KEPT_S
            known.until = known.found_at + min(max(seconds, SHORTEST_S), longest)
        self._running -= 1
        self._begin()


def _is_literal(host: str) -> bool:
    try:
        ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return False
    return True
