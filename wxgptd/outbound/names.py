"""Look up the names of other hosts, so that a lookup that hangs does not hold up the others.

Twisted looks names up in the reactor's one pool of ten threads, again for each connection and even
for an address that needs no lookup: one name server that does not answer blocks the calls to every
model. Here an IP literal needs no lookup, concurrent requests for a name share one lookup, the
result is cached for its record's TTL, and lookups run in threads that nothing else waits for.

Names are still looked up with `getaddrinfo`, because it knows /etc/hosts, search domains and
whatever else the machine is configured for. Only after the waiters have their answer is DNS
queried for how long to cache it (`lifetimes.py`).
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

from wxgptd.outbound.lifetimes import time_to_live
from wxgptd.untyped import Reactor

KEPT_S = 30.0
"""How long to cache addresses that DNS does not confirm, such as those of /etc/hosts."""

SHORTEST_S = 1.0
"""For records that must not be cached at all: a burst of connections still shares one lookup."""

LONGEST_S = 3_600.0
"""For records with a TTL of days or weeks: a correction takes effect within the hour."""

KEPT_FAILURE_S = 1.0

MAX_LOOKUPS = 16
"""How many lookups may hang at once before further ones have to queue."""

MAX_NAMES = 1_000

LookUp = Callable[[str], Sequence[str]]
"""Returns the addresses of a name, or raises OSError."""

TtlOf = Callable[[str, Sequence[str]], tuple[float, bool] | None]
"""Returns the TTL of a name's addresses; see `lifetimes.time_to_live`."""


def system_addresses(name: str) -> Sequence[str]:
    """Return the addresses of `name` in the system's order of preference, IPv6 with its scope ID.

    Raises:
        OSError: `name` has no addresses, or the lookup failed.
    """
    results = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in results))


def in_own_thread(work: Callable[[], None]) -> None:
    """Start `work` in a thread that the process does not wait for when it stops."""
    Thread(target=work, name="wxgptd name lookup", daemon=True).start()


@implementer(IHostResolution)
class _Resolution:
    """One request to resolve a name."""

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
        """Ignore the result; the lookup continues for other requests."""
        self._cancelled = True

    def answer(self, addresses: Sequence[str]) -> None:
        """Deliver the `addresses` that have a requested type."""
        if self._cancelled:
            return
        for address in addresses:
            kind = IPv6Address if ":" in address else IPv4Address
            if self._types is None or kind in self._types:
                self._receiver.addressResolved(kind("TCP", address, self._port))
        self._receiver.resolutionComplete()


@dataclass(slots=True)
class _Name:
    """The cached addresses of a name, valid until `until`, and the requests waiting for them."""

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
        ttl_of: TtlOf = time_to_live,
        start: Callable[[Callable[[], None]], None] = in_own_thread,
    ) -> None:
        self._clock: IReactorTime = reactor
        self._in_reactor: Callable[..., None] = reactor.callFromThread
        self._look_up = look_up
        self._life_of = ttl_of
        self._start = start
        self._names: dict[str, _Name] = {}
        self._running = 0
        self._queue: deque[str] = deque()

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
            self._evict_expired()
            name = self._names[hostName] = _Name()
        if not name.running and self._clock.seconds() < name.until:
            resolution.answer(name.addresses)
            return resolution
        name.waiting.append(resolution)
        if not name.running:
            name.running = True
            self._queue.append(hostName)
            self._start_queued()
        return resolution

    def _evict_expired(self) -> None:
        """Drop expired names if the cache is full."""
        if len(self._names) >= MAX_NAMES:
            now = self._clock.seconds()
            current = {k: v for k, v in self._names.items() if v.running or now < v.until}
            self._names = current

    def _start_queued(self) -> None:
        """Start queued lookups, up to `MAX_LOOKUPS` at a time."""
        while self._queue and self._running < MAX_LOOKUPS:
            self._running += 1
            name = self._queue.popleft()
            try:
                self._start(partial(self._resolve, name))
            except RuntimeError:  # no thread can be started; the failure expires soon
                self._resolved(name, ())
                self._running -= 1

    def _resolve(self, name: str) -> None:
        """Look up a name, then how long the result may be cached; runs in a thread."""
        try:
            addresses = self._look_up(name)
        except Exception:  # noqa: BLE001 (whatever the error, the waiters need a result)
            addresses = ()
        self._in_reactor(self._resolved, name, addresses)
        try:
            life = self._life_of(name, addresses) if addresses else None
        except Exception:  # noqa: BLE001 (the next lookup must start regardless)
            life = None
        self._in_reactor(self._finished, name, addresses, life)

    def _resolved(self, name: str, addresses: Sequence[str]) -> None:
        """Cache the addresses and pass them to the waiters."""
        entry, now = self._names[name], self._clock.seconds()
        ttl_s = KEPT_S if addresses else KEPT_FAILURE_S
        entry.addresses, entry.found_at, entry.until = addresses, now, now + ttl_s
        entry.running = False
        waiting, entry.waiting = entry.waiting, []
        for resolution in waiting:
            resolution.answer(addresses)

    def _finished(
        self, name: str, addresses: Sequence[str], life: tuple[float, bool] | None
    ) -> None:
        """Cache the result for its time to live, and start the next lookup."""
        entry = self._names.get(name)
        if life is not None and entry is not None and entry.addresses is addresses:
            seconds, certain = life
            longest_s = LONGEST_S if certain else KEPT_S
            entry.until = entry.found_at + min(max(seconds, SHORTEST_S), longest_s)
        self._running -= 1
        self._start_queued()


def _is_literal(host: str) -> bool:
    try:
        ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return False
    return True
