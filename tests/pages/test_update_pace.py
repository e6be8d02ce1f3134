"""Pages are updated as often as the CPU allows."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from wxgptd.pages.update_pace import CPU_LIMIT, CPU_SHARE, LONGEST_S, SHORTEST_S, UpdatePace


def pace_at(
    cost_s: float, answers: int, *, others: float = 1.0, pace: UpdatePace | None = None
) -> UpdatePace:
    """Return the pace after a minute in which each update of each answer costs so much.

    `others` is the share of a core that the rest of the process uses.
    """
    clock = Clock()
    used_s = 0.0
    pace = pace or UpdatePace(clock)
    pace.clock, pace._since, pace._process_s = clock, None, lambda: used_s
    while clock.seconds() < 60.0:
        clock.advance(pace.interval_s)
        used_s += pace.interval_s * others
        for _ in range(answers):
            used_s += cost_s
            pace.spent(cost_s)
    return pace


def test_few_pages_are_updated_as_often_as_readers_notice():
    assert pace_at(0.0005, 5).interval_s == SHORTEST_S


@pytest.mark.parametrize("answers", [60, 100, 200])
@pytest.mark.parametrize(
    ("others", "share"),
    [(0.0, CPU_LIMIT), (0.3, CPU_LIMIT - 0.3), (0.6, CPU_SHARE), (1.0, CPU_SHARE)],
)
def test_all_updates_together_take_what_others_leave_but_always_a_share(answers, others, share):
    pace = pace_at(0.0005, answers, others=others)
    used = answers * 0.0005 / pace.interval_s
    assert used == pytest.approx(min(share, answers * 0.0005 / SHORTEST_S), rel=0.35)


def test_updates_are_never_rarer_than_the_longest_interval():
    assert pace_at(0.002, 2_000).interval_s == LONGEST_S


def test_updates_become_frequent_again_when_readers_leave():
    crowded = pace_at(0.0005, 300)
    assert crowded.interval_s > 5 * SHORTEST_S
    assert pace_at(0.0005, 5, pace=crowded).interval_s == SHORTEST_S


def test_the_cpu_time_of_a_block_is_counted():
    clock, used = Clock(), iter([0.0, 0.0, 1.0, 1.5])
    pace = UpdatePace(clock, lambda: next(used))
    with pace.spending():  # begins the first review
        pass
    clock.advance(0.1)
    with pace.spending():
        clock.advance(0.1)
    assert pace._spent_s == pytest.approx(0.5)
