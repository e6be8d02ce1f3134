"""What a repair saves from a damaged log; each case is named after its injury."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.eventlog.test_snapshot import states, take_snapshot
from tests.support.builders import ALICE, BOB
from tests.support.injuries import (
    MASTER,
    append,
    conversation,
    events,
    flip,
    injure,
    keyring_of,
    read,
    truncate,
    write,
)
from wxgpt import options
from wxgpt.log import records
from wxgptd.domain.decide import closing
from wxgptd.domain.evolve import evolve, fold
from wxgptd.domain.model.state import EMPTY
from wxgptd.domain.model.values import CloseReason
from wxgptd.eventlog import framing, loading, reader, repair, segments, verifying
from wxgptd.eventlog.callbacks import StoreListener, Turns
from wxgptd.eventlog.store import LogStore

EVENTS = conversation(6)
SEGMENT_BYTES = 1 << 20


def plan_of(log: Path) -> repair.Plan:
    return repair.plan(log, keyring_of(log))


@pytest.fixture
def log(tmp_path):
    """Two users' conversations in several sealed segments."""
    directory = tmp_path / "log"
    write(directory, EVENTS, segment_bytes=700)
    write(directory, conversation(2), user=BOB, segment_bytes=700)
    assert len(segments.list_segments(directory)) > 4
    return directory


def repair_log(log: Path) -> repair.Plan:
    planned = plan_of(log)
    before = {path.name: path.read_bytes() for path in log.iterdir()}
    plan = repair.repair(log, log.with_name("aside"), keyring_of(log), SEGMENT_BYTES)
    assert plan == planned, "the repair did not follow its plan"
    aside = {path.name: path.read_bytes() for path in log.with_name("aside").iterdir()}
    assert before.items() <= aside.items(), "the originals were not preserved"
    records = read(log)
    assert [record.seq for record in records] == list(range(1, plan.kept + 1))
    states = {}
    for record in records:  # as the daemon would
        state = states.get(record.user, EMPTY)
        assert record.previous == state.version
        states[record.user] = evolve(state, record.event)
    assert [info.damages for info in verifying.inspect(log, keyring_of(log))] == [[]]
    return plan


def third_segment(log: Path) -> Path:
    return segments.list_segments(log)[2]


def test_an_intact_log_needs_no_repair(log):
    plan = plan_of(log)
    assert not plan.needed
    assert plan.kept == len(EVENTS) + len(conversation(2))


def test_a_torn_tail_is_not_reported_as_damage(tmp_path):
    log = tmp_path / "log"
    write(log, EVENTS, seal=False)
    injure(segments.list_segments(log)[-1], append(b"WXFR half a frame"))
    plan = plan_of(log)
    assert not plan.needed
    assert plan.torn == 17


def test_a_flipped_bit_loses_its_commit_and_dependent_events(log):
    injure(third_segment(log), flip(framing.HEADER_BYTES + 60))
    plan = repair_log(log)
    assert len(plan.gaps) == 1
    assert len(plan.lost_seqs) == 1
    assert 0 < plan.kept < len(EVENTS) + len(conversation(2))
    lost = (log.with_name("aside") / "lost.ndjson").read_text() if plan.aside else ""
    assert len(lost.splitlines()) == plan.aside
    assert all(json.loads(line)["why"] for line in lost.splitlines())
    assert fold(record.event for record in read(log) if record.user == BOB) == fold(conversation(2))


def test_a_missing_segment(log):
    third_segment(log).unlink()
    plan = repair_log(log)
    assert plan.gaps == []
    ((first, last),) = plan.lost_seqs
    assert first < last


def test_an_invalid_header(log):
    injure(third_segment(log), flip(9))
    plan = repair_log(log)
    assert [gap.why for gap in plan.gaps] == ["its header is invalid"]
    assert plan.kept == len(EVENTS) + len(conversation(2)), "its frames are still valid"


def test_a_header_with_a_damaged_key_loses_nothing(log):
    """The key can be recovered from the checksums: it is their initial value."""
    for offset in range(28, 32):
        path = third_segment(log)
        intact = path.read_bytes()
        injure(path, flip(offset, 5))
        plan = plan_of(log)
        assert [gap.why for gap in plan.gaps] == ["its header is invalid"]
        assert plan.kept == len(EVENTS) + len(conversation(2))
        path.write_bytes(intact)


def test_users_with_lost_keys_are_abandoned(log):
    keys = keyring_of(log)
    keys.write(without=[keys.of(BOB).reference])
    plan = repair_log(log)
    assert plan.keyless == 1
    assert plan.lost_seqs == []
    assert set(states_in(log)) == {ALICE}


def test_damage_covered_by_a_snapshot_loses_nothing(log):
    take_snapshot(log, len(EVENTS))
    injure(segments.list_segments(log)[0], flip(framing.HEADER_BYTES + 60))
    expected = states_in(log)
    plan = plan_of(log)
    assert plan.needed
    assert plan.begins_at == 2, "events after the damage are kept"
    assert plan.lost_seqs == []
    repair.repair(log, log.with_name("aside"), keyring_of(log), SEGMENT_BYTES)
    after = load(log)
    assert states_in(log) == expected
    assert after.last_seq == len(EVENTS) + len(conversation(2))
    assert [info.damages for info in verifying.inspect(log)] == [[]]


def load(log):
    return loading.load(log, keyring_of(log), {}).loaded


def states_in(log):
    return states(log)[1]


