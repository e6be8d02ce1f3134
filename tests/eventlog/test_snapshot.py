"""Snapshots on disk, loading them at startup, and deleting the segments they cover."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given

from tests.domain.test_properties import TIMED, played
from tests.support.builders import ALICE, BOB
from tests.support.injuries import MASTER, conversation, flip, keyring_of, read, write
from wxgptd.domain.evolve import fold
from wxgptd.domain.model.events import PageOpened
from wxgptd.eventlog import (
    loading,
    reader,
    recovery,
    retention,
    segments,
    snapshot_writing,
    snapshotting,
    state_codec,
    verifying,
)
from wxgptd.eventlog.following import Follower
from wxgptd.eventlog.keyring import Keyring
from wxgptd.eventlog.reader import LogDamaged
from wxgptd.eventlog.snapshotting import Job

EVENTS = conversation(6)
OTHERS = conversation(2)


@given(TIMED)
def test_a_state_round_trips(commands):
    state = played(commands).state
    assert state_codec.unpack_state(state_codec.pack_state(state)) == state


@pytest.fixture
def log(tmp_path):
    """Two users' conversations in several sealed segments."""
    directory = tmp_path / "log"
    write(directory, EVENTS, segment_bytes=700)
    write(directory, OTHERS, user=BOB, segment_bytes=700)
    return directory


def take_snapshot(log, last_seq: int, notes=None) -> None:
    """Take a snapshot of the first `last_seq` events."""
    snapshotting.take(Job(log.parent, last_seq, notes or {}, 0.0, 0.0, 0.0), MASTER)


def states(log) -> tuple:
    found, keys = load(log), keyring_of(log)
    return found.loaded, states_of(found, keys)


def load(log) -> loading.Found:
    return loading.load(log, keyring_of(log), {})


def states_of(found, keys) -> dict:
    """Return the state of each user."""
    found_keys = [keys.numbered(number) for number in found.users.numbers()]
    return {key.user: found.users.state(key) for key in found_keys if key is not None}


EXPECTED = {ALICE: fold(EVENTS), BOB: fold(OTHERS)}


@pytest.mark.parametrize("last_seq", [1, 5, len(EVENTS), len(EVENTS) + 3, len(EVENTS + OTHERS)])
def test_a_snapshot_and_the_events_after_it_give_the_full_state(log, last_seq):
    take_snapshot(log, last_seq, {"links": [1, "二"]})
    loaded, folded = states(log)
    assert folded == EXPECTED
    assert loaded.snapshot_seq == last_seq
    assert loaded.last_seq == len(EVENTS + OTHERS)
    assert loaded.notes == {"links": (1, "二")}


def test_segments_covered_by_a_snapshot_are_not_read(log):
    take_snapshot(log, len(EVENTS + OTHERS))
    for path in segments.list_segments(log)[:-1]:
        path.write_bytes(b"rubbish")
    assert states(log)[1] == EXPECTED


def test_users_in_a_snapshot_can_be_queried_without_reading_their_states(log):
    take_snapshot(log, len(EVENTS + OTHERS))
    found = load(log)
    assert set(found.loaded.open) == {ALICE, BOB}, "their sessions are open"
    assert set(found.users.newest(1)) == {ALICE, BOB}
    assert list(found.users.marked_users()) == []
    assert len(found.users) == 2


