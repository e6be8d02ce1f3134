"""Snapshots on disk, what a start makes of them, and what is dropped behind them."""

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
    freezing,
    loading,
    reader,
    recovery,
    retention,
    segments,
    snapshot,
    verifying,
)
from wxgptd.eventlog.following import Follower
from wxgptd.eventlog.keyring import Keyring
from wxgptd.eventlog.reader import LogDamaged
from wxgptd.ports.record import Capture

EVENTS = conversation(6)
OTHERS = conversation(2)


@given(TIMED)
def test_a_state_comes_back_as_it_was(commands):
    state = played(commands).state
    assert freezing.thaw(freezing.freeze(state)) == state


@pytest.fixture
def log(tmp_path):
    """Two users' conversations in several sealed segments."""
    directory = tmp_path / "log"
    write(directory, EVENTS, segment_bytes=700)
    write(directory, OTHERS, user=BOB, segment_bytes=700)
    return directory


def take(log, last_seq: int, notes=None) -> None:
    """Write a snapshot of the first events."""
    keys = keyring_of(log)
    index = loading.Index(keys, {})
    for path in segments.list_segments(log):
        with reader.mapped(path) as data:
            header = reader.framing.unpack_header(data)
            for frame in reader.framing.Walk(data, header):
                entries = reader.entries_of(path, header, frame)
                index.take(frame.first_seq, entries[: max(0, last_seq - frame.first_seq + 1)])
    capture = Capture(last_seq, {}, index.users(), notes or {}, 0.0, 0.0)
    snapshot.write(log, last_seq, notes or {}, loading.frozen([], capture, keys), keys)


def states(log) -> tuple:
    found = loading.load(log, keyring_of(log), {}).loaded
    return found, {user: one.hydrate() for user, one in found.users.items()}


WHOLE = {ALICE: fold(EVENTS), BOB: fold(OTHERS)}


@pytest.mark.parametrize("last_seq", [1, 5, len(EVENTS), len(EVENTS) + 3, len(EVENTS + OTHERS)])
def test_a_snapshot_and_what_follows_are_the_whole(log, last_seq):
    take(log, last_seq, {"links": [1, "二"]})
    loaded, found = states(log)
    assert found == WHOLE
    assert loaded.snapshot_seq == last_seq
    assert loaded.last_seq == len(EVENTS + OTHERS)
    assert loaded.notes == {"links": (1, "二")}


def test_of_a_log_with_a_snapshot_only_what_follows_is_read(log):
    take(log, len(EVENTS + OTHERS))
    for path in segments.list_segments(log)[:-1]:
        path.write_bytes(b"rubbish")
    assert states(log)[1] == WHOLE


def test_the_users_of_a_snapshot_can_be_asked_for_without_being_woken(log):
    take(log, len(EVENTS + OTHERS))
    users = loading.load(log, keyring_of(log), {}).loaded.users
    assert users[ALICE].last_at >= WHOLE[ALICE].spoke_at > 0
    assert users[ALICE].unsettled, "the session is open"
    assert not users[ALICE].marked


