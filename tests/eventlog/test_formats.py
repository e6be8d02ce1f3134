"""Logs that earlier versions wrote go on as logs of today's format, and lose nothing."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import msgpack
import pytest

from tests.eventlog.test_golden import LOGS
from tests.support import injuries
from tests.support.injuries import MASTER, flip, injure, keyring_of
from wxgptd.domain.evolve import fold
from wxgptd.domain.model import events as e
from wxgptd.domain.model.state import Inconsistent
from wxgptd.domain.model.values import AccountName, OpenId, User
from wxgptd.eventlog import codec, framing, loading, recovery, repair, segments, verifying
from wxgptd.eventlog.following import Follower
from wxgptd.eventlog.reader import LogDamaged
from wxgptd.eventlog.store import Alarms, LogStore, Turns

SNAPSHOTS = LOGS.parent / "snapshots"
NEW = User(AccountName("main"), OpenId("new"))
OPENED = e.SessionOpened(at=9_000.0, session="s9", assistant="chatgpt", ttl_s=300.0)


@pytest.fixture
def former(tmp_path) -> Path:
    """The log of a former version, closed as that closes one."""
    shutil.copytree(LOGS / "v5", tmp_path / "state")
    return tmp_path / "state"


def log_of(state_dir: Path) -> Path:
    return segments.log_directory(state_dir)


def crash(state_dir: Path) -> Path:
    """Leave the newest segment as a crash does: without its footer."""
    path = segments.list_segments(log_of(state_dir))[-1]
    data = path.read_bytes()
    path.write_bytes(data[: -framing.HEAD_BYTES])
    return path


def appended(state_dir: Path, event: e.Event) -> None:
    """Start, append one event, and stop."""
    failures: list = []
    store = LogStore(
        state_dir,
        MASTER,
        Turns(lambda call: call(), lambda call: call()),
        Alarms(failures.append, failures.append),
    )
    store.load({})
    store.start()
    store.append(NEW, [(event.session, event)], 0).addErrback(failures.append)
    store.close()
    assert failures == []


def versions(state_dir: Path) -> list[int]:
    headers = [
        framing.unpack_header(path.read_bytes())
        for path in segments.list_segments(log_of(state_dir))
    ]
    return [header.version for header in headers]


@pytest.mark.parametrize("how", ["closed", "crashed", "torn", "empty"])
def test_what_is_appended_to_a_former_version_s_log_goes_into_a_segment_of_its_own(former, how):
    before = injuries.read(log_of(former))
    if how != "closed":
        path = crash(former)
    if how == "torn":
        path.write_bytes(path.read_bytes() + b"torn")
    if how == "empty":
        header = framing.unpack_header(path.read_bytes())
        path.write_bytes(framing.pack_header(header))
        before = [record for record in before if record.seq < header.first_seq]
    appended(former, OPENED)
    *kept, last = injuries.read(log_of(former))
    assert kept == before
    assert (last.user, last.session, last.event) == (NEW, "s9", OPENED)
    assert versions(former) == ([2, 3] if how == "empty" else [2, 2, 3])
    assert not [info for info in verifying.inspect(log_of(former), keyring_of(log_of(former)))
                if info.damages]  # fmt: skip


def test_a_snapshot_of_a_former_version_is_read(former):
    def states(loaded):
        # Windows did not know their session: it is that of the question, or not known.
        return {
            user: state._replace(
                windows={key: one._replace(session="") for key, one in state.windows.items()}
            )
            for user, state in ((user, one.hydrate()) for user, one in loaded.users.items())
        }

    folded = states(loading.load(log_of(former), keyring_of(log_of(former)), {}).loaded)
    for path in (SNAPSHOTS / "v5").iterdir():
        shutil.copy(path, log_of(former))
    after = loading.load(log_of(former), keyring_of(log_of(former)), {}).loaded
    assert (after.snapshot_seq, list(after.skipped)) == (48, [])
    assert states(after) == folded


def test_a_repair_makes_a_log_of_today_s_format_and_keeps_sessions_and_words(former):
    log = log_of(former)
    before = injuries.read(log)
    path = segments.list_segments(log)[-1]
    injure(path, flip(path.stat().st_size - framing.HEAD_BYTES - 3))
    repair.repair(log, log.with_name("aside"), keyring_of(log), 1 << 20)
    assert set(versions(former)) == {3}
    saved = injuries.read(log)
    assert saved == before[: len(saved)]
    assert len(saved) > 40
    texts = [record.event.text for record in saved if isinstance(record.event, e.QuestionAsked)]
    assert sum(map(bool, texts)) > 2


@pytest.mark.parametrize("offset", [0, 9, 30])
def test_a_repair_finds_out_the_format_of_a_segment_whose_header_is_lost(former, offset):
    log = log_of(former)
    before = injuries.read(log)
    injure(segments.list_segments(log)[0], flip(offset))
    plan = repair.repair(log, log.with_name("aside"), keyring_of(log), 1 << 20)
    assert [gap.why for gap in plan.gaps] == ["its header is invalid"]
    assert injuries.read(log) == before


def in_small_segments(log: Path, size: int) -> None:
    """Cut the oldest segment of a log into segments of `size` commits."""
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
def test_sessions_are_those_of_the_whole_log_wherever_one_begins_to_read(former, size):
    log = log_of(former)
    whole = injuries.read(log)
    assert sum(bool(record.session) for record in whole) > 30
    in_small_segments(log, size)
    for after in (1, 10, 20, 43, len(whole) - 1):
        assert injuries.read(log, after) == whole[after:]
        follower = Follower(log, keyring_of(log), after=after)
        assert list(follower.poll()) == whole[after:]


# What is encrypted is bound to its place.


def rewritten(log: Path, change) -> None:
    """Change the entries of a log, with checksums that fit: an attacker can make those."""
    for path in segments.list_segments(log):
        data = memoryview(path.read_bytes())
        header = framing.unpack_header(data)
        frames = list(framing.Walk(data, header))
        entries = [list(one) for frame in frames for one in codec.unpack(frame.payload)]
        change(entries)
        written, seq = framing.pack_header(header), header.first_seq
        for entry in entries:
            payload = codec.join(1, [codec.pack([entry])])
            written += framing.pack_frame(header.key, seq, 1, payload)
            seq += 1
        path.write_bytes(written + framing.pack_footer(header.key, seq))


TAG, VERSION, AT, REFERENCE, PREVIOUS, CARRIED, SEALED = range(7)


def swap_words(entries, one, other):
    entries[one][SEALED], entries[other][SEALED] = entries[other][SEALED], entries[one][SEALED]


def swap_events(entries, one, other):
    """Swap two events, each with the number that its new place has."""
    entries[one], entries[other] = entries[other], entries[one]
    previous = entries[other][PREVIOUS], entries[one][PREVIOUS]
    entries[one][PREVIOUS], entries[other][PREVIOUS] = previous


def of_kind(entries, kind) -> list[int]:
    return [n for n, entry in enumerate(entries) if entry[TAG] == codec.TAGS[kind]]


def words_of_two_questions(entries):
    swap_words(entries, *of_kind(entries, e.QuestionAsked)[:2])


def two_questions(entries):
    swap_events(entries, *of_kind(entries, e.QuestionAsked)[:2])


def two_answers(entries):
    swap_events(entries, *of_kind(entries, e.AnswerCompleted)[:2])


def a_question_s_words_in_an_answer(entries):
    swap_words(
        entries, of_kind(entries, e.QuestionAsked)[0], of_kind(entries, e.AnswerCompleted)[0]
    )


def an_older_reply_again(entries):
    first, last = of_kind(entries, e.ReplyOffered)[1::2][:2]
    entries[last][SEALED] = entries[first][SEALED] = (
        entries[first][SEALED] or entries[of_kind(entries, e.QuestionAsked)[0]][SEALED]
    )


def another_user_s_reference(entries):
    entries[of_kind(entries, e.QuestionAsked)[0]][REFERENCE] = "main:0123456789abcdef"


def an_older_version_s_tag(entries):
    entries[of_kind(entries, e.AnswerCompleted)[0]][VERSION] = 3


def a_former_format_s_lack_of_a_session(entries):
    for entry in entries:
        _, *fields = codec.unpack(entry[CARRIED])
        entry[CARRIED] = msgpack.packb((None, *fields))


def words_that_are_gone(entries):
    entries[of_kind(entries, e.QuestionAsked)[0]][SEALED] = b""


@pytest.mark.parametrize(
    "change",
    [
        words_of_two_questions,
        two_questions,
        two_answers,
        a_question_s_words_in_an_answer,
        an_older_reply_again,
        an_older_version_s_tag,
        a_former_format_s_lack_of_a_session,
        words_that_are_gone,
    ],
    ids=lambda change: change.__name__,
)
def test_an_event_that_is_not_in_its_place_is_found(tmp_path, change):
    log = tmp_path / "log"
    injuries.write(log, injuries.conversation(3))
    keys = keyring_of(log)
    assert not any(info.damages for info in verifying.inspect(log, keys))
    rewritten(log, change)
    (found,) = [info.damages for info in verifying.inspect(log, keys)]
    assert found
    assert all(re.search(r"event \d+ (does not|is inconsistent)", why) for _, why in found)


def test_an_event_of_a_reference_that_nobody_has_is_found_by_a_start(tmp_path):
    log = tmp_path / "log"
    injuries.write(log, injuries.conversation(3))
    rewritten(log, another_user_s_reference)
    with pytest.raises(Inconsistent, match="expects version"):
        loading.load(log, keyring_of(log), {})


def test_the_harness_changes_nothing_by_itself(tmp_path):
    log = tmp_path / "log"
    events = injuries.conversation(3)
    injuries.write(log, events)
    rewritten(log, lambda entries: None)
    assert injuries.events(log) == events
    assert (
        fold(events)
        == next(iter(loading.load(log, keyring_of(log), {}).loaded.users.values())).hydrate()
    )


def test_what_a_former_format_has_encrypted_does_not_pass_in_a_segment_of_today_s(former, tmp_path):
    """An attacker can write a header that says format 3, and has old text to put behind it."""
    log = log_of(former)
    for path in segments.list_segments(log):
        data = path.read_bytes()
        header = framing.unpack_header(data)
        path.write_bytes(
            framing.pack_header(header._replace(version=3)) + data[framing.HEADER_BYTES :]
        )

    def without_sessions(entries):
        for entry in entries:
            entry[CARRIED] = msgpack.packb((None, *codec.unpack(entry[CARRIED])))

    rewritten(log, without_sessions)
    found = [info.damages for info in verifying.inspect(log, keyring_of(log))]
    assert "does not name its session" in found[0][0].why


def header_only(log: Path, snapshot_of: int) -> None:
    """Leave a snapshot, and of the segments only the header of the next one: of a former format."""
    first = segments.list_segments(log)[0]
    header = framing.unpack_header(first.read_bytes())
    for path in segments.list_segments(log):
        path.unlink()
    fresh = header._replace(first_seq=snapshot_of + 1)
    (log / segments.segment_name(snapshot_of + 1)).write_bytes(framing.pack_header(fresh))


@pytest.mark.parametrize("torn", [0, 7])
def test_a_segment_without_events_is_replaced_and_never_missing(former, torn):
    """It may be all that there is behind a snapshot: without it a start would refuse the log."""
    log = log_of(former)
    shutil.copy(next((SNAPSHOTS / "v5").iterdir()), log)
    header_only(log, 48)
    (path,) = segments.list_segments(log)
    if torn:
        path.write_bytes(path.read_bytes()[:-torn])
    ready = recovery.make_ready(log)
    assert (ready.segment, ready.next_seq) == (path, 49)
    assert framing.unpack_header(path.read_bytes()).version == framing.FORMAT_VERSION
    assert loading.load(log, keyring_of(log), {}).loaded.last_seq == 48
    appended(former, OPENED)
    assert [record.seq for record in injuries.read(log)] == [49]


def test_what_a_repair_moved_without_its_key_is_no_damage_when_the_key_is_found(former):
    log = log_of(former)
    ring = segments.keyring_path(former)
    before, all_keys = injuries.read(log), ring.read_bytes()
    keys = keyring_of(log)
    keys.write(without=[keys.of(User(AccountName("main"), OpenId("alice"))).reference])
    repair.repair(log, log.with_name("aside"), keyring_of(log), 1 << 20)
    ring.write_bytes(all_keys)
    found = injuries.read(log)
    assert len(found) == len(before) + 1  # and that alice is erased
    assert not any(info.damages for info in verifying.inspect(log, keyring_of(log)))


def test_a_repair_does_not_take_a_former_format_for_today_s(tmp_path):
    """Without what is encrypted, an event one field short could be read one field off."""
    log = tmp_path / "log"
    opened = e.SessionOpened(at=1.0, session="s1", assistant="chatgpt", ttl_s=300.0)
    given = e.CommandGiven(at=2.0, delivery="m1", command="stop", sent_at=2)
    injuries.write(log, [opened])
    injuries.write(log, [given], previous=1)
    before = injuries.events(log)
    for path in segments.list_segments(log):
        as_format_2(path)
    injure(segments.list_segments(log)[1], flip(30))
    repair.repair(log, log.with_name("aside"), keyring_of(log), 1 << 20)
    assert injuries.events(log) == before


def as_format_2(path: Path) -> None:
    """Write a segment as a former version would have: no sessions, nothing bound."""
    data = memoryview(path.read_bytes())
    header = framing.unpack_header(data)._replace(version=framing.UNBOUND_VERSION)
    written, seq = framing.pack_header(header), header.first_seq
    for frame in framing.Walk(data, framing.unpack_header(data)):
        entries = []
        for *entry, carried, sealed in codec.unpack(frame.payload):
            assert not sealed, "this helper has no key"
            entries.append((*entry, msgpack.packb(codec.unpack(carried)[1:]), sealed))
        payload = codec.join(len(entries), [codec.pack(entries)])
        written += framing.pack_frame(header.key, seq, len(entries), payload)
        seq += len(entries)
    path.write_bytes(written + framing.pack_footer(header.key, seq))


def test_a_follower_of_a_log_without_events_ends_its_poll(former):
    log = log_of(former)
    for path in segments.list_segments(log):
        path.unlink()
    header = framing.Header(1, 0.0, 7)
    sealed = framing.pack_header(header) + framing.pack_footer(7, 1)
    (log / segments.segment_name(1)).write_bytes(sealed)
    follower = Follower(log, keyring_of(log), after=0)
    assert list(follower.poll()) == []
    recovery.make_ready(log)
    appended(former, OPENED)
    assert [record.session for record in follower.poll()] == ["s9"]


@pytest.mark.parametrize(
    "payload",
    [[1.5], [[]], [[1, 2, 3]], [[1, 1, 0.0, 7, 0, b"\x90", b""]], [["x"] * 7], [None]],
    ids=repr,
)
@pytest.mark.parametrize("version", [1, 2, 3])
def test_whatever_a_frame_that_checks_has_in_it_is_damage_and_nothing_else(
    tmp_path, payload, version
):
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
