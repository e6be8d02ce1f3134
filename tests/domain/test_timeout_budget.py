"""The arithmetic of the deliberate timeout budget."""

from __future__ import annotations

import pytest

from wxgptd.domain.decide.timeout_budget import (
    INITIAL_SIZE,
    MIN_SIZE,
    SUSPENSION_MEMORY_S,
    Budget,
    ExpectedRetry,
    is_suspicious,
    was_suspension,
)
from wxgptd.domain.model.values import OpenId

NOW = 1_700_000_000.0


def missing(*users: str) -> list[ExpectedRetry]:
    return [ExpectedRetry(OpenId(user), NOW) for user in users]


def test_the_budget_doubles_until_the_first_suspension():
    budget, sizes = Budget(), []
    for _ in range(5):
        budget = budget.after_growth(NOW)
        sizes.append(budget.size)
    assert sizes == [2 * INITIAL_SIZE, 4 * INITIAL_SIZE, 8 * INITIAL_SIZE, 16 * INITIAL_SIZE, 1_920]


def test_after_a_suspension_the_budget_shrinks_and_grows_back_to_a_ceiling():
    budget = Budget(480).after_suspension(300, NOW)
    assert budget == Budget(255, 300, NOW)
    budget = budget.after_growth(NOW + 300)
    assert budget.size == 280
    budget = budget.after_growth(NOW + 600)
    assert budget.size == 285  # 95 % of the timeouts that caused it
    assert budget.after_growth(NOW + 900) == budget
    assert budget.after_growth(NOW + SUSPENSION_MEMORY_S).size == 313  # forgotten after a week


def test_a_second_suspension_within_a_week_halves_the_budget():
    budget = Budget(255, 300, NOW)
    assert budget.after_suspension(290, NOW + 3_600).size == 127
    # Or less, if fewer timeouts caused the suspension.
    assert budget.after_suspension(40, NOW + 3_600).size == 34
    assert budget.after_suspension(290, NOW + SUSPENSION_MEMORY_S).size == 246


def test_the_budget_never_shrinks_below_the_minimum():
    budget = Budget()
    for hour in range(20):
        budget = budget.after_suspension(1, NOW + 3_600 * hour)
    assert budget.size == MIN_SIZE
    assert budget.after_growth(NOW + 80_000).size == MIN_SIZE + 1


@pytest.mark.parametrize(
    ("users", "suspicious"),
    [
        ("abcab", True),
        ("abc", False),
        ("ababab", False),  # only two users: their network may be at fault
        ("aaaaaaaaaa", False),
        ("abcd", False),
        ("", False),
    ],
)
def test_a_silence_is_suspicious_if_enough_users_miss_retries(users, suspicious):
    assert is_suspicious(missing(*users)) is suspicious


@pytest.mark.parametrize(
    ("users", "silent_s", "usual_arrivals", "suspended"),
    [
        ("abcab", 60.0, 3.0, True),
        ("abcab", 45.0, 3.0, True),
        ("abcab", 120.0, 3.0, True),
        ("abcab", 44.0, 3.0, False),  # Too short: a network hiccup.
        ("abcab", 121.0, 3.0, False),  # Too long: a network failure.
        ("ab", 60.0, 3.0, False),  # Too little evidence.
        ("ab", 60.0, 20.0, True),  # 20 other messages should have arrived.
        ("", 60.0, 20.0, False),  # No retries were expected.
    ],
)
def test_a_suspension_is_distinguished_from_other_silences(
    users, silent_s, usual_arrivals, suspended
):
    assert was_suspension(missing(*users), silent_s, usual_arrivals, 50) is suspended


def test_missing_traffic_is_no_evidence_after_few_timeouts():
    assert was_suspension(missing("a"), 60.0, 30.0, 20)
    assert not was_suspension(missing("a"), 60.0, 30.0, 19)


def test_an_implausibly_low_ceiling_is_ignored():
    budget, sizes = Budget().after_suspension(5, NOW), []
    for period in range(30):
        budget = budget.after_growth(NOW + 300 * period)
        sizes.append(budget.size)
    assert sizes[-1] > INITIAL_SIZE
