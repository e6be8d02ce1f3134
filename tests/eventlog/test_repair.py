"""What a repair saves of a damaged log, each case named by its injury."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.eventlog.test_snapshot import take
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
from wxgptd.eventlog.store import Alarms, LogStore, Turns

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


def repaired(log: Path) -> repair.Plan:
    planned = plan_of(log)
    before = {path.name: path.read_bytes() for path in log.iterdir()}
    done = repair.repair(log, log.with_name("aside"), keyring_of(log), SEGMENT_BYTES)
    assert done == planned, "the plan is what happens"
    kept = {path.name: path.read_bytes() for path in log.with_name("aside").iterdir()}
    assert before.items() <= kept.items(), "the originals are kept as they were"
    found = read(log)
    assert [record.seq for record in found] == list(range(1, done.kept + 1))
    states = {}
    for record in found:  # the daemon would take it
        state = states.get(record.user, EMPTY)
        assert record.previous == state.version
        states[record.user] = evolve(state, record.event)
    assert [info.damages for info in verifying.inspect(log, keyring_of(log))] == [[]]
    return done


def third(log: Path) -> Path:
    return segments.list_segments(log)[2]


def test_a_log_that_is_whole_needs_none(log):
    plan = plan_of(log)
    assert not plan.needed
    assert plan.kept == len(EVENTS) + len(conversation(2))


def test_a_torn_tail_is_no_damage(tmp_path):
    log = tmp_path / "log"
    write(log, EVENTS, seal=False)
    injure(segments.list_segments(log)[-1], append(b"WXFR half a frame"))
    plan = plan_of(log)
    assert not plan.needed
    assert plan.torn == 17


def test_a_flipped_bit_loses_its_commit_and_what_rests_on_it(log):
    injure(third(log), flip(framing.HEADER_BYTES + 60))
    plan = repaired(log)
    assert len(plan.gaps) == 1
    assert len(plan.lost_seqs) == 1
    assert 0 < plan.kept < len(EVENTS) + len(conversation(2))
    lost = (log.with_name("aside") / "lost.ndjson").read_text() if plan.aside else ""
    assert len(lost.splitlines()) == plan.aside
    assert all(json.loads(line)["why"] for line in lost.splitlines())
    assert fold(record.event for record in read(log) if record.user == BOB) == fold(conversation(2))


def test_a_missing_segment(log):
    third(log).unlink()
    plan = repaired(log)
    assert plan.gaps == []
    ((first, last),) = plan.lost_seqs
    assert first < last


def test_a_header_that_does_not_check(log):
    injure(third(log), flip(9))
    plan = repaired(log)
    assert [gap.why for gap in plan.gaps] == ["its header is invalid"]
    assert plan.kept == len(EVENTS) + len(conversation(2)), "its frames check nevertheless"


def test_a_header_whose_key_is_hit_loses_nothing_either(log):
    """The key can be told from the checksums: they were begun with it."""
    for offset in range(28, 32):
        path = third(log)
        good = path.read_bytes()
        injure(path, flip(offset, 5))
        plan = plan_of(log)
        assert [gap.why for gap in plan.gaps] == ["its header is invalid"]
        assert plan.kept == len(EVENTS) + len(conversation(2))
        path.write_bytes(good)


def test_users_whose_keys_are_lost_are_given_up(log):
    keys = keyring_of(log)
    keys.write(without=[keys.of(BOB).reference])
    plan = repaired(log)
    assert plan.keyless == 1
    assert plan.lost_seqs == []
    found = loading.load(log, keyring_of(log), {}).loaded
    assert set(found.users) == {ALICE}


def test_behind_a_snapshot_no_damage_before_it_costs_anything(log):
    take(log, len(EVENTS))
    injure(segments.list_segments(log)[0], flip(framing.HEADER_BYTES + 60))
    whole = {user: one.hydrate() for user, one in found_in(log).users.items()}
    plan = plan_of(log)
    assert plan.needed
    assert plan.begins_at == 2, "what follows the damage stays"
    assert plan.lost_seqs == []
    repair.repair(log, log.with_name("aside"), keyring_of(log), SEGMENT_BYTES)
    after = found_in(log)
    assert {user: one.hydrate() for user, one in after.users.items()} == whole
    assert after.last_seq == len(EVENTS) + len(conversation(2))
    assert [info.damages for info in verifying.inspect(log)] == [[]]


def states_in(log):
    return {user: one.hydrate() for user, one in found_in(log).users.items()}


@pytest.mark.parametrize("injury", ["the last commit", "the last segment", "every segment", "keys"])
def test_what_a_snapshot_has_survives_whatever_happens_to_the_segments(log, injury):
    last = len(EVENTS) + len(conversation(2))
    take(log, last)
    whole = states_in(log)
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
        del whole[BOB]
    plan = plan_of(log)
    assert plan.needed
    if injury == "keys":
        assert (plan.begins_at, plan.kept) == (1, last + 1), "everybody else's history stays"
    assert repair.repair(log, log.with_name("aside"), keyring_of(log), SEGMENT_BYTES) == plan
    assert states_in(log) == whole
    # and a daemon starts on it, and goes on behind the snapshot
    store = LogStore(log.parent, MASTER, Turns(print, print), Alarms(print, print))
    assert store.load({}).last_seq == last + plan.keyless
    store.start()
    store.close()
    assert next(info.damages for info in verifying.inspect(log)) == []


def test_who_was_erased_behind_a_snapshot_is_no_damage(log):
    """The snapshot has what the last events rest on, and nobody can read that any more."""
    last = len(EVENTS) + len(conversation(2))
    take(log, last)
    gone = closing.erased(fold(EVENTS), CloseReason.UNSUBSCRIBED, 99.0)
    assert len(gone) > 1
    write(log, gone, previous=len(EVENTS))
    keys = keyring_of(log)
    keys.write(without=[keys.of(ALICE).reference])
    plan = plan_of(log)
    assert not plan.needed
    assert plan.aside == 0
    for path in segments.list_segments(log)[:3]:  # and the log may begin behind them
        path.unlink()
    states, seq, _ = records.fold(options.Log(log, keyring_of(log)))
    assert seq == last + len(gone)
    assert set(states) == {BOB}


def found_in(log):
    return loading.load(log, keyring_of(log), {}).loaded


def test_what_was_said_is_not_in_what_a_repair_writes_down(log):
    injure(third(log), flip(framing.HEADER_BYTES + 60))
    plan = repaired(log)
    lost = (log.with_name("aside") / "lost.ndjson").read_text() if plan.aside else ""
    for text in (ALICE.openid, "为什么", "原因"):
        assert text not in lost


def test_a_segment_that_ends_early(log):
    path = third(log)
    injure(path, truncate(len(path.read_bytes()) - 40))
    assert repaired(log).kept > 10


def test_two_segments_that_overlap(log):
    first, *_ = segments.list_segments(log)
    copy = first.read_bytes()
    (log / segments.segment_name(2)).write_bytes(copy)
    plan = repaired(log)
    assert plan.kept == len(EVENTS) + len(conversation(2)), "nothing twice, nothing lost"


def test_garbage_in_the_middle(log):
    path = third(log)
    data = path.read_bytes()
    path.write_bytes(data[:200] + b"\0" * 300 + data[200:])
    plan = repaired(log)
    assert sum(gap.size for gap in plan.gaps) >= 300


def test_every_flipped_bit_of_a_segment_costs_no_more_than_its_commit(tmp_path):
    log = tmp_path / "log"
    write(log, EVENTS)
    path = segments.list_segments(log)[0]
    good = path.read_bytes()
    whole = events(log)
    for offset in range(0, len(good), 7):
        path.write_bytes(flip(offset, offset % 8)(good))
        plan = plan_of(log)
        saved = len(whole) - plan.aside - sum(b - a + 1 for a, b in plan.lost_seqs)
        assert plan.kept <= len(whole)
        assert plan.kept == saved or not plan.lost_seqs
        if offset >= framing.HEADER_BYTES and plan.kept < len(whole):
            assert len(plan.lost_seqs) <= 1


def test_where_nothing_can_be_saved_nothing_is_changed(log):
    for path in segments.list_segments(log):
        path.write_bytes(b"junk" * 100)
    before = {path.name: path.read_bytes() for path in log.iterdir()}
    with pytest.raises(repair.NothingToSave):
        repair.repair(log, log.with_name("aside"), keyring_of(log), SEGMENT_BYTES)
    assert {path.name: path.read_bytes() for path in log.iterdir()} == before


def test_a_repair_that_was_interrupted_begins_anew(log):
    injure(third(log), flip(framing.HEADER_BYTES + 60))
    for name in ("log.repairing", "log.repaired"):
        fresh = log.with_name(name)
        fresh.mkdir()
        (fresh / segments.segment_name(1)).write_bytes(b"half")
    repaired(log)


def test_a_repair_that_was_interrupted_between_its_renames_is_finished_by_the_next_start(log):
    before = read(log)
    log.rename(log.with_name("log.repaired"))  # what it looks like then
    store = LogStore(log.parent, MASTER, Turns(print, print), Alarms(print, print))
    store.load({})
    assert read(log) == before
    store.close()
    assert log.exists()


@pytest.mark.parametrize("injury", ["junk behind the footer", "no footer", "another name"])
def test_whatever_a_start_refuses_is_repaired(log, injury):
    if injury == "junk behind the footer":
        injure(segments.list_segments(log)[-1], append(b"junk"))
    elif injury == "no footer":
        path = third(log)
        path.write_bytes(path.read_bytes()[: -framing.HEAD_BYTES])
    else:
        path = segments.list_segments(log)[-1]
        path.rename(path.with_name(segments.segment_name(segments.first_seq_of(path) + 1)))
    with pytest.raises(reader.LogDamaged):
        read(log)
    assert plan_of(log).needed
    repaired(log)
