"""What was said in a deleted session leaves the log's files, and everything else stays."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from tests.eventlog.test_store import Reactor, appended, open_store
from tests.support.builders import ALICE, BOB
from tests.support.continue_log import LOGS
from tests.support.injuries import MASTER, conversation, keyring_of
from wxgptd.domain.evolve import fold
from wxgptd.domain.model import events as e
from wxgptd.domain.model.values import CloseReason, DeliveryKey, SessionId
from wxgptd.eventlog import codec, deleting, reader, segments, snapshot, verifying
from wxgptd.eventlog.deleting import Deleted
from wxgptd.eventlog.disk import Disk
from wxgptd.eventlog.keyring import Keyring
from wxgptd.eventlog.system import System
from wxgptd.ports.record import Capture

TALK = conversation(2)
OPENED_AT = TALK[0].at
S1, S2 = SessionId("s1"), SessionId("s2")
ENDED = [
    e.SessionClosed(at=50.0, session=S1, reason=CloseReason.STOPPED),
    e.SessionOpened(at=60.0, session=S2, assistant=TALK[0].assistant, ttl_s=300.0),
    e.QuestionAsked(
        at=61.0, session=S2, delivery=DeliveryKey("k0"), text="这句要留下", link=b"link of k0"
    ),
]
DELETED = e.SessionDeleted(at=70.0, session=S1, opened_at=OPENED_AT)


@pytest.fixture
def reactor():
    return Reactor()


def record(store, reactor, user, events, version) -> int:
    """Append events, each in its session; return the version after them."""
    in_sessions = [(S2 if event in ENDED[1:] else S1, event) for event in events]
    fired = []
    appended(store, user, in_sessions, version).addCallback(fired.append)
    reactor.run_until(lambda: bool(fired))
    return version + len(events)


def begin_segment(store, reactor) -> None:
    fired = []
    store.begin_segment().addCallback(fired.append)
    reactor.run_until(lambda: bool(fired))


def delete(store, reactor, user, last_seq) -> None:
    """Take the snapshot that removes session s1 of `user`."""
    begin_segment(store, reactor)
    capture = Capture(last_seq, {}, 0.0, 0.0, deleted=[(user, S1, OPENED_AT)])
    store.snapshot(capture)()
    adopted = []
    reactor.call_from_thread(lambda: adopted.append(True))
    reactor.run_until(lambda: bool(adopted))


def said(log: Path, keys: Keyring | None = None) -> str:
    """Return everything that can still be decrypted from the log's segments and snapshots."""
    keys = keys or keyring_of(log)
    events = "".join(repr(recorded.event) for recorded in reader.scan(log, keys))
    users = open_users(log, keys)
    return events + "".join(repr(state) for state in users)


def open_users(log: Path, keys: Keyring) -> list[object]:
    states = []
    for path in segments.list_snapshots(log):
        for row in snapshot.read(path, keys).users:
            key = keys.find(row.reference)
            if key is not None and row.frozen:
                states.append(key.open(row.frozen).decode("utf-8", "replace"))
    return states


def test_a_snapshot_removes_a_deleted_session_and_nothing_else(tmp_path, reactor):
    store = open_store(tmp_path, reactor)
    version = record(store, reactor, ALICE, TALK, 0)
    record(store, reactor, BOB, TALK, 0)
    store.snapshot(Capture(2 * len(TALK), {}, 0.0, 0.0))()  # an earlier one has the words, too
    version = record(store, reactor, ALICE, [*ENDED, DELETED], version)
    log = tmp_path / "log"
    bobs = said(log).count("问题 0")
    assert bobs >= 4, "two users' segments and snapshots have it"
    delete(store, reactor, ALICE, 2 * len(TALK) + len(ENDED) + 1)
    expected = fold([*TALK, *ENDED, DELETED])
    assert store._users.find(ALICE) == expected
    assert "这句要留下" in repr(expected)
    assert store._users.find(BOB) == fold(TALK)
    store.close()

    assert len(segments.list_snapshots(log)) == 1
    left = said(log)
    assert left.count("问题 0") == left.count("问题 1") == 2, "Bob's event and Bob's state"
    assert "这句要留下" in left
    assert not list(log.glob("*.new"))
    assert list(verifying.verify(log, keyring_of(log)).lines) == []
    reopened = open_store(tmp_path, reactor)
    assert reopened._users.find(ALICE) == expected
    reopened.close()


def test_a_log_without_snapshots_folds_to_the_same_state_afterwards(tmp_path, reactor):
    store = open_store(tmp_path, reactor)
    record(store, reactor, ALICE, [*TALK, *ENDED, DELETED], 0)
    delete(store, reactor, ALICE, len(TALK) + len(ENDED) + 1)
    store.close()
    for path in segments.list_snapshots(tmp_path / "log"):
        path.unlink()
    reopened = open_store(tmp_path, reactor)
    assert reopened._users.find(ALICE) == fold([*TALK, *ENDED, DELETED])
    reopened.close()