@pytest.mark.parametrize("injury", ["the last commit", "the last segment", "every segment", "keys"])
def test_state_in_a_snapshot_survives_any_damage_to_segments(log, injury):
    last = len(EVENTS) + len(conversation(2))
    take_snapshot(log, last)
    expected = states_in(log)
    paths = segments.list_segments(log)
    if injury == "the last commit":
        injure(paths[-1], flip(len(paths[-1].read_bytes()) - 60))
    elif injury == "the last segment":
        paths[-1].unlink()
    elif injury == "every segment":
        for path in paths:
            path.write_bytes(b"junk" * 30)
    else:
        keys = keyring_of(log)
        keys.write(without=[keys.of(BOB).reference])
        del expected[BOB]
    plan = plan_of(log)
    assert plan.needed
    if injury == "keys":
        assert (plan.begins_at, plan.kept) == (1, last + 1), (
            "the history of the other users is kept"
        )
    assert repair.repair(log, log.with_name("aside"), keyring_of(log), SEGMENT_BYTES) == plan
    assert states_in(log) == expected
    # The daemon starts with the repaired log and continues after the snapshot.
    store = LogStore(log.parent, MASTER, Turns(print, print), StoreListener(print, print))
    assert store.load({}).last_seq == last + plan.keyless
    store.start()
    store.close()
    assert next(info.damages for info in verifying.inspect(log)) == []


def test_a_user_erased_after_a_snapshot_is_not_reported_as_damage(log):
    """The last events depend on state in the snapshot that can no longer be decrypted."""
    last = len(EVENTS) + len(conversation(2))
    take_snapshot(log, last)
    erasure = closing.erased(fold(EVENTS), CloseReason.UNSUBSCRIBED, 99.0)
    assert len(erasure) > 1
    write(log, erasure, previous=len(EVENTS))
    keys = keyring_of(log)
    keys.write(without=[keys.of(ALICE).reference])
    plan = plan_of(log)
    assert not plan.needed
    assert plan.aside == 0
    for path in segments.list_segments(log)[:3]:  # the log may start after them
        path.unlink()
    states, seq, _ = records.fold(options.Log(log, keyring_of(log)))
    assert seq == last + len(erasure)
    assert set(states) == {BOB}


def test_the_list_of_lost_events_has_no_personal_data(log):
    injure(third_segment(log), flip(framing.HEADER_BYTES + 60))
    plan = repair_log(log)
    lost = (log.with_name("aside") / "lost.ndjson").read_text() if plan.aside else ""
    for text in (ALICE.openid, "为什么", "原因"):
        assert text not in lost


def test_a_truncated_segment(log):
    path = third_segment(log)
    injure(path, truncate(len(path.read_bytes()) - 40))
    assert repair_log(log).kept > 10


def test_two_overlapping_segments(log):
    first, *_ = segments.list_segments(log)
    copy = first.read_bytes()
    (log / segments.segment_name(2)).write_bytes(copy)
    plan = repair_log(log)
    assert plan.kept == len(EVENTS) + len(conversation(2)), "an event is duplicated or lost"


def test_garbage_inside_a_segment(log):
    path = third_segment(log)
    data = path.read_bytes()
    path.write_bytes(data[:200] + b"\0" * 300 + data[200:])
    plan = repair_log(log)
    assert sum(gap.size for gap in plan.gaps) >= 300


def test_every_flipped_bit_loses_at_most_its_commit(tmp_path):
    log = tmp_path / "log"
    write(log, EVENTS)
    path = segments.list_segments(log)[0]
    intact = path.read_bytes()
    total = len(events(log))
    for offset in range(0, len(intact), 7):
        path.write_bytes(flip(offset, offset % 8)(intact))
        plan = plan_of(log)
        saved = total - plan.aside - sum(b - a + 1 for a, b in plan.lost_seqs)
        assert plan.kept <= total
        assert plan.kept == saved or not plan.lost_seqs
        if offset >= framing.HEADER_BYTES and plan.kept < total:
            assert len(plan.lost_seqs) <= 1


def test_a_log_beyond_repair_is_left_unchanged(log):
    for path in segments.list_segments(log):
        path.write_bytes(b"junk" * 100)
    before = {path.name: path.read_bytes() for path in log.iterdir()}
    with pytest.raises(repair.NothingToRecover):
        repair.repair(log, log.with_name("aside"), keyring_of(log), SEGMENT_BYTES)
    assert {path.name: path.read_bytes() for path in log.iterdir()} == before


def test_an_interrupted_repair_starts_over(log):
    injure(third_segment(log), flip(framing.HEADER_BYTES + 60))
    for name in ("log.repairing", "log.repaired"):
        fresh = log.with_name(name)
        fresh.mkdir()
        (fresh / segments.segment_name(1)).write_bytes(b"half")
    repair_log(log)


def test_startup_finishes_a_repair_interrupted_between_its_renames(log):
    before = read(log)
    log.rename(log.with_name("log.repaired"))  # the state between the renames
    store = LogStore(log.parent, MASTER, Turns(print, print), StoreListener(print, print))
    store.load({})
    assert read(log) == before
    store.close()
    assert log.exists()


@pytest.mark.parametrize("injury", ["junk after the footer", "no footer", "another name"])
def test_a_log_rejected_at_startup_is_repaired(log, injury):
    if injury == "junk after the footer":
        injure(segments.list_segments(log)[-1], append(b"junk"))
    elif injury == "no footer":
        path = third_segment(log)
        path.write_bytes(path.read_bytes()[: -framing.HEAD_BYTES])
    else:
        path = segments.list_segments(log)[-1]
        path.rename(path.with_name(segments.segment_name(segments.first_seq_of(path) + 1)))
    with pytest.raises(reader.LogDamaged):
        read(log)
    assert plan_of(log).needed
    repair_log(log)
