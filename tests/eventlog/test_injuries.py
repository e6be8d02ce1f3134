"""Injuries to a log on disk and their consequences; each test is named after its injury."""

from __future__ import annotations

import os
from itertools import pairwise

import pytest

from tests.support import injuries
from tests.support.builders import BOB
from tests.support.injuries import (
    append,
    conversation,
    flip,
    injure,
    only_segment,
    read,
    truncate,
    write,
)
from wxgptd.eventlog import framing, reader, recovery, segments
from wxgptd.eventlog.following import Follower
from wxgptd.eventlog.reader import LogDamaged

EVENTS = conversation(4)


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


def test_no_injury(log):
    write(log, EVENTS)
    assert injuries.events(log) == EVENTS
    assert [record.seq for record in read(log)] == list(range(1, len(EVENTS) + 1))


def test_an_empty_directory_is_an_empty_log(log):
    segments.make_private_directory(log)
    assert read(log) == []


@pytest.fixture(params=[0, 700], ids=["without room", "with room"])
def room(request) -> bytes:
    """The zeros that the writer leaves after the last commit."""
    return bytes(request.param)


def test_every_truncation_of_an_unsealed_segment_leaves_the_exact_prefix(log, room):
    snapshots = write(log, EVENTS, seal=False)
    path, data = only_segment(log), snapshots[-1]
    for size in range(len(data), framing.HEADER_BYTES if room else -1, -7):
        path.write_bytes(data[:size] + room)
        # The room provides a frame's last bytes if they are zeros.
        needed = (len(snapshot.rstrip(b"\0") if room else snapshot) for snapshot in snapshots)
        intact = sum(needed_bytes <= size for needed_bytes in needed)
        assert injuries.events(log) == EVENTS[:intact], size
        ready = recovery.make_ready(log)
        assert ready.next_seq == intact + 1
        for broken in log.glob("*.broken"):
            broken.unlink()


