"""The store as the service sees it: nothing is acknowledged before it is durable."""

from __future__ import annotations

import dataclasses
import errno
import os
import threading
import time

import pytest

from tests.support.builders import ALICE
from tests.support.injuries import MASTER, conversation, keyring_of, read
from wxgptd.domain.evolve import fold
from wxgptd.domain.model.values import AnswerUsage, User
from wxgptd.eventlog import segments
from wxgptd.eventlog.codec import Unencodable
from wxgptd.eventlog.disk import RESERVE_BYTES, ROOM_NEEDED_BYTES, Disk
from wxgptd.eventlog.segments import StateDirectoryLocked, StateLock
from wxgptd.eventlog.store import MAX_WAITING, Alarms, LogStore, StoreUnavailable, Turns
from wxgptd.ports.record import Capture

EVENTS = conversation(2)


def in_session(events):
    return [("s1", event) for event in events]


class Reactor:
    """Runs what other threads hand over, when the test says so."""

    def __init__(self) -> None:
        self._calls: list = []
        self._lock = threading.Lock()

    def call_from_thread(self, function) -> None:
        with self._lock:
            self._calls.append(function)

    def run_until(self, done, patience_s: float = 10.0) -> None:
        deadline = time.monotonic() + patience_s
        while not done():
            assert time.monotonic() < deadline, "it never happened"
            with self._lock:
                calls, self._calls = self._calls, []
            for call in calls:
                call()
            time.sleep(0.001)


@pytest.fixture
def reactor():
    return Reactor()


def opened(tmp_path, reactor, failures=None, fullness=None, **more) -> LogStore:
    store = LogStore(
        tmp_path,
        MASTER,
        Turns(reactor.call_from_thread, reactor.call_from_thread),
        Alarms(
            (failures if failures is not None else []).append,
            (fullness if fullness is not None else []).append,
        ),
        **more,
    )
    store.load({})
    store.start()
    return store


def test_an_append_fires_with_its_position_once_it_is_on_disk(tmp_path, reactor):
    store = opened(tmp_path, reactor)
    fired = []
    store.append(ALICE, in_session(EVENTS[:3]), 0).addCallback(fired.append)
    store.append(ALICE, in_session(EVENTS[3:4]), 3).addCallback(fired.append)
    reactor.run_until(lambda: len(fired) == 2)
    assert fired == [3, 4]
    assert [r.event for r in read(segments.log_directory(tmp_path))] == EVENTS[:4]
    store.close()


class StallingDisk(Disk):
    """Once it stalls, it syncs when it is told to."""

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


def stalled(tmp_path, reactor, disk) -> LogStore:
    """A store with one event in it, on a disk that stalls from now on."""
    store = opened(tmp_path, reactor, disk=disk)
    fired = []
    store.append(ALICE, in_session(EVENTS[:1]), 0).addCallback(fired.append)
    reactor.run_until(lambda: bool(fired))
    disk.stall()
    return store


class FailingDisk(Disk):
    """Fails at the calls that are named in `failing`, with `error`."""

    def __init__(self, error: OSError) -> None:
        self.failing: set[str] = set()
        self._error = error

    def write(self, descriptor, data):
        if "write" in self.failing:
            raise self._error
        return super().write(descriptor, data)

    def sync(self, descriptor):
        if "sync" in self.failing:
            raise self._error
        super().sync(descriptor)