def test_a_damaged_snapshot_is_skipped_in_favour_of_the_previous_one(log):
    take_snapshot(log, 5)
    take_snapshot(log, 9)
    newest = segments.list_snapshots(log)[-1]
    intact = newest.read_bytes()
    for position in range(0, len(intact) * 8, 11):
        newest.write_bytes(flip(position // 8, position % 8)(intact))
        loaded, folded = states(log)
        assert folded == EXPECTED
        # The checksum covers even the time in the header.
        assert loaded.snapshot_seq == 5, position
        assert len(loaded.skipped) == 1
    for size in range(0, len(intact), 13):
        newest.write_bytes(intact[:size])
        assert states(log)[0].snapshot_seq == 5


def test_the_whole_log_is_replayed_if_no_snapshot_is_intact(log):
    take_snapshot(log, 9)
    segments.list_snapshots(log)[-1].write_bytes(b"junk")
    loaded, folded = states(log)
    assert (folded, loaded.snapshot_seq) == (EXPECTED, 0)


def test_a_snapshot_with_the_wrong_name_is_ignored(log):
    take_snapshot(log, 9)
    (path,) = segments.list_snapshots(log)
    path.rename(log / segments.snapshot_name(7))
    assert states(log)[0].snapshot_seq == 0


def test_a_log_that_ends_before_its_snapshot_is_rejected(log):
    take_snapshot(log, len(EVENTS + OTHERS))
    for path in segments.list_segments(log)[-2:]:
        path.unlink()
    with pytest.raises(LogDamaged, match="ends with event"):
        states(log)


def test_an_interrupted_snapshot_is_ignored_and_later_deleted(log):
    (log / (segments.snapshot_name(3) + ".new")).write_bytes(b"half")
    assert states(log)[0].snapshot_seq == 0
    take_snapshot(log, 9)
    snapshot_writing.drop_all_but(log, 2)
    assert [path.name for path in log.glob("*wxsnap*")] == [segments.snapshot_name(9)]


# Retention.


def names(paths: Sequence) -> list[int]:
    return [segments.first_seq_of(path) for path in paths]


def test_segments_not_covered_by_a_snapshot_are_retained(log):
    assert retention.drop(log, before=9e12, most_bytes=1).segments == 0
    before = names(segments.list_segments(log))
    take_snapshot(log, 7)
    retention.drop(log, before=9e12, most_bytes=0)
    retained = names(segments.list_segments(log))
    assert retained[0] <= 8 < retained[1]
    assert before[-len(retained) :] == retained
    assert states(log)[1] == EXPECTED


def test_retention_keeps_the_segments_after_the_older_snapshot(log):
    take_snapshot(log, 5)
    take_snapshot(log, len(EVENTS + OTHERS))
    retention.drop(log, before=9e12, most_bytes=0)
    segments.list_snapshots(log)[-1].write_bytes(b"junk")
    loaded, folded = states(log)
    assert (folded, loaded.snapshot_seq) == (EXPECTED, 5)


def test_segments_within_the_age_and_size_limits_are_retained(log):
    take_snapshot(log, len(EVENTS + OTHERS))
    count = len(segments.list_segments(log))
    assert retention.drop(log, before=1.0, most_bytes=0).segments == 0
    total = sum(path.stat().st_size for path in segments.list_segments(log))
    dropped = retention.drop(log, before=0.0, most_bytes=total // 2)
    assert dropped.left <= total // 2
    assert dropped.left + dropped.size == total
    assert len(segments.list_segments(log)) == count - dropped.segments
    assert states(log)[1] == EXPECTED


def test_the_newest_segment_is_always_retained_and_writing_continues(log):
    take_snapshot(log, len(EVENTS + OTHERS))
    retention.drop(log, before=9e12, most_bytes=1)
    assert len(segments.list_segments(log)) == 1
    assert recovery.make_ready(log).next_seq == len(EVENTS + OTHERS) + 1
    write(log, [PageOpened(at=9.0, question="q0")], previous=len(OTHERS), user=BOB)
    assert states(log)[0].last_seq == len(EVENTS + OTHERS) + 1


def test_a_log_without_its_first_segment_or_a_snapshot_is_rejected(log):
    first = segments.list_segments(log)[0]
    first.unlink()
    with pytest.raises(LogDamaged, match="event 1 expected"):
        states(log)
    assert "missing" in next(verifying.inspect(log)).damages[0].why


def test_a_follower_that_falls_behind_continues_with_the_retained_events(log):
    follower = Follower(log, keyring_of(log), 0)
    first = next(iter(follower.poll()))
    assert first.seq == 1
    take_snapshot(log, len(EVENTS + OTHERS))
    retention.drop(log, before=9e12, most_bytes=0)
    seen = [record.seq for record in follower.poll()]
    assert seen[-1] == len(EVENTS + OTHERS)
    assert seen == sorted(set(seen))
    assert [record.seq for record in read(log)][-1] == seen[-1]


# Keys.


def test_a_missing_key_is_reported_as_damage(log, tmp_path):
    keys = keyring_of(log)
    keys.write(without=[keys.of(BOB).reference])
    with pytest.raises(LogDamaged, match="the key of a user is not") as raised:
        states(log)
    assert "repair" in raised.value.hint


def test_a_log_can_be_verified_without_keys(log):
    (log.parent / "keys").rename(log.parent / "elsewhere")
    assert [info.damages for info in verifying.inspect(log, None)] == [[]] * len(
        segments.list_segments(log)
    )
    assert {record.hidden for record in reader.scan(log, None)} == {"sealed"}
    assert not Keyring(segments.keyring_path(log.parent), MASTER).is_whole
