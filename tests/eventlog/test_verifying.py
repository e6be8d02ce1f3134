"""`log verify` reads the whole log and reports every kind of damage that it claims to detect."""

from __future__ import annotations

import pytest

from tests.eventlog.test_formats import (
    of_kind,
    rewrite,
    swap_events,
    swap_texts_of_two_questions,
)
from tests.eventlog.test_snapshot import take_snapshot
from tests.support import injuries
from tests.support.injuries import flip, injure, keyring_of
from wxgptd.domain.model import events as e
from wxgptd.eventlog import loading, repair, segments, verifying

EVENTS = injuries.conversation(6)


@pytest.fixture
def log(tmp_path):
    injuries.write(tmp_path / "log", EVENTS)
    return tmp_path / "log"


def problems(log) -> list[str]:
    return list(verifying.verify(log, keyring_of(log)).lines)


def test_an_intact_log_has_no_problems(log):
    assert problems(log) == []
    take_snapshot(log, 9)
    assert problems(log) == []


def test_all_damage_in_a_segment_is_reported(log):
    rewrite(log, swap_texts_of_two_questions)
    lines = problems(log)
    assert len(lines) == 2
    assert all("does not decrypt" in line for line in lines)


def test_inconsistent_events_are_detected_even_if_a_snapshot_covers_them(log):
    take_snapshot(log, len(EVENTS))

    def open_the_session_twice(entries):
        # Nothing in this event is encrypted.
        opened = of_kind(entries, e.SessionOpened)[0]
        command = of_kind(entries, e.CommandGiven)[0]
        entries[command] = [*entries[opened][:4], entries[command][4], *entries[opened][5:]]

    rewrite(log, open_the_session_twice)
    assert len(loading.load(log, keyring_of(log), {}).users)  # startup does not read them
    assert "was open" in problems(log)[0]
    plan = repair.repair(log, log.with_name("aside"), keyring_of(log), 1 << 20)
    assert plan.begins_at == len(EVENTS) + 1
    assert problems(log) == []
    assert loading.load(log, keyring_of(log), {}).loaded.last_seq == len(EVENTS)


def test_swapped_answers_are_detected(log):
    rewrite(log, lambda entries: swap_events(entries, *of_kind(entries, e.AnswerCompleted)[1:3]))
    assert len(problems(log)) == 2


def test_a_flipped_bit_is_reported_once(log):
    path = segments.list_segments(log)[0]
    injure(path, flip(path.stat().st_size // 2))
    assert len(problems(log)) == 1
