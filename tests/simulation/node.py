"""The daemon on a simulated machine: it is started, killed, and started again.

Like `tests.support.story.Story`, with the real log on a simulated disk instead of a store in memory.
"""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from treq.testing import StubTreq
from twisted.internet.task import Clock

from tests.simulation.disk import DiskState, Fuse, Image, Killed, SimulatedDisk
from tests.simulation.hub import Hub
from tests.support.memory_short_lived_keys import MemoryShortLivedKeys
from tests.support.model_server import ModelServer, Script
from tests.support.outside import Outside, OutsideHttp
from wxgptd import config as cfg
from wxgptd.domain.model.events import Event, UserErased
from wxgptd.domain.model.values import User
from wxgptd.eventlog import reader, segments
from wxgptd.eventlog.callbacks import StoreListener, Turns
from wxgptd.eventlog.keyring import Keyring
from wxgptd.eventlog.store import LogStore
from wxgptd.eventlog.system import System
from wxgptd.eventlog.unavailable import StoreUnavailable
from wxgptd.eventlog.writer import SegmentBounds
from wxgptd.ports.record import Recorded
from wxgptd.ports.threads import Threads
from wxgptd.service.environment import ClusterPart, Environment
from wxgptd.service.state import journal
from wxgptd.service.wiring import Service

WALL = 1_700_000_000.0
MASTER = b"m" * 32
SEGMENT_BYTES = 24 * 1024
"""Small, so that a run has many segments."""

RESTART_AFTER_S = 1.0
UNLOAD_AFTER_S = 15.0
"""Short, so that users are unloaded and read again."""

CALLS = ("fsync", "fdatasync", "pwrite", "ftruncate", "rename", "unlink")
"""The system calls in which a start or a stop can be killed, beside those of the writer."""


@contextlib.contextmanager
def seeded(seed: int, wall: Callable[[], float], disk: DiskState) -> Iterator[None]:
    """Take the process's random values from the seed, the log's time from `wall`, note syncs."""
    source, before = Random(seed), (os.urandom, random._urandom, random.getstate())
    creation_time, segments.creation_time = segments.creation_time, wall
    unload_after_s, journal.UNLOAD_AFTER_S = journal.UNLOAD_AFTER_S, UNLOAD_AFTER_S
    calls = {name: getattr(os, name) for name in CALLS}
    for name, call in calls.items():
        setattr(os, name, disk.counted(call))
    os.fsync = os.fdatasync = disk.counted(disk.synced)  # nothing is really synced: it is in memory
    os.urandom = random._urandom = source.randbytes
    random.seed(seed)
    try:
        yield
    finally:
        os.urandom, random._urandom, state = before
        random.setstate(state)
        segments.creation_time, journal.UNLOAD_AFTER_S = creation_time, unload_after_s
        for name, call in calls.items():
            setattr(os, name, call)


@dataclass(frozen=True)
class Append:
    """Events that the log acknowledged as durable; `seq` is the number of the last one."""

    start: int
    seq: int
    user: User
    events: tuple[Event, ...]


@dataclass(frozen=True)
class Erasure:
    """A user's erasure, when it was appended to the log, and in which run of the process."""

    at: float
    start: int
    openid: str