class SmallDisk(Disk):
    """Has `room` bytes for the log; a full one takes some bytes of a write first, as disks do."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.writes_refused = 0
        self._kept: dict = {}

    def write(self, descriptor, data):
        self._gather()
        if self.room <= 0:
            self.writes_refused += 1
            raise OSError(errno.ENOSPC, "No space left on device")
        written = super().write(descriptor, data[: self.room])
        self.room -= written
        return written

    def reserve(self, path, size, room):
        self._gather()
        if self.room < room:
            raise OSError(errno.ENOSPC, "No space left on device")
        path.touch(0o600)
        os.truncate(path, size)
        self._kept[path] = size
        self.room -= size

    def _gather(self):
        """Take back what was kept for a file that is gone."""
        for path in [path for path in self._kept if not path.exists()]:
            self.room += self._kept.pop(path)


class HaltingDisk(Disk):
    """Writes seven bytes at a time."""

    def write(self, descriptor, data):
        return super().write(descriptor, data[:7])


def test_nothing_is_acknowledged_while_the_sync_is_under_way(tmp_path, reactor):
    disk = StallingDisk()
    store = stalled(tmp_path, reactor, disk)
    fired = []
    store.append(ALICE, in_session(EVENTS[1:2]), 1).addCallback(fired.append)
    reactor.run_until(disk.entered.is_set)
    reactor.run_until(lambda: True)
    assert fired == [], "acknowledged before the sync had returned"
    disk.go.set()
    reactor.run_until(lambda: bool(fired))
    store.close()


def test_what_comes_together_is_committed_together(tmp_path, reactor):
    disk = StallingDisk()
    store = stalled(tmp_path, reactor, disk)
    fired = []
    for number, event in enumerate(EVENTS[1:4], 1):  # in one turn of the reactor
        store.append(ALICE, in_session([event]), number).addCallback(fired.append)
    reactor.run_until(disk.entered.is_set)
    for number, event in enumerate(EVENTS[4:], 4):  # while the sync runs
        store.append(ALICE, in_session([event]), number).addCallback(fired.append)
    disk.go.set()
    reactor.run_until(lambda: len(fired) == len(EVENTS) - 1)
    assert store.figures().commits == 1 + 2
    assert store.figures().events == len(EVENTS)
    store.close()


def test_when_too_much_waits_for_a_stalled_disk_it_is_as_if_it_were_full(tmp_path, reactor):
    disk = StallingDisk()
    store = stalled(tmp_path, reactor, disk)
    fired = []
    for number in range(MAX_WAITING):
        store.append(ALICE, in_session(EVENTS[1:2]), 1 + number).addCallback(fired.append)
    assert not store.full()
    store.append(ALICE, in_session(EVENTS[1:2]), 1 + MAX_WAITING).addCallback(fired.append)
    assert store.full()
    disk.go.set()
    reactor.run_until(lambda: len(fired) == MAX_WAITING + 1)
    assert not store.full()
    store.close()


@pytest.mark.parametrize("call", ["sync", "write"])
def test_a_failed_disk_call_is_final(tmp_path, reactor, call):
    failures: list = []
    disk = FailingDisk(OSError(5, "Input/output error"))
    store = opened(tmp_path, reactor, failures, disk=disk)
    fired = []
    store.append(ALICE, in_session(EVENTS[:1]), 0).addCallback(fired.append)
    reactor.run_until(lambda: bool(fired))
    disk.failing.add(call)
    refused = []
    store.append(ALICE, in_session(EVENTS[1:2]), 1).addErrback(lambda f: refused.append(f.value))
    reactor.run_until(lambda: bool(refused))
    disk.failing.clear()
    store.append(ALICE, in_session(EVENTS[2:3]), 2).addErrback(lambda f: refused.append(f.value))
    assert [type(error) for error in refused] == [StoreUnavailable] * 2
    assert "Input/output error" in str(refused[0])
    assert len(failures) == 1
    assert failures[0].exit_status == 75
    with pytest.raises(StoreUnavailable):
        store.close()
    assert len(read(tmp_path / "log")) <= 2


def test_a_short_write_is_continued(tmp_path, reactor):
    store = opened(tmp_path, reactor, disk=HaltingDisk())
    fired = []
    store.append(ALICE, in_session(EVENTS), 0).addCallback(fired.append)
    reactor.run_until(lambda: bool(fired))
    store.close()
    assert [r.event for r in read(tmp_path / "log")] == EVENTS


def test_a_value_that_cannot_be_written_fails_its_append_and_not_the_log(tmp_path, reactor):
    failures: list = []
    store = opened(tmp_path, reactor, failures)
    monstrous = dataclasses.replace(complete_event(), usage=AnswerUsage(prompt_tokens=10**30))
    with pytest.raises(Unencodable):
        store.append(ALICE, in_session([monstrous]), 0)
    fired = []
    store.append(ALICE, in_session(EVENTS[:1]), 0).addCallback(fired.append)
    reactor.run_until(lambda: bool(fired))
    assert fired == [1]
    assert failures == []
    store.close()


def complete_event():
    return next(event for event in EVENTS if type(event).__name__ == "AnswerCompleted")


def test_starts_without_events_do_not_pile_up(tmp_path, reactor):
    for _ in range(3):
        opened(tmp_path, reactor).close()
    store = opened(tmp_path, reactor)
    fired = []
    store.append(ALICE, in_session(EVENTS[:1]), 0).addCallback(fired.append)
    reactor.run_until(lambda: bool(fired))
    store.close()
    for _ in range(3):
        opened(tmp_path, reactor).close()
    assert [r.event for r in read(tmp_path / "log")] == EVENTS[:1]
    assert len(segments.list_segments(tmp_path / "log")) == 2


def test_a_failure_while_sealing_is_reported(tmp_path, reactor):
    disk = FailingDisk(OSError(28, "No space left on device"))
    store = opened(tmp_path, reactor, disk=disk)
    fired = []
    store.append(ALICE, in_session(EVENTS[:1]), 0).addCallback(fired.append)
    reactor.run_until(lambda: bool(fired))
    disk.failing.add("write")
    with pytest.raises(StoreUnavailable, match="No space left"):
        store.close()
    assert [r.event for r in read(tmp_path / "log")] == EVENTS[:1]


def test_a_full_disk_gives_its_reserve_first_and_goes_on_when_there_is_room(tmp_path, reactor):
    failures: list = []
    fullness: list = []
    disk = SmallDisk(ROOM_NEEDED_BYTES + 100)
    store = opened(tmp_path, reactor, failures, fullness, disk=disk)
    fired = []
    store.append(ALICE, in_session(EVENTS[:1]), 0).addCallback(fired.append)
    reactor.run_until(lambda: bool(fired))
    assert not store.full()

    disk.room = 0
    for number, event in enumerate(EVENTS[1:], 1):
        store.append(ALICE, in_session([event]), number).addCallback(fired.append)
    reactor.run_until(lambda: len(fired) == len(EVENTS))
    assert disk.writes_refused, "it was never full"
    assert store.full(), "the reserve is used up, and nobody is told"

    disk.room += 3 * RESERVE_BYTES
    reactor.run_until(lambda: fullness == [True, False])
    assert not store.full()
    store.close()
    assert failures == []
    assert [r.event for r in read(tmp_path / "log")] == EVENTS


def test_without_any_room_a_commit_waits_for_some(tmp_path, reactor):
    failures: list = []
    disk = SmallDisk(300)
    store = opened(tmp_path, reactor, failures, disk=disk)
    reactor.run_until(store.full)
    fired = []
    store.append(ALICE, in_session(EVENTS), 0).addCallback(fired.append)
    reactor.run_until(lambda: disk.writes_refused > 0)
    assert fired == [], "acknowledged without room"
    disk.room += 3 * RESERVE_BYTES
    reactor.run_until(lambda: bool(fired) and not store.full())
    store.close()
    assert failures == []
    assert [r.event for r in read(tmp_path / "log")] == EVENTS


def test_a_stop_does_not_wait_for_room(tmp_path, reactor):
    disk = SmallDisk(300)
    store = opened(tmp_path, reactor, disk=disk)
    refused = []
    store.append(ALICE, in_session(EVENTS), 0).addErrback(refused.append)
    reactor.run_until(lambda: disk.writes_refused > 0)
    with pytest.raises(StoreUnavailable, match="No space left"):
        store.close()
    assert read(tmp_path / "log") == []


def test_one_process_at_a_time(tmp_path, reactor):
    store = opened(tmp_path, reactor)
    with pytest.raises(StateDirectoryLocked, match=str(os.getpid())):
        opened(tmp_path, reactor)
    store.close()
    opened(tmp_path, reactor).close()


def test_a_lock_outlives_nobody(tmp_path):
    with StateLock(tmp_path):
        pass
    with StateLock(tmp_path):
        pass


def test_everything_is_private_to_its_user(tmp_path, reactor):
    state = tmp_path / "state"
    store = opened(state, reactor)
    store.close()
    for path in [state, *state.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_sealed_log_goes_on_in_a_new_segment(tmp_path, reactor):
    for expected in (0, 1):
        store = opened(tmp_path, reactor)
        fired = []
        store.append(ALICE, in_session(EVENTS[expected : expected + 1]), expected).addCallback(
            fired.append
        )
        reactor.run_until(lambda fired=fired: bool(fired))
        assert store.figures().last_seq == expected + 1
        store.close()
    assert len(segments.list_segments(tmp_path / "log")) == 2
    assert [r.event for r in read(tmp_path / "log")] == EVENTS[:2]


def test_a_key_that_no_event_was_written_with_is_nobody_s(tmp_path, reactor):
    """A commit writes new keys first: what is left of one that came to nothing must not count."""

    def append(number: int) -> None:
        store = opened(tmp_path, reactor)
        fired = []
        store.append(ALICE, in_session(EVENTS[number : number + 1]), number).addCallback(
            fired.append
        )
        reactor.run_until(lambda: bool(fired))
        store.close()

    append(0)
    orphans = keyring_of(tmp_path / "log")
    with orphans.path.open("ab") as file:
        file.write(orphans.make(ALICE).record + orphans.make(User("main", "never")).record)
    append(1)
    append(2)
    assert [r.event for r in read(tmp_path / "log")] == EVENTS[:3]
    keys = keyring_of(tmp_path / "log")
    assert len(keys) == 1
    assert keys.is_whole


def test_snapshots_that_cannot_be_read_cover_nothing(tmp_path, reactor):
    store = opened(tmp_path, reactor)
    fired = []
    store.append(ALICE, in_session(EVENTS), 0).addCallback(fired.append)
    reactor.run_until(lambda: bool(fired))
    store.close()
    junk = tmp_path / "log" / segments.snapshot_name(999_999)
    junk.write_bytes(b"junk")
    store = opened(tmp_path, reactor)
    capture = Capture(len(EVENTS), {ALICE: fold(EVENTS)}, {}, {}, 0.0, 0.0)
    store.snapshot(capture, only=True)()
    store.retain(9e12, 1)
    store.close()
    assert not junk.exists()
    assert opened(tmp_path, reactor).load({}).snapshot_seq == len(EVENTS)
