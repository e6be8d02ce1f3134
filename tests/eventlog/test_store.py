"""The store as the service sees it: nothing is acknowledged before it is durable."""

from __future__ import annotations

import dataclasses
import errno
import os
import threading
import time

import pytest

from tests.support.builders import ALICE, BOB
from tests.support.injuries import MASTER, conversation, keyring_of, read
from wxgptd.domain.evolve import fold
from wxgptd.domain.model.events import UserErased
from wxgptd.domain.model.values import AnswerUsage, User
from wxgptd.eventlog import segments, snapshot
from wxgptd.eventlog.callbacks import StoreListener, Turns
from wxgptd.eventlog.disk import RESERVE_BYTES, ROOM_NEEDED_BYTES, Disk
from wxgptd.eventlog.packing import Unencodable
from wxgptd.eventlog.segments import StateDirectoryLocked, StateLock
from wxgptd.eventlog.store import MAX_WAITING, LogStore
from wxgptd.eventlog.system import System
from wxgptd.eventlog.unavailable import StoreUnavailable
from wxgptd.ports.record import Capture

EVENTS = conversation(2)


def in_session(events):
    return [("s1", event) for event in events]


class Reactor:
    """Queues calls from other threads until the test runs them."""

    def __init__(self) -> None:
        self._calls: list = []
        self._lock = threading.Lock()

    def call_from_thread(self, function) -> None:
        with self._lock:
            self._calls.append(function)

    def run_until(self, condition, patience_s: float = 10.0) -> None:
        deadline = time.monotonic() + patience_s
        while not condition():
            assert time.monotonic() < deadline, "the condition was never met"
            with self._lock:
                calls, self._calls = self._calls, []
            for call in calls:
                call()
            time.sleep(0.001)


@pytest.fixture
def reactor():
    return Reactor()


def open_store(tmp_path, reactor, failures=None, fullness=None, **more) -> LogStore:
    store = LogStore(
        tmp_path,
        MASTER,
        Turns(reactor.call_from_thread, reactor.call_from_thread),
        StoreListener(
            (failures if failures is not None else []).append,
            (fullness if fullness is not None else []).append,
        ),
        **more,
    )
    store.load({})
    store.start()
    return store


def test_an_append_fires_with_its_event_number_once_it_is_on_disk(tmp_path, reactor):
    store = open_store(tmp_path, reactor)
    fired = []
    appended(store, ALICE, in_session(EVENTS[:3]), 0).addCallback(fired.append)
    appended(store, ALICE, in_session(EVENTS[3:4]), 3).addCallback(fired.append)
    reactor.run_until(lambda: len(fired) == 2)
    assert fired == [3, 4]
    assert [r.event for r in read(segments.log_directory(tmp_path))] == EVENTS[:4]
    store.close()


class StallingDisk(Disk):
    """Blocks every sync while it is stalled."""

    def __init__(self) -> None:
        self.entered, self.go = threading.Event(), threading.Event()
        self.go.set()

    def stall(self):
        self.go.clear()
        self.entered.clear()

    def sync(self, descriptor):
        self.entered.set()
        assert self.go.wait(10)
        super().sync(descriptor)


def appended(store: LogStore, user, events, version):
    """Append `events`; return a Deferred that fires with the last one's number once durable."""
    seq = store.append(user, events, version)
    return store.committed().addCallback(lambda _: seq)


def open_stalled_store(tmp_path, reactor, disk) -> LogStore:
    """Return a store with one event, on a disk that stalls from now on."""
    store = open_store(tmp_path, reactor, system=System(disk))
    fired = []
    appended(store, ALICE, in_session(EVENTS[:1]), 0).addCallback(fired.append)
    reactor.run_until(lambda: bool(fired))
    disk.stall()
    return store


class FailingDisk(Disk):
    """Raises `error` from the calls named in `failing`."""

    def __init__(self, error: OSError) -> None:
        self.failing: set[str] = set()
        self._error = error

    def write(self, descriptor, data, offset):
        if "write" in self.failing:
            raise self._error
        return super().write(descriptor, data, offset)

    def sync(self, descriptor):
        if "sync" in self.failing:
            raise self._error
        super().sync(descriptor)