def test_every_bit_flip_is_detected_or_leaves_the_exact_prefix(log, room):
    """In an unsealed segment, only a flip in the last frame can pass for a torn tail."""
    snapshots = write(log, EVENTS[:6], seal=False)
    path, data = only_segment(log), snapshots[-1] + room[:9]
    last_frame = len(snapshots[-2])
    for position in range(len(data) * 8):
        path.write_bytes(flip(position // 8, position % 8)(data))
        try:
            events = injuries.events(log)
        except LogDamaged:
            continue
        assert position // 8 >= last_frame, position
        assert events == EVENTS[: 5 if position // 8 < len(snapshots[-1]) else 6]


def test_any_bit_flip_in_a_sealed_segment_that_has_a_successor_is_reported_as_damage(log):
    write(log, EVENTS[:3])
    sealed = only_segment(log)
    write(log, EVENTS[3:6], previous=3)
    data = sealed.read_bytes()
    for position in range(len(data) * 8):
        sealed.write_bytes(flip(position // 8, position % 8)(data))
        with pytest.raises(LogDamaged):
            read(log)


def test_a_torn_tail_is_moved_aside_and_writing_continues(log):
    write(log, EVENTS[:4], seal=False)
    injure(only_segment(log), append(b"WXFR\x00\x00torn"))
    assert injuries.events(log) == EVENTS[:4]
    write(log, EVENTS[4:], previous=4)
    assert injuries.events(log) == EVENTS
    (broken,) = log.glob("*.broken")
    assert broken.read_bytes() == b"WXFR\x00\x00torn"


def test_the_footer_of_the_last_segment_is_written_again(log):
    write(log, EVENTS)
    path = segments.list_segments(log)[-1]
    before = path.read_bytes()
    os.utime(path, ns=(1, 1))
    ready = recovery.make_ready(log)
    assert ready.segment is None, "it is sealed"
    assert path.read_bytes() == before
    assert path.stat().st_mtime_ns > 1, "a power cut could still lose its footer"


def test_every_torn_tail_is_saved_separately(log):
    write(log, EVENTS[:4], seal=False)
    for junk in (b"one", b"two"):
        injure(only_segment(log), append(junk))
        assert recovery.make_ready(log).trimmed.size == 3
    assert sorted(broken.read_bytes() for broken in log.glob("*.broken")) == [b"one", b"two"]


def test_a_segment_with_a_truncated_header_is_rewritten(log):
    write(log, EVENTS[:4])
    (log / segments.segment_name(5)).write_bytes(b"WXGPTL")
    write(log, EVENTS[4:], previous=4)
    assert injuries.events(log) == EVENTS


def test_a_damaged_log_is_left_untouched(log):
    snapshots = write(log, EVENTS, seal=False)
    path = only_segment(log)
    injure(path, flip(len(snapshots[2]) + 30))
    before, names = path.read_bytes(), set(log.iterdir())
    with pytest.raises(LogDamaged, match=rf"at byte {len(snapshots[2])}") as raised:
        read(log)
    assert "wxgpt log verify" in raised.value.hint
    with pytest.raises(LogDamaged):
        recovery.make_ready(log)
    assert path.read_bytes() == before
    assert set(log.iterdir()) == names


def write_small_segments(log):
    write(log, EVENTS, segment_bytes=400)
    paths = segments.list_segments(log)
    assert len(paths) > 3
    return paths


def test_events_are_read_across_segments(log):
    write_small_segments(log)
    assert injuries.events(log) == EVENTS
    for after in range(len(EVENTS) + 1):
        assert [r.seq for r in read(log, after)] == list(range(after + 1, len(EVENTS) + 1))


def test_a_missing_segment_is_reported_as_damage(log):
    write_small_segments(log)[1].unlink()
    with pytest.raises(LogDamaged, match="expected"):
        read(log)


def test_a_truncated_sealed_segment_is_reported_as_damage(log):
    path = write_small_segments(log)[1]
    injure(path, truncate(path.stat().st_size - 1))
    with pytest.raises(LogDamaged, match="ends early"):
        read(log)


def test_a_renamed_segment_is_reported_as_damage(log):
    paths = write_small_segments(log)
    paths[-1].rename(log / segments.segment_name(10_000))
    with pytest.raises(LogDamaged):
        read(log)


def test_the_error_for_a_newer_format_says_what_to_install(log):
    write(log, EVENTS[:2])
    path = only_segment(log)
    header = framing.unpack_header(path.read_bytes())
    newer = framing.pack_header(header._replace(version=4))
    path.write_bytes(newer + path.read_bytes()[len(newer) :])
    with pytest.raises(LogDamaged, match="format 4") as raised:
        read(log)
    assert "install" in raised.value.hint


def test_two_users_can_share_a_log(log):
    write(log, EVENTS)
    write(log, EVENTS, user=BOB)
    assert [r.event for r in read(log) if r.user == BOB] == EVENTS


# Reading a log while it is being written.


def follower_of(log, after=0):
    return Follower(log, injuries.keyring_of(log), after)


def test_a_follower_reads_every_event_once_across_rotations(log):
    follower, seen = follower_of(log), []
    assert list(follower.poll()) == []
    for n in range(0, len(EVENTS), 3):
        write(log, EVENTS[n : n + 3], previous=n, segment_bytes=300, seal=n % 2 == 0)
        seen += follower.poll()
    assert [record.event for record in seen] == EVENTS
    assert list(follower.poll()) == []


def test_a_follower_resumes_after_an_event_number(log):
    write(log, EVENTS, segment_bytes=300)
    for after in (0, 1, 5, len(EVENTS)):
        records = list(follower_of(log, after).poll())
        assert [record.seq for record in records] == list(range(after + 1, len(EVENTS) + 1))


def test_newest_seq_returns_the_last_complete_event(log):
    segments.make_private_directory(log)
    assert reader.newest_seq(log) == 0
    write(log, EVENTS, segment_bytes=300, seal=False)
    assert reader.newest_seq(log) == len(EVENTS)
    injure(segments.list_segments(log)[-1], append(b"WXFRtorn"))
    assert reader.newest_seq(log) == len(EVENTS)


def test_a_follower_does_not_read_incomplete_frames(log):
    snapshots = write(log, EVENTS[:5], seal=False)
    path, follower, seen = only_segment(log), follower_of(log), []
    for size in range(0, len(snapshots[-1]) + 1, 5):
        path.write_bytes(snapshots[-1][:size])
        seen += follower.poll()
    path.write_bytes(snapshots[-1])
    seen += follower.poll()
    assert [record.event for record in seen] == EVENTS[:5]


def test_a_commit_lost_between_others_is_reported_as_damage(log):
    """A power cut may lose any unsynced page, but no frame is written before the last is synced."""
    snapshots = write(log, EVENTS[:6], seal=False)
    path, data = only_segment(log), snapshots[-1]
    for before, after in pairwise(snapshots[:-1]):
        path.write_bytes(data[: len(before)] + bytes(len(after) - len(before)) + data[len(after) :])
        with pytest.raises(LogDamaged, match=rf"at byte {len(before)}"):
            recovery.make_ready(log)


def test_a_segment_of_zeros_is_damaged_unless_only_its_header_is_lost(log):
    snapshots = write(log, EVENTS[:3], seal=False)
    path = only_segment(log)
    path.write_bytes(bytes(len(snapshots[-1])))
    with pytest.raises(LogDamaged, match="header is invalid"):
        recovery.make_ready(log)
    path.write_bytes(bytes(framing.HEADER_BYTES))
    ready = recovery.make_ready(log)
    assert ready.next_seq == 1
    assert ready.trimmed is None, "there is nothing to keep"


def test_a_start_gives_the_room_of_a_killed_writer_back(log):
    snapshots = write(log, EVENTS[:3], seal=False)
    path = only_segment(log)
    assert path.stat().st_size > len(snapshots[-1])
    assert recovery.make_ready(log).trimmed is None, "room is not a torn tail"
    assert path.read_bytes() == snapshots[-1]


def test_a_segment_killed_while_it_was_sealed_is_complete(log):
    write(log, EVENTS)
    path = only_segment(log)
    sealed = path.read_bytes()
    path.write_bytes(sealed + bytes(5_000))
    assert injuries.events(log) == EVENTS
    assert recovery.make_ready(log).segment is None
    assert path.read_bytes() == sealed, "its room is given back"
    write(log, EVENTS[:1], previous=len(EVENTS))
    assert injuries.events(log) == [*EVENTS, *EVENTS[:1]], "it may have a successor"