def test_a_snapshot_that_is_damaged_in_whatever_bit_is_skipped_for_the_one_before(log):
    take(log, 5)
    take(log, 9)
    newest = segments.list_snapshots(log)[-1]
    good = newest.read_bytes()
    for position in range(0, len(good) * 8, 11):
        newest.write_bytes(flip(position // 8, position % 8)(good))
        loaded, found = states(log)
        assert found == WHOLE
        # A bit of the header's time is covered as well: nothing of it is believed.
        assert loaded.snapshot_seq == 5, position
        assert len(loaded.skipped) == 1
    for size in range(0, len(good), 13):
        newest.write_bytes(good[:size])
        assert states(log)[0].snapshot_seq == 5


def test_without_any_whole_snapshot_the_log_is_replayed(log):
    take(log, 9)
    segments.list_snapshots(log)[-1].write_bytes(b"junk")
    loaded, found = states(log)
    assert (found, loaded.snapshot_seq) == (WHOLE, 0)


def test_a_snapshot_with_a_wrong_name_is_none(log):
    take(log, 9)
    (path,) = segments.list_snapshots(log)
    path.rename(log / segments.snapshot_name(7))
    assert states(log)[0].snapshot_seq == 0


def test_a_log_that_ends_before_its_snapshot_is_refused(log):
    take(log, len(EVENTS + OTHERS))
    for path in segments.list_segments(log)[-2:]:
        path.unlink()
    with pytest.raises(LogDamaged, match="ends with event"):
        states(log)


def test_an_interrupted_snapshot_is_none_and_goes_with_the_next(log):
    (log / (segments.snapshot_name(3) + ".new")).write_bytes(b"half")
    assert states(log)[0].snapshot_seq == 0
    take(log, 9)
    snapshot.drop_all_but(log, 2)
    assert [path.name for path in log.glob("*wxsnap*")] == [segments.snapshot_name(9)]


# Retention.


def names(paths: Sequence) -> list[int]:
    return [segments.first_seq_of(path) for path in paths]


def test_nothing_is_dropped_that_no_snapshot_has(log):
    assert retention.drop(log, before=9e12, most_bytes=1).segments == 0
    before = names(segments.list_segments(log))
    take(log, 7)
    retention.drop(log, before=9e12, most_bytes=0)
    kept = names(segments.list_segments(log))
    assert kept[0] <= 8 < kept[1]
    assert before[-len(kept) :] == kept
    assert states(log)[1] == WHOLE


def test_the_older_of_two_snapshots_can_still_be_gone_on_from(log):
    take(log, 5)
    take(log, len(EVENTS + OTHERS))
    retention.drop(log, before=9e12, most_bytes=0)
    segments.list_snapshots(log)[-1].write_bytes(b"junk")
    loaded, found = states(log)
    assert (found, loaded.snapshot_seq) == (WHOLE, 5)


def test_what_is_young_enough_and_small_enough_is_kept(log):
    take(log, len(EVENTS + OTHERS))
    count = len(segments.list_segments(log))
    assert retention.drop(log, before=1.0, most_bytes=0).segments == 0
    total = sum(path.stat().st_size for path in segments.list_segments(log))
    done = retention.drop(log, before=0.0, most_bytes=total // 2)
    assert done.left <= total // 2
    assert done.left + done.size == total
    assert len(segments.list_segments(log)) == count - done.segments
    assert states(log)[1] == WHOLE


def test_the_newest_segment_always_stays_and_writing_goes_on(log):
    take(log, len(EVENTS + OTHERS))
    retention.drop(log, before=9e12, most_bytes=1)
    assert len(segments.list_segments(log)) == 1
    assert recovery.make_ready(log).next_seq == len(EVENTS + OTHERS) + 1
    write(log, [PageOpened(at=9.0, question="q0")], previous=len(OTHERS), user=BOB)
    assert states(log)[0].last_seq == len(EVENTS + OTHERS) + 1


def test_a_log_that_lacks_its_beginning_and_has_no_snapshot_is_refused(log):
    first = segments.list_segments(log)[0]
    first.unlink()
    with pytest.raises(LogDamaged, match="event 1 expected"):
        states(log)
    assert "missing" in next(verifying.inspect(log)).damages[0].why


def test_a_reader_that_is_far_behind_goes_on_with_what_there_is(log):
    follower = Follower(log, keyring_of(log), 0)
    first = next(iter(follower.poll()))
    assert first.seq == 1
    take(log, len(EVENTS + OTHERS))
    retention.drop(log, before=9e12, most_bytes=0)
    seen = [record.seq for record in follower.poll()]
    assert seen[-1] == len(EVENTS + OTHERS)
    assert seen == sorted(set(seen))
    assert [record.seq for record in read(log)][-1] == seen[-1]


# Keys.


def test_a_missing_key_is_damage_and_an_erased_one_is_not(log, tmp_path):
    keys = keyring_of(log)
    keys.write(without=[keys.of(BOB).reference])
    with pytest.raises(LogDamaged, match="keys of 1 user are not") as raised:
        states(log)
    assert "repair" in raised.value.hint


def test_the_log_needs_no_key_to_be_checked(log):
    (log.parent / "keys").rename(log.parent / "elsewhere")
    assert [info.damages for info in verifying.inspect(log, None)] == [[]] * len(
        segments.list_segments(log)
    )
    assert {record.hidden for record in reader.scan(log, None)} == {"sealed"}
    assert not Keyring(segments.keyring_path(log.parent), MASTER).is_whole