class SmallDisk(Disk):
    """Has `room` bytes for the log; the write that fills it is short, as on real disks."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.writes_refused = 0
        self._reserved: dict = {}

    def write(self, descriptor, data, offset):
        self._reclaim()
        if self.room <= 0:
            self.writes_refused += 1
            raise OSError(errno.ENOSPC, "No space left on device")
        written = super().write(descriptor, data[: self.room], offset)
        self.room -= written
        return written

    def reserve(self, path, size, room):
        self._reclaim()
        if self.room < room:
            raise OSError(errno.ENOSPC, "No space left on device")
        path.touch(0o600)
        os.truncate(path, size)
        self._reserved[path] = size
        self.room -= size

    def _reclaim(self):
        """Reclaim the space reserved for deleted files."""
        for path in [path for path in self._reserved if not path.exists()]:
            self.room += self._reserved.pop(path)


class HaltingDisk(Disk):
    """Writes seven bytes at a time."""

    def write(self, descriptor, data, offset):
        return super().write(descriptor, data[:7], offset)


def test_nothing_is_acknowledged_during_a_sync(tmp_path, reactor):
    disk = StallingDisk()
    store = open_stalled_store(tmp_path, reactor, disk)
    fired = []
    appended(store, ALICE, in_session(EVENTS[1:2]), 1).addCallback(fired.append)
    reactor.run_until(disk.entered.is_set)
    reactor.run_until(lambda: True)
    assert fired == [], "acknowledged before the sync had returned"
    disk.go.set()
    reactor.run_until(lambda: bool(fired))
    store.close()


def test_concurrent_appends_share_a_commit(tmp_path, reactor):
    disk = StallingDisk()
    store = open_stalled_store(tmp_path, reactor, disk)
    fired = []
    for number, event in enumerate(EVENTS[1:4], 1):  # in one reactor iteration
        appended(store, ALICE, in_session([event]), number).addCallback(fired.append)
    reactor.run_until(disk.entered.is_set)
    for number, event in enumerate(EVENTS[4:], 4):  # while the sync runs
        appended(store, ALICE, in_session([event]), number).addCallback(fired.append)
    disk.go.set()
    reactor.run_until(lambda: len(fired) == len(EVENTS) - 1)
    assert store.figures().commits == 1 + 2
    assert store.figures().events == len(EVENTS)
    store.close()


def test_too_many_waiting_appends_count_as_a_full_disk(tmp_path, reactor):
    disk = StallingDisk()
    store = open_stalled_store(tmp_path, reactor, disk)
    fired = []
    for number in range(MAX_WAITING):
        appended(store, ALICE, in_session(EVENTS[1:2]), 1 + number).addCallback(fired.append)
    assert not store.full()
    appended(store, ALICE, in_session(EVENTS[1:2]), 1 + MAX_WAITING).addCallback(fired.append)
    assert store.full()
    disk.go.set()
    reactor.run_until(lambda: len(fired) == MAX_WAITING + 1)
    assert not store.full()
    store.close()


@pytest.mark.parametrize("call", ["sync", "write"])
def test_a_failed_disk_call_is_final(tmp_path, reactor, call):
    failures: list = []
    disk = FailingDisk(OSError(5, "Input/output error"))
    store = open_store(tmp_path, reactor, failures, system=System(disk))
    fired = []
    appended(store, ALICE, in_session(EVENTS[:1]), 0).addCallback(fired.append)
    reactor.run_until(lambda: bool(fired))
    disk.failing.add(call)
    refused = []
    appended(store, ALICE, in_session(EVENTS[1:2]), 1).addErrback(lambda f: refused.append(f.value))
    reactor.run_until(lambda: bool(refused))
    disk.failing.clear()
    appended(store, ALICE, in_session(EVENTS[2:3]), 2).addErrback(lambda f: refused.append(f.value))
    assert [type(error) for error in refused] == [StoreUnavailable] * 2
    assert "Input/output error" in str(refused[0])
    assert len(failures) == 1
    assert failures[0].exit_status == 75
    with pytest.raises(StoreUnavailable):
        store.close()
    assert len(read(tmp_path / "log")) <= 2


def test_a_short_write_is_continued(tmp_path, reactor):
    store = open_store(tmp_path, reactor, system=System(HaltingDisk()))
    fired = []
    appended(store, ALICE, in_session(EVENTS), 0).addCallback(fired.append)
    reactor.run_until(lambda: bool(fired))
    store.close()
    assert [r.event for r in read(tmp_path / "log")] == EVENTS


def test_an_unencodable_value_fails_only_its_append(tmp_path, reactor):
    failures: list = []
    store = open_store(tmp_path, reactor, failures)
    monstrous = dataclasses.replace(complete_event(), usage=AnswerUsage(prompt_tokens=10**30))
    with pytest.raises(Unencodable):
        appended(store, ALICE, in_session([monstrous]), 0)
    fired = []
    appended(store, ALICE, in_session(EVENTS[:1]), 0).addCallback(fired.append)
    reactor.run_until(lambda: bool(fired))
    assert fired == [1]
    assert failures == []
    store.close()


def complete_event():
    return next(event for event in EVENTS if type(event).__name__ == "AnswerCompleted")


def test_startups_without_events_add_no_segments(tmp_path, reactor):
    for _ in range(3):
        open_store(tmp_path, reactor).close()
    store = open_store(tmp_path, reactor)
    fired = []
    appended(store, ALICE, in_session(EVENTS[:1]), 0).addCallback(fired.append)
    reactor.run_until(lambda: bool(fired))
    store.close()
    for _ in range(3):
        open_store(tmp_path, reactor).close()
    assert [r.event for r in read(tmp_path / "log")] == EVENTS[:1]
    assert len(segments.list_segments(tmp_path / "log")) == 2


def test_a_failure_while_sealing_is_reported(tmp_path, reactor):
    disk = FailingDisk(OSError(28, "No space left on device"))
    store = open_store(tmp_path, reactor, system=System(disk))
    fired = []
    appended(store, ALICE, in_session(EVENTS[:1]), 0).addCallback(fired.append)
    reactor.run_until(lambda: bool(fired))
    disk.failing.add("write")
    with pytest.raises(StoreUnavailable, match="No space left"):
        store.close()
    assert [r.event for r in read(tmp_path / "log")] == EVENTS[:1]


def test_a_full_disk_uses_its_reserve_and_recovers_when_space_is_freed(tmp_path, reactor):
    failures: list = []
    fullness: list = []
    disk = SmallDisk(ROOM_NEEDED_BYTES + 100)
    store = open_store(tmp_path, reactor, failures, fullness, system=System(disk))
    fired = []
    appended(store, ALICE, in_session(EVENTS[:1]), 0).addCallback(fired.append)
    reactor.run_until(lambda: bool(fired))
    assert not store.full()

    disk.room = 0
    for number, event in enumerate(EVENTS[1:], 1):
        appended(store, ALICE, in_session([event]), number).addCallback(fired.append)
    reactor.run_until(lambda: len(fired) == len(EVENTS))
    assert disk.writes_refused, "the disk was never full"
    assert store.full(), "the reserve is used up, but the store is not full"

    disk.room += 3 * RESERVE_BYTES
    reactor.run_until(lambda: fullness == [True, False])
    assert not store.full()
    store.close()
    assert failures == []
    assert [r.event for r in read(tmp_path / "log")] == EVENTS


def test_a_commit_waits_for_free_space(tmp_path, reactor):
    failures: list = []
    disk = SmallDisk(300)
    store = open_store(tmp_path, reactor, failures, system=System(disk))
    reactor.run_until(store.full)
    fired = []
    appended(store, ALICE, in_session(EVENTS), 0).addCallback(fired.append)
    reactor.run_until(lambda: disk.writes_refused > 0)
    assert fired == [], "acknowledged without room"
    disk.room += 3 * RESERVE_BYTES
    reactor.run_until(lambda: bool(fired) and not store.full())
    store.close()
    assert failures == []
    assert [r.event for r in read(tmp_path / "log")] == EVENTS


def test_closing_does_not_wait_for_free_space(tmp_path, reactor):
    disk = SmallDisk(300)
    store = open_store(tmp_path, reactor, system=System(disk))
    refused = []
    appended(store, ALICE, in_session(EVENTS), 0).addErrback(refused.append)
    reactor.run_until(lambda: disk.writes_refused > 0)
    with pytest.raises(StoreUnavailable, match="No space left"):
        store.close()
    assert read(tmp_path / "log") == []


def test_only_one_process_can_open_the_store(tmp_path, reactor):
    store = open_store(tmp_path, reactor)
    with pytest.raises(StateDirectoryLocked, match=str(os.getpid())):
        open_store(tmp_path, reactor)
    store.close()
    open_store(tmp_path, reactor).close()


def test_a_state_lock_is_released_on_exit(tmp_path):
    with StateLock(tmp_path):
        pass
    with StateLock(tmp_path):
        pass


def test_all_files_are_private_to_their_owner(tmp_path, reactor):
    state = tmp_path / "state"
    store = open_store(state, reactor)
    store.close()
    for path in [state, *state.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_sealed_log_continues_in_a_new_segment(tmp_path, reactor):
    for expected in (0, 1):
        store = open_store(tmp_path, reactor)
        fired = []
        appended(store, ALICE, in_session(EVENTS[expected : expected + 1]), expected).addCallback(
            fired.append
        )
        reactor.run_until(lambda fired=fired: bool(fired))
        assert store.figures().last_seq == expected + 1
        store.close()
    assert len(segments.list_segments(tmp_path / "log")) == 2
    assert [r.event for r in read(tmp_path / "log")] == EVENTS[:2]


def test_a_key_without_events_is_ignored(tmp_path, reactor):
    """A commit writes new keys first, so a failed one can leave keys without events."""

    def append(number: int) -> None:
        store = open_store(tmp_path, reactor)
        fired = []
        appended(store, ALICE, in_session(EVENTS[number : number + 1]), number).addCallback(
            fired.append
        )
        reactor.run_until(lambda: bool(fired))
        store.close()

    append(0)
    orphans = keyring_of(tmp_path / "log")
    with orphans.path.open("ab") as file:
        for user in (ALICE, User("main", "never")):
            file.write(orphans.record(orphans.make(user)))
    append(1)
    append(2)
    assert [r.event for r in read(tmp_path / "log")] == EVENTS[:3]
    keys = keyring_of(tmp_path / "log")
    assert len(keys) == 1
    assert keys.is_whole


def test_an_unreadable_snapshot_covers_nothing(tmp_path, reactor):
    store = open_store(tmp_path, reactor)
    fired = []
    appended(store, ALICE, in_session(EVENTS), 0).addCallback(fired.append)
    reactor.run_until(lambda: bool(fired))
    store.close()
    junk = tmp_path / "log" / segments.snapshot_name(999_999)
    junk.write_bytes(b"junk")
    store = open_store(tmp_path, reactor)
    capture = Capture(len(EVENTS), {}, 0.0, 0.0)
    store.snapshot(capture)()
    store.retain(9e12, 1)
    store.close()
    assert not junk.exists()
    assert open_store(tmp_path, reactor).load({}).snapshot_seq == len(EVENTS)


def append(store, reactor, user, events, version) -> None:
    """Append events, and wait until they are durable."""
    fired = []
    appended(store, user, in_session(events), version).addCallback(fired.append)
    reactor.run_until(lambda: bool(fired))


def test_a_user_may_be_erased_while_a_snapshot_is_taken(tmp_path, reactor):
    store = open_store(tmp_path, reactor)
    append(store, reactor, ALICE, EVENTS, 0)
    append(store, reactor, BOB, EVENTS[:4], 0)
    take = store.snapshot(Capture(len(EVENTS) + 4, {}, 0.0, 0.0))
    append(store, reactor, ALICE, [UserErased(at=9e9)], len(EVENTS))
    take()
    store.close()
    store = open_store(tmp_path, reactor)
    users = store._users
    assert users.snapshot.last_seq == len(EVENTS) + 4
    assert users.find(ALICE) is None
    assert users.find(BOB) == fold(EVENTS[:4])
    store.close()


def test_states_are_read_while_snapshots_are_taken(tmp_path, reactor):
    store = open_store(tmp_path, reactor)
    states = {user: [] for user in (ALICE, BOB)}
    for number, event in enumerate(EVENTS):
        for user, events in states.items():
            append(store, reactor, user, [event], number)
            events.append(event)
        if number % 3 == 0:
            store.snapshot(Capture(2 * number + 2, {}, 0.0, 0.0))()
        if number % 4 == 0:
            reactor.run_until(lambda: True)
        for user, events in states.items():
            assert store._users.find(user) == fold(events)
    store.close()


def test_a_snapshot_that_turns_out_to_be_damaged_is_set_aside(tmp_path, reactor, monkeypatch):
    store = open_store(tmp_path, reactor)
    for number in (0, 1):
        append(store, reactor, ALICE, EVENTS[number : number + 1], number)
        store.snapshot(Capture(number + 1, {}, 0.0, 0.0))()
    store.close()
    older, newest = segments.list_snapshots(tmp_path / "log")
    data = bytearray(newest.read_bytes())
    data[data.index(b"main:") + 40] ^= 1  # in the only user's state
    newest.write_bytes(data)
    monkeypatch.setattr(snapshot, "CHECKED_BYTES", 10)  # as if it were too large to check
    store = open_store(tmp_path, reactor)
    with pytest.raises(snapshot.SnapshotDamaged, match="is damaged") as raised:
        store._users.find(ALICE)
    assert raised.value.exit_status == 75, "systemd starts the daemon again"
    store.close()
    assert segments.list_snapshots(tmp_path / "log") == [older]
    store = open_store(tmp_path, reactor)
    assert store._users.find(ALICE) == fold(EVENTS[:2])
    store.close()


def test_a_large_snapshot_is_checked_after_the_start(tmp_path, reactor, monkeypatch):
    store = open_store(tmp_path, reactor)
    append(store, reactor, ALICE, EVENTS, 0)
    store.snapshot(Capture(len(EVENTS), {}, 0.0, 0.0))()
    store.close()
    (path,) = segments.list_snapshots(tmp_path / "log")
    monkeypatch.setattr(snapshot, "CHECKED_BYTES", 10)
    store = open_store(tmp_path, reactor)
    assert store.damage_before(len(EVENTS)) == []
    data = bytearray(path.read_bytes())
    data[data.index(b"main:") + 40] ^= 1
    path.write_bytes(data)
    (damage,) = store.damage_before(len(EVENTS))
    assert path.name in damage
    assert not path.exists()
    store.close()


def test_states_are_read_although_every_snapshot_fails(tmp_path, reactor):
    def refuse(job, master, disk):
        raise OSError(errno.EIO, "no")

    store = open_store(tmp_path, reactor, system=System(take_snapshot=refuse))
    states = {user: [] for user in (ALICE, BOB)}
    for number in range(len(EVENTS)):
        user = BOB if number % 3 == 2 else ALICE
        follows = EVENTS[len(states[user])]
        append(store, reactor, user, [follows], len(states[user]))
        states[user].append(follows)
        last_seq = store.figures().last_seq
        with pytest.raises(OSError, match="no"):
            store.snapshot(Capture(last_seq, {}, 0.0, 0.0))()
        assert len(store._users._generations) <= 2
        assert store._users.find(user) == fold(states[user])
    store.close()
    store = open_store(tmp_path, reactor)
    for user, events in states.items():
        assert store._users.find(user) == fold(events)
    store.close()


def test_a_snapshot_in_place_of_a_damaged_one_is_kept(tmp_path, reactor):
    store = open_store(tmp_path, reactor)
    append(store, reactor, ALICE, EVENTS, 0)
    store.snapshot(Capture(len(EVENTS), {}, 0.0, 0.0))()
    store.close()
    (path,) = segments.list_snapshots(tmp_path / "log")
    path.write_bytes(b"junk")
    store = open_store(tmp_path, reactor)
    store.snapshot(Capture(len(EVENTS), {}, 0.0, 0.0))()
    assert path.stat().st_size > 100
    store.close()
