"""Logs from earlier versions continue in the current format and lose nothing."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import msgpack
import pytest

from tests.eventlog.test_golden import LOGS
from tests.eventlog.test_snapshot import states_of
from tests.support import injuries
from tests.support.injuries import MASTER, flip, injure, keyring_of
from wxgptd.domain.evolve import fold
from wxgptd.domain.model import events as e
from wxgptd.domain.model.state import Inconsistent
from wxgptd.domain.model.values import AccountName, OpenId, User
from wxgptd.eventlog import codec, framing, loading, packing, recovery, repair, segments, verifying
from wxgptd.eventlog.callbacks import StoreListener, Turns
from wxgptd.eventlog.following import Follower
from wxgptd.eventlog.reader import LogDamaged
from wxgptd.eventlog.store import LogStore

SNAPSHOTS = LOGS.parent / "snapshots"
NEW = User(AccountName("main"), OpenId("new"))
OPENED = e.SessionOpened(at=9_000.0, session="s9", assistant="chatgpt", ttl_s=300.0)


@pytest.fixture
def old_state(tmp_path) -> Path:
    """The state directory of an earlier version after a clean shutdown."""
    shutil.copytree(LOGS / "v5", tmp_path / "state")
    return tmp_path / "state"


def log_of(state_dir: Path) -> Path:
    return segments.log_directory(state_dir)


def crash(state_dir: Path) -> Path:
    """Remove the footer of the newest segment, as if the daemon had crashed."""
    path = segments.list_segments(log_of(state_dir))[-1]
    data = path.read_bytes()
    path.write_bytes(data[: -framing.HEAD_BYTES])
    return path


def append_event(state_dir: Path, event: e.Event) -> None:
    """Start the store, append one event and stop."""
    failures: list = []
    store = LogStore(
        state_dir,
        MASTER,
        Turns(lambda call: call(), lambda call: call()),
        StoreListener(failures.append, failures.append),
    )
    store.load({})
    store.start()
    store.append(NEW, [(event.session, event)], 0)
    store.committed().addErrback(failures.append)
    store.close()
    assert failures == []


def versions(state_dir: Path) -> list[int]:
    headers = [
        framing.unpack_header(path.read_bytes())
        for path in segments.list_segments(log_of(state_dir))
    ]
    return [header.version for header in headers]


@pytest.mark.parametrize("how", ["closed", "crashed", "torn", "empty"])
def test_appends_to_an_old_log_go_into_a_new_segment(old_state, how):
    before = injuries.read(log_of(old_state))
    if how != "closed":
        path = crash(old_state)
    if how == "torn":
        path.write_bytes(path.read_bytes() + b"torn")
    if how == "empty":
        header = framing.unpack_header(path.read_bytes())
        path.write_bytes(framing.pack_header(header))
        before = [record for record in before if record.seq < header.first_seq]
    append_event(old_state, OPENED)
    *earlier, last = injuries.read(log_of(old_state))
    assert earlier == before
    assert (last.user, last.session, last.event) == (NEW, "s9", OPENED)
    assert versions(old_state) == ([2, 3] if how == "empty" else [2, 2, 3])
    assert not [info for info in verifying.inspect(log_of(old_state), keyring_of(log_of(old_state)))
                if info.damages]  # fmt: skip


def test_an_old_snapshot_is_loaded(old_state):
    def states(found):
        # Windows in old snapshots have no session, so this ignores it.
        return {
            user: state._replace(
                windows={key: window._replace(session="") for key, window in state.windows.items()}
            )
            for user, state in states_of(found, keyring_of(log_of(old_state))).items()
        }

    folded = states(loading.load(log_of(old_state), keyring_of(log_of(old_state)), {}))
    for path in (SNAPSHOTS / "v5").iterdir():
        shutil.copy(path, log_of(old_state))
    found = loading.load(log_of(old_state), keyring_of(log_of(old_state)), {})
    after = found.loaded
    assert (after.snapshot_seq, list(after.skipped)) == (48, [])
    assert states(after) == folded


def test_repair_writes_the_current_format_and_keeps_sessions_and_text(old_state):
    log = log_of(old_state)
    before = injuries.read(log)
    path = segments.list_segments(log)[-1]
    injure(path, flip(path.stat().st_size - framing.HEAD_BYTES - 3))
    repair.repair(log, log.with_name("aside"), keyring_of(log), 1 << 20)
    assert set(versions(old_state)) == {3}
    saved = injuries.read(log)
    assert saved == before[: len(saved)]
    assert len(saved) > 40
    texts = [record.event.text for record in saved if isinstance(record.event, e.QuestionAsked)]
    assert sum(map(bool, texts)) > 2


@pytest.mark.parametrize("offset", [0, 9, 30])
def test_repair_detects_the_format_of_a_segment_with_an_invalid_header(old_state, offset):
    log = log_of(old_state)
    before = injuries.read(log)
    injure(segments.list_segments(log)[0], flip(offset))
    plan = repair.repair(log, log.with_name("aside"), keyring_of(log), 1 << 20)
    assert [gap.why for gap in plan.gaps] == ["its header is invalid"]
    assert injuries.read(log) == before


def split_into_segments(log: Path, size: int) -> None:
    """Split the oldest segment of a log into segments of `size` commits."""
    path = segments.list_segments(log)[0]
    data = memoryview(path.read_bytes())
    header = framing.unpack_header(data)
    frames = list(framing.Walk(data, header))
    for number in range(0, len(frames), size):
        part = frames[number : number + size]
        fresh = header._replace(first_seq=part[0].first_seq)
        written = framing.pack_header(fresh)
        for frame in part:
            payload = bytes(frame.payload)
            written += framing.pack_frame(header.key, frame.first_seq, frame.count, payload)
        written += framing.pack_footer(header.key, part[-1].first_seq + part[-1].count)
        (log / segments.segment_name(fresh.first_seq)).write_bytes(written)


@pytest.mark.parametrize("size", [100, 7, 1])
def test_sessions_are_the_same_from_every_starting_point(old_state, size):
    log = log_of(old_state)
    records = injuries.read(log)
    assert sum(bool(record.session) for record in records) > 30
    split_into_segments(log, size)
    for after in (1, 10, 20, 43, len(records) - 1):
        assert injuries.read(log, after) == records[after:]
        follower = Follower(log, keyring_of(log), after=after)
        assert list(follower.poll()) == records[after:]


# Ciphertext is bound to its position in the log.


def rewrite(log: Path, change) -> None:
    """Change the entries of a log and recompute its checksums, as an attacker could."""
    for path in segments.list_segments(log):
        data = memoryview(path.read_bytes())
        header = framing.unpack_header(data)
        frames = list(framing.Walk(data, header))
        entries = [list(entry) for frame in frames for entry in packing.unpack(frame.payload)]
        change(entries)
        written, seq = framing.pack_header(header), header.first_seq
        for entry in entries:
            payload = codec.join(1, [codec.pack([entry])])
            written += framing.pack_frame(header.key, seq, 1, payload)
            seq += 1
        path.write_bytes(written + framing.pack_footer(header.key, seq))


TAG, VERSION, AT, REFERENCE, PREVIOUS, CARRIED, SEALED = range(7)


def swap_ciphertexts(entries, a, b):
    entries[a][SEALED], entries[b][SEALED] = entries[b][SEALED], entries[a][SEALED]


def swap_events(entries, a, b):
    """Swap two events, but leave the `previous` numbers in place."""
    entries[a], entries[b] = entries[b], entries[a]
    previous = entries[b][PREVIOUS], entries[a][PREVIOUS]
    entries[a][PREVIOUS], entries[b][PREVIOUS] = previous


def of_kind(entries, kind) -> list[int]:
    return [n for n, entry in enumerate(entries) if entry[TAG] == codec.TAGS[kind]]


def swap_texts_of_two_questions(entries):
    swap_ciphertexts(entries, *of_kind(entries, e.QuestionAsked)[:2])


def swap_two_questions(entries):
    swap_events(entries, *of_kind(entries, e.QuestionAsked)[:2])


def swap_two_answers(entries):
    swap_events(entries, *of_kind(entries, e.AnswerCompleted)[:2])


def swap_texts_of_question_and_answer(entries):
    swap_ciphertexts(
        entries, of_kind(entries, e.QuestionAsked)[0], of_kind(entries, e.AnswerCompleted)[0]
    )


def repeat_an_older_reply(entries):
    first, last = of_kind(entries, e.ReplyOffered)[1::2][:2]
    entries[last][SEALED] = entries[first][SEALED] = (
        entries[first][SEALED] or entries[of_kind(entries, e.QuestionAsked)[0]][SEALED]
    )


def change_the_user_reference(entries):
    entries[of_kind(entries, e.QuestionAsked)[0]][REFERENCE] = "main:0123456789abcdef"


def change_the_version(entries):
    entries[of_kind(entries, e.AnswerCompleted)[0]][VERSION] = 3


def remove_the_sessions(entries):
    for entry in entries:
        _, *fields = packing.unpack(entry[CARRIED])
        entry[CARRIED] = msgpack.packb((None, *fields))


def remove_the_text(entries):
    entries[of_kind(entries, e.QuestionAsked)[0]][SEALED] = b""


@pytest.mark.parametrize(
    "change",
    [
        swap_texts_of_two_questions,
        swap_two_questions,
        swap_two_answers,
        swap_texts_of_question_and_answer,
        repeat_an_older_reply,
        change_the_version,
        remove_the_sessions,
        remove_the_text,
    ],
    ids=lambda change: change.__name__,
)
def test_verify_detects_a_moved_or_altered_event(tmp_path, change):
    log = tmp_path / "log"
    injuries.write(log, injuries.conversation(3))
    keys = keyring_of(log)
    assert not any(info.damages for info in verifying.inspect(log, keys))
    rewrite(log, change)
    (damages,) = [info.damages for info in verifying.inspect(log, keys)]
    assert damages
    assert all(re.search(r"event \d+ (does not|is inconsistent)", why) for _, why in damages)


def test_startup_rejects_an_event_with_an_unknown_user_reference(tmp_path):
    log = tmp_path / "log"
    injuries.write(log, injuries.conversation(3))
    rewrite(log, change_the_user_reference)
    with pytest.raises(Inconsistent, match="expects version"):
        loading.load(log, keyring_of(log), {})


def test_rewriting_without_a_change_preserves_the_log(tmp_path):
    log = tmp_path / "log"
    events = injuries.conversation(3)
    injuries.write(log, events)
    rewrite(log, lambda entries: None)
    assert injuries.events(log) == events
    found = loading.load(log, keyring_of(log), {})
    assert list(states_of(found, keyring_of(log)).values()) == [fold(events)]


def test_old_ciphertext_is_rejected_in_a_segment_of_the_current_format(old_state, tmp_path):
    """An attacker can write a header for format 3 and put old ciphertext after it."""
    log = log_of(old_state)
    for path in segments.list_segments(log):
        data = path.read_bytes()
        header = framing.unpack_header(data)
        path.write_bytes(
            framing.pack_header(header._replace(version=3)) + data[framing.HEADER_BYTES :]
        )

    def without_sessions(entries):
        for entry in entries:
            entry[CARRIED] = msgpack.packb((None, *packing.unpack(entry[CARRIED])))

    rewrite(log, without_sessions)
    damages = [info.damages for info in verifying.inspect(log, keyring_of(log))]
    assert "does not name its session" in damages[0][0].why


def leave_only_a_header(log: Path, snapshot_of: int) -> None:
    """Replace all segments with an old-format header of the segment after a snapshot."""
    first = segments.list_segments(log)[0]
    header = framing.unpack_header(first.read_bytes())
    for path in segments.list_segments(log):
        path.unlink()
    fresh = header._replace(first_seq=snapshot_of + 1)
    (log / segments.segment_name(snapshot_of + 1)).write_bytes(framing.pack_header(fresh))


@pytest.mark.parametrize("torn", [0, 7])
def test_an_empty_old_segment_is_replaced_and_never_missing(old_state, torn):
    """It may be the only segment after a snapshot, and startup rejects a log without one."""
    log = log_of(old_state)
    shutil.copy(next((SNAPSHOTS / "v5").iterdir()), log)
    leave_only_a_header(log, 48)
    (path,) = segments.list_segments(log)
    if torn:
        path.write_bytes(path.read_bytes()[:-torn])
    ready = recovery.make_ready(log)
    assert (ready.segment, ready.next_seq) == (path, 49)
    assert framing.unpack_header(path.read_bytes()).version == framing.FORMAT_VERSION
    assert loading.load(log, keyring_of(log), {}).loaded.last_seq == 48
    append_event(old_state, OPENED)
    assert [record.seq for record in injuries.read(log)] == [49]


def test_a_key_that_turns_up_after_a_repair_causes_no_damage(old_state):
    log = log_of(old_state)
    ring = segments.keyring_path(old_state)
    before, all_keys = injuries.read(log), ring.read_bytes()
    keys = keyring_of(log)
    keys.write(without=[keys.of(User(AccountName("main"), OpenId("alice"))).reference])
    repair.repair(log, log.with_name("aside"), keyring_of(log), 1 << 20)
    ring.write_bytes(all_keys)
    after = injuries.read(log)
    assert len(after) == len(before) + 1  # plus the erasure of alice
    assert not any(info.damages for info in verifying.inspect(log, keyring_of(log)))


def test_repair_does_not_mistake_an_old_format_for_the_current_one(tmp_path):
    """An event with one fewer field and nothing encrypted could be read with its fields shifted."""
    log = tmp_path / "log"
    opened = e.SessionOpened(at=1.0, session="s1", assistant="chatgpt", ttl_s=300.0)
    command = e.CommandGiven(at=2.0, delivery="m1", command="stop", sent_at=2)
    injuries.write(log, [opened])
    injuries.write(log, [command], previous=1)
    before = injuries.events(log)
    for path in segments.list_segments(log):
        convert_to_format_2(path)
    injure(segments.list_segments(log)[1], flip(30))
    repair.repair(log, log.with_name("aside"), keyring_of(log), 1 << 20)
    assert injuries.events(log) == before


def convert_to_format_2(path: Path) -> None:
    """Rewrite a segment as an earlier version would, without sessions or bound ciphertext."""
    data = memoryview(path.read_bytes())
    header = framing.unpack_header(data)._replace(version=framing.UNBOUND_VERSION)
    written, seq = framing.pack_header(header), header.first_seq
    for frame in framing.Walk(data, framing.unpack_header(data)):
        entries = []
        for *entry, carried, sealed in packing.unpack(frame.payload):
            assert not sealed, "this helper has no key"
            entries.append((*entry, msgpack.packb(packing.unpack(carried)[1:]), sealed))
        payload = codec.join(len(entries), [codec.pack(entries)])
        written += framing.pack_frame(header.key, seq, len(entries), payload)
        seq += len(entries)
    path.write_bytes(written + framing.pack_footer(header.key, seq))


def test_polling_a_log_without_events_terminates(old_state):
    log = log_of(old_state)
    for path in segments.list_segments(log):
        path.unlink()
    header = framing.Header(1, 0.0, 7)
    sealed = framing.pack_header(header) + framing.pack_footer(7, 1)
    (log / segments.segment_name(1)).write_bytes(sealed)
    follower = Follower(log, keyring_of(log), after=0)
    assert list(follower.poll()) == []
    recovery.make_ready(log)
    append_event(old_state, OPENED)
    assert [record.session for record in follower.poll()] == ["s9"]


@pytest.mark.parametrize(
    "payload",
    [[1.5], [[]], [[1, 2, 3]], [[1, 1, 0.0, 7, 0, b"\x90", b""]], [["x"] * 7], [None]],
    ids=repr,
)
@pytest.mark.parametrize("version", [1, 2, 3])
def test_an_invalid_payload_in_a_valid_frame_is_reported_as_damage(tmp_path, payload, version):
    log = tmp_path / "log"
    injuries.write(log, injuries.conversation(1))
    header = framing.Header(1, 0.0, 7, version)
    frame = framing.pack_frame(7, 1, len(payload), msgpack.packb(payload))
    written = framing.pack_header(header) + frame + framing.pack_footer(7, 1 + len(payload))
    segments.list_segments(log)[0].write_bytes(written)
    assert verifying.verify(log, keyring_of(log)).lines
    with pytest.raises(LogDamaged):
        injuries.read(log)
    repair.plan(log, keyring_of(log))