def test_events_after_the_snapshot_are_found_in_replaced_segments(tmp_path, reactor):
    store = open_store(tmp_path, reactor)
    record(store, reactor, BOB, TALK[:3], 0)
    # A snapshot of the beginning: everything else is read from the segments, by position.
    store.snapshot(Capture(3, {}, 0.0, 0.0))()
    version = record(store, reactor, ALICE, TALK, 0)
    record(store, reactor, BOB, TALK[3:], 3)
    record(store, reactor, ALICE, [*ENDED, DELETED], version)
    begin_segment(store, reactor)
    reference = store._keys.of(ALICE).reference
    assert deleting.remove(tmp_path / "log", [Deleted(reference, S1, OPENED_AT)]).rewritten == 1
    store._users.close_segments()
    assert store._users.find(BOB) == fold(TALK)
    assert store._users.find(ALICE) == fold([*TALK, *ENDED, DELETED])
    store.close()


def test_what_was_left_beside_the_segments_goes_too(tmp_path, reactor):
    store = open_store(tmp_path, reactor)
    record(store, reactor, ALICE, [*TALK, *ENDED, DELETED], 0)
    log = tmp_path / "log"
    (segment,) = segments.list_segments(log)
    for name in (f"{segment.name}.new", f"{segment.name}.77.1.broken", "x.wxsnap.damaged"):
        (log / name).write_bytes(b"what was said")
    delete(store, reactor, ALICE, len(TALK) + len(ENDED) + 1)
    store.close()
    assert not [path for path in log.iterdir() if path.suffix not in (".wxlog", ".wxsnap", "")]


def test_removing_twice_rewrites_once(tmp_path, reactor):
    store = open_store(tmp_path, reactor)
    record(store, reactor, ALICE, [*TALK, *ENDED, DELETED], 0)
    begin_segment(store, reactor)
    deleted = [Deleted(store._keys.of(ALICE).reference, S1, OPENED_AT)]
    assert deleting.remove(tmp_path / "log", deleted).rewritten == 1
    assert deleting.remove(tmp_path / "log", deleted).rewritten == 0
    store.close()


def test_segments_from_before_the_session_are_not_read(tmp_path, reactor):
    store = open_store(tmp_path, reactor)
    record(store, reactor, ALICE, TALK, 0)
    begin_segment(store, reactor)
    record(store, reactor, BOB, TALK, 0)
    begin_segment(store, reactor)
    first, *_ = segments.list_segments(tmp_path / "log")
    first.write_bytes(b"damaged")
    later = segments.creation_time() + deleting.CLOCK_CHANGES_S + 60.0
    assert deleting.remove(tmp_path / "log", [Deleted("main:0", S1, later)]).rewritten == 0
    (damage,) = deleting.remove(tmp_path / "log", [Deleted("main:0", S1, OPENED_AT)]).damaged
    assert damage.startswith(first.name)


class Failing(Disk):
    """Fails one sync, of a file or a directory, counted from the one after `arm`."""

    def __init__(self) -> None:
        self.left = -1

    def _count(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise OSError(errno.EIO, "Input/output error")

    def sync(self, descriptor: int) -> None:
        self._count()
        super().sync(descriptor)

    def sync_directory(self, descriptor: int) -> None:
        self._count()
        super().sync_directory(descriptor)


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_what_fails_in_between_is_done_by_the_next_snapshot(tmp_path, reactor, step):
    store = open_store(tmp_path, reactor)
    record(store, reactor, ALICE, [*TALK, *ENDED, DELETED], 0)
    last_seq = len(TALK) + len(ENDED) + 1
    begin_segment(store, reactor)
    disk = Failing()
    store._disk = disk
    disk.left = step
    capture = Capture(last_seq, {}, 0.0, 0.0, deleted=[(ALICE, S1, OPENED_AT)])
    with pytest.raises(OSError):
        store.snapshot(capture)()
    crashed = tmp_path / "crashed"
    shutil.copytree(tmp_path, crashed, ignore=shutil.ignore_patterns("crashed"))
    store.close()
    again = open_store(crashed, reactor, system=System())
    assert again._users.find(ALICE) == fold([*TALK, *ENDED, DELETED])
    delete(again, reactor, ALICE, last_seq)
    again.close()
    assert "问题" not in said(crashed / "log")


def test_segments_of_the_earlier_format_are_cleaned_too(tmp_path, reactor):
    state_dir = tmp_path / "v5"
    shutil.copytree(LOGS / "v5", state_dir)
    keys = Keyring(segments.keyring_path(state_dir), MASTER)
    log = segments.log_directory(state_dir)
    records = [codec.require(recorded) for recorded in reader.scan(log, keys)]
    asked = next(
        r for r in records if isinstance(r.event, e.QuestionAsked) and r.event.text and not r.hidden
    )
    own = [r for r in records if r.user == asked.user and r.session == asked.session]
    others = [r for r in records if r not in own]
    store = open_store(state_dir, reactor)
    begin_segment(store, reactor)
    reference = store._keys.of(asked.user).reference
    deleted = [Deleted(reference, asked.session, 0.0)]
    assert deleting.remove(log, deleted).rewritten >= 1
    after = [codec.require(recorded) for recorded in reader.scan(log, keys)]
    assert [r for r in after if r.seq in {other.seq for other in others}] == others
    words = {r.event.text for r in own if getattr(r.event, "text", "")}
    assert words
    kept = {r.event.text for r in others if getattr(r.event, "text", "")}
    left = {getattr(r.event, "text", "") for r in after}
    assert not (words - kept) & left
    store.close()