class Node:
    """One machine: its disk, its clock, and the daemon, if it is running."""

    def __init__(
        self,
        disk: DiskState,
        clock: Clock,
        config: cfg.Config,
        respond: Callable[[list[dict[str, str]]], Script],
        tell: Callable[[str], None],
    ) -> None:
        self.world_clock = clock
        self.used: list[tuple[float, cfg.Config]] = [(0.0, config)]
        """Since when each configuration has been the operator's."""
        self.clock = Clock()
        self.clock_offset = 0.0
        self.tell = tell
        self.disk = disk
        self.short_lived_keys = MemoryShortLivedKeys()
        self.model = ModelServer(self.world_clock, respond)
        self.outside = Outside(**{"model.test": self.model})
        self.damages: list[Exception] = []
        self.acknowledged: list[Append] = []
        """Every acknowledged append, in the log's order."""
        self.erasures: list[Erasure] = []
        self.starts = 0
        self.is_up = False
        self.is_failing = False
        """Whether the log has failed, so that the process is about to exit."""
        self.on_start: Callable[[], None] = lambda: None
        self.on_process_end: Callable[[], None] = lambda: None
        self.on_acknowledged: Callable[[Append], None] = lambda acknowledged: None
        self._crash_at = 0
        self._power_cut = False
        self._fuse: Fuse | None = None
        self.store: LogStore | None = None
        self.service: Service
        self.hub: Hub
        self._agents: list[Any] = []

    @property
    def config(self) -> cfg.Config:
        """The configuration file, as the daemon reads it."""
        return self.used[-1][1]

    def use(self, config: cfg.Config) -> None:
        """Change the configuration file."""
        self.used.append((self.world_clock.seconds(), config))

    def wall(self) -> float:
        return WALL + self.world_clock.seconds()

    # The process.

    def start(self) -> None:
        """Start the daemon from what is on disk.

        Raises:
            WxgptError: the log is damaged, or cannot be written.
        """
        try:
            self._start()
        except Killed as killed:
            self.tell("killed inside the start")
            assert self.store is not None
            self.store._lock.release()
            self._discard_process(killed.image)
            self.start_after(RESTART_AFTER_S)

    def _start(self) -> None:
        self.starts += 1
        self.is_failing = False
        clock = self.clock = Clock()
        clock.rightNow = self.world_clock.rightNow
        hub = self.hub = Hub(clock)
        store = LogStore(
            self.disk.root,
            MASTER,
            Turns(
                lambda work: clock.callLater(0, work),
                lambda work: clock.callLater(0, work),
            ),
            StoreListener(self._store_failed, lambda full: self.tell(f"disk full: {full}")),
            SegmentBounds(SEGMENT_BYTES),
            System(SimulatedDisk(self.disk, hub), hub),
        )
        self.store = store
        self._model_http = OutsideHttp(self.outside)
        self.service = Service(
            self.config,
            Environment(
                clock=clock,
                wall=lambda: self.wall() + self.clock_offset,
                store=_RecordingStore(store, self),
                http=self._model_http,
                model_http=lambda proxy: self._model_http,
                threads=Threads(hub.run, hub.run, hub.run, lambda: 0.0),
                max_running=10_000,
                link_key=b"k" * 32,
                short_lived_keys=self.short_lived_keys,
                config_path=Path("/nowhere/wxgptd.toml"),
                reread=lambda: self.config,
                on_damage=self._damaged,
                cluster=self._part(store, clock, hub),
            ),
        )
        self.http = StubTreq(self.service.root)
        self.admin_http = StubTreq(self.service.admin)
        self._agents = [stub._agent for stub in (self._model_http, self.http, self.admin_http)]
        for agent in self._agents:
            agent._pumps = _Connections()
        self.disk.fuse, self._fuse = self._fuse, None
        self.service.load()
        store.start(follows=self.service.standing is not None)
        self.disk.fuse = None
        if (trimmed := store.trimmed) is not None:
            self.tell(f"trimmed {trimmed.size} bytes of a torn tail")
            self.service.note_trimmed(trimmed.segment.name, trimmed.offset, trimmed.size)
        self.on_start()
        self._begin()
        self.is_up = True

    def _part(self, store: LogStore, clock: Clock, hub: Hub) -> ClusterPart | None:
        """Return the part that the daemon takes in a cluster; here it is alone."""
        return None

    def _begin(self) -> None:
        self.service.begin()

    def start_after(self, seconds: float) -> None:
        """Start the daemon after `seconds`, unless it is up by then."""
        self.world_clock.callLater(seconds, self._start_unless_up)

    def _start_unless_up(self) -> None:
        if not self.is_up:
            self.tell("start")
            self.start()

    def _store_failed(self, error: StoreUnavailable) -> None:
        """Exit at once, as the real process does."""
        self.tell(f"the log failed: {error}")
        self.is_failing = True
        self.world_clock.callLater(0, self.crash, power_cut=False, why="the log failed")
        self.start_after(RESTART_AFTER_S)

    def _damaged(self, error: Exception) -> None:
        self.damages.append(error)

    def abandon_crash(self) -> None:
        """Do not crash in a system call after all."""
        self._crash_at, self._fuse = 0, None

    def crash_in_the_next_start(self, calls: int, *, power_cut: bool) -> None:
        """Kill the next start as its `calls`-th system call begins, if it makes that many."""
        self._fuse = Fuse(calls, power_cut)

    def crash_in_the_log(self, after: int, *, power_cut: bool) -> None:
        """End the process as soon as `after` more system calls of the log have begun."""
        self._crash_at = self.disk.operations + after
        self._power_cut = power_cut

    def crash(self, *, power_cut: bool, why: str) -> None:
        """Kill the process without warning; a power cut also loses unsynced data."""
        if not self.is_up:
            return
        self.tell(f"crash ({'power cut' if power_cut else 'kill -9'}: {why})")
        self.on_process_end()
        assert self.store is not None
        self.store._lock.release()
        self._discard_process(self.disk.image(power_cut=power_cut))

    def stop(self, killed_in: Fuse | None = None) -> None:
        """Stop the daemon as SIGTERM does, unless it is killed meanwhile."""
        if not self.is_up:
            return
        self.tell("clean stop")
        assert self.store is not None
        self.disk.fuse = killed_in
        try:
            self.service.end()
            self.store.close()
        except StoreUnavailable as error:
            self.tell(f"not closed cleanly: {error}")
            image = self.disk.image(power_cut=False)
        except Killed as killed:
            self.tell("killed inside the stop")
            self.store._lock.release()
            image = killed.image
        else:
            image = self.disk.image(power_cut=False)
        self.disk.fuse = None
        self.on_process_end()
        self._discard_process(image)

    def _discard_process(self, image: Image) -> None:
        """Discard everything but the disk, which is restored from `image`."""
        self.is_up, self._crash_at = False, 0
        self.hub.die()
        for agent in self._agents:
            for pump in list(agent._pumps):
                pump.serverIO.abortConnection()
                pump.clientIO.abortConnection()
        self.clock = Clock()  # the old one never moves again
        self.clock.rightNow = self.world_clock.rightNow
        self.flush()
        self.disk.restore(image)

    # Time.

    def next_due(self) -> float | None:
        """Return the time of the next event on any clock, or None."""
        clocks = (self.world_clock, self.clock) if self.is_up else (self.world_clock,)
        due = [call.getTime() for clock in clocks for call in clock.calls]
        return min(due, default=None)

    def step(self, until: float) -> None:
        """Advance to the next event, but not past `until`."""
        now = self.world_clock.seconds()
        due = self.next_due()
        amount = max(0.0, min(due if due is not None else until, until) - now)
        self.world_clock.advance(amount)
        if self.is_up:
            self.clock.advance(max(0.0, self.world_clock.seconds() - self.clock.seconds()))
        if self.is_up and 0 < self._crash_at <= self.disk.operations:
            self.crash(power_cut=self._power_cut, why="in a system call of the log")
            self.start_after(RESTART_AFTER_S)
        self.flush()

    def acknowledge(self, acknowledged: Append) -> None:
        self.acknowledged.append(acknowledged)
        self.on_acknowledged(acknowledged)
        kinds = " ".join(type(event).__name__ for event in acknowledged.events)
        self.tell(f"durable, {acknowledged.user.openid}, {acknowledged.seq}: {kinds}")

    def erasures_of(self, user: User) -> list[Erasure]:
        return [erasure for erasure in self.erasures if erasure.openid == user.openid]

    def flush(self) -> None:
        """Deliver what is in transit, on the oldest connection first."""
        for _ in range(3):
            for agent in self._agents:
                pumps, agent._pumps = agent._pumps, _Connections()
                for pump in pumps:
                    pump.flush()
                    if not (pump.clientIO.disconnected and pump.serverIO.disconnected):
                        agent._pumps.add(pump)

    # What is on disk.

    def scan(self) -> list[Recorded]:
        """Return every event of the log as it is on disk, with today's keys."""
        keys = Keyring(segments.keyring_path(self.disk.root), MASTER)
        return list(reader.scan(segments.log_directory(self.disk.root), keys))


class _Connections(dict[Any, None]):
    """As treq's set of connections, in the order in which they were opened."""

    def add(self, pump: Any) -> None:
        self[pump] = None


class _RecordingStore:
    """The store, recording what it acknowledges."""

    def __init__(self, store: LogStore, node: Node) -> None:
        self._store = store
        self._node = node

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def append(self, user: Any, events: Any, expected: int) -> int:
        seq = self._store.append(user, events, expected)
        incarnation = self._node.hub
        kept = tuple(event for _, event in events)
        if isinstance(kept[-1], UserErased):
            now, node = self._node.world_clock.seconds(), self._node
            node.erasures.append(Erasure(now, node.starts, user.openid))

        def durable(_: None) -> None:
            if incarnation.alive:
                self._node.acknowledge(Append(self._node.starts, seq, user, kept))

        self._store.committed().addCallbacks(durable, lambda _: None)
        return seq
