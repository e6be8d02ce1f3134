"""`log verify` reads everything, and reports every damage that it promises to find."""

from __future__ import annotations

import pytest

from tests.eventlog.test_formats import of_kind, rewritten, swap_events, words_of_two_questions
from tests.eventlog.test_snapshot import take
from tests.support import injuries
from tests.support.injuries import flip, injure, keyring_of
from wxgptd.domain.model import events as e
from wxgptd.eventlog import loading, repair, segments, verifying

EVENTS = injuries.conversation(6)


@pytest.fixture
def log(tmp_path):
    injuries.write(tmp_path / "log", EVENTS)
    return tmp_path / "log"


def wrong(log) -> list[str]:
    return list(verifying.verify(log, keyring_of(log)).lines)


def test_a_sound_log_is_sound(log):
    assert wrong(log) == []
    take(log, 9)
    assert wrong(log) == []


def test_every_damage_of_a_segment_is_reported(log):
    rewritten(log, words_of_two_questions)
    found = wrong(log)
    assert len(found) == 2
    assert all("does not decrypt" in why for why in found)


def test_events_that_cannot_follow_are_found_although_a_snapshot_covers_them(log):
    take(log, len(EVENTS))

    def events_without_words(entries):
        # A session that is opened twice: nothing of it is encrypted.
        opened = of_kind(entries, e.SessionOpened)[0]
        command = of_kind(entries, e.CommandGiven)[0]
        entries[command] = [*entries[opened][:4], entries[command][4], *entries[opened][5:]]

    rewritten(log, events_without_words)
    assert loading.load(log, keyring_of(log), {}).loaded.users  # a start does not look there
    assert "was open" in wrong(log)[0]
    plan = repair.repair(log, log.with_name("aside"), keyring_of(log), 1 << 20)
    assert plan.begins_at == len(EVENTS) + 1
    assert wrong(log) == []
    assert loading.load(log, keyring_of(log), {}).loaded.last_seq == len(EVENTS)


def test_two_answers_that_were_swapped_are_found(log):
    rewritten(log, lambda entries: swap_events(entries, *of_kind(entries, e.AnswerCompleted)[1:3]))
    assert len(wrong(log)) == 2


def test_a_flipped_bit_is_reported_once(log):
    path = segments.list_segments(log)[0]
    injure(path, flip(path.stat().st_size // 2))
    assert len(wrong(log)) == 1
