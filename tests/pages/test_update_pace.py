"""Pages are updated as often as the CPU allows."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from wxgptd.pages.update_pace import CPU_SHARE, LONGEST_S, SHORTEST_S, UpdatePace


def pace_at(cost_s: float, answers: int, *, pace: UpdatePace | None = None) -> UpdatePace:
    """Return the pace after a minute in which each update of each answer costs so much."""
    clock = Clock()
    if pace is None:
        pace = UpdatePace(clock)
    else:
        pace.clock = clock
        pace._since = None
    while clock.seconds() < 60.0:
        clock.advance(pace.interval_s)
        for _ in range(answers):
            pace.spent(cost_s)
    return pace


def test_few_pages_are_updated_as_often_as_readers_notice():
    assert pace_at(0.0005, 5).interval_s == SHORTEST_S


@pytest.mark.parametrize("answers", [60, 100, 200])
def test_all_updates_together_take_a_share_of_the_cpu(answers):
    pace = pace_at(0.0005, answers)
    used = answers * 0.0005 / pace.interval_s
    assert used == pytest.approx(CPU_SHARE, rel=0.35)


def test_updates_are_never_rarer_than_the_longest_interval():
    assert pace_at(0.002, 2_000).interval_s == LONGEST_S


def test_updates_become_frequent_again_when_readers_leave():
    crowded = pace_at(0.0005, 300)
    assert crowded.interval_s > 5 * SHORTEST_S
    assert pace_at(0.0005, 5, pace=crowded).interval_s == SHORTEST_S


def test_the_cpu_time_of_a_block_is_counted():
    clock, used = Clock(), iter([1.0, 1.5])
    pace = UpdatePace(clock, lambda: next(used))
    with pace.spending():
        clock.advance(1.0)
    assert pace._spent_s == pytest.approx(0.5)
