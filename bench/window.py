"""How many complete answers does each timeout budget yield, for each suspension threshold?

    python bench/window.py [--hours 2]

This is a simulation on a virtual clock. Questions arrive at random, and answer times are
log-normal, none beyond 40 s. WeChat makes its three attempts, and suspends an account for a minute
when it times out more often in five minutes than an unknown threshold. Messages sent to the account
during that minute, retries included, are lost. The daemon's side is its real code
(`wxgptd.service.state.timeouts`), with several fixed budgets and with the automatic one.

Each cell describes the last hour: complete answers as a percentage of all questions, suspensions,
and the percentage of lost questions. The last column compares the automatic budget with the best
fixed budget that was suspended at most once in that hour. The exit status is 1 if the automatic
budget is more than 5 points worse, or was suspended more than once.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import math
import multiprocessing
import random
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from wxgptd.domain.model import events as e
from wxgptd.domain.model.reply_window import LAST_NUMBER, WECHAT_PATIENCE_S
from wxgptd.domain.model.values import AccountName, DeliveryKey, OpenId, User, account_itself
from wxgptd.service.state.timeouts import DeliberateTimeouts

ACCOUNT = AccountName("main")
MARGIN_S = 0.4
TAIL_S = 40.0
SUSPENDED_S = 60.0
PERIOD_S = 300.0
HOUR_S = 3_600.0
USERS = 500
MOST_SUSPENSIONS = 1
MOST_POINTS_BELOW = 5.0
NONE = 10**9
BUDGETS: dict[str, int | None] = {
    "auto": None, "0": 0, "30": 30, "60": 60, "120": 120, "300": 300, "none": NONE,
}  # fmt: skip
THRESHOLDS = {"30": 30, "80": 80, "300": 300, "1,000": 1_000, "none": NONE}
RATES = (60, 150, 600)
MEDIANS_S = (6.0, 12.0, 20.0)


class Case(NamedTuple):
    """A simulation: `rate` questions per five minutes, and the median answer time."""

    budget: str
    threshold: str
    rate: int
    median_s: float
    hours: float


class Result(NamedTuple):
    """The last hour: percentages of the questions, and the number of suspensions."""

    complete: float
    lost: float
    suspensions: float


@dataclass
class WeChat:
    """The account's timeouts as WeChat counts them."""

    threshold: int
    timeouts: deque[float] = field(default_factory=deque)
    suspended_until: float = 0.0
    suspensions: list[float] = field(default_factory=list)

    def timed_out(self, now: float) -> None:
        """Count a timeout; suspend the account if there are too many."""
        while self.timeouts and self.timeouts[0] <= now - PERIOD_S:
            self.timeouts.popleft()
        self.timeouts.append(now)
        if len(self.timeouts) > self.threshold and now >= self.suspended_until:
            self.suspended_until = now + SUSPENDED_S
            self.suspensions.append(now)
            self.timeouts.clear()


class Attempt(NamedTuple):
    """An attempt to deliver a question whose answer is complete at `ready_at`."""

    question: int
    number: int
    ready_at: float
    asked_at: float


def simulate(case: Case) -> Result:
    """Simulate `case.hours` hours, and return the result of the last one."""
    # One seed per load, so that each budget gets the same questions.
    dice = random.Random(f"{case.rate} {case.median_s}")
    sigma = math.log(TAIL_S / case.median_s) / 2.33
    wechat = WeChat(THRESHOLDS[case.threshold])
    timeouts = DeliberateTimeouts(BUDGETS[case.budget], lambda: 0.0)
    end, measured_from = case.hours * HOUR_S, (case.hours - 1) * HOUR_S
    counts = {"complete": 0, "partial": 0, "lost": 0}
    order = itertools.count()
    # A heap of pending events: time, tie-breaker, what happens, and to which attempt.
    due: list[tuple[float, int, str, Attempt]] = []

    def push(at: float, what: str, attempt: Attempt) -> None:
        heapq.heappush(due, (at, next(order), what, attempt))

    def count(kind: str, attempt: Attempt) -> None:
        if attempt.asked_at >= measured_from:
            counts[kind] += 1

    at, number = 1.0, 0
    while at < end:
        took_s = min(dice.lognormvariate(math.log(case.median_s), sigma), TAIL_S)
        push(at, "sent", Attempt(number, 1, at + took_s, at))
        at += dice.expovariate(case.rate / PERIOD_S)
        number += 1
    while due:
        now, _, what, attempt = heapq.heappop(due)
        user = User(ACCOUNT, OpenId(f"o{attempt.question % USERS}"))
        delivery = DeliveryKey(str(attempt.question))
        if what == "sent":
            if now < wechat.suspended_until:
                count("lost", attempt)
                continue
            changed = timeouts.arrived(user, delivery, now)
            if changed is not None:
                event = e.TimeoutBudgetSet(
                    at=now, size=changed.size, ceiling=changed.ceiling, timeouts=changed.timeouts
                )
                timeouts.replay(account_itself(ACCOUNT), event)
            push(now + WECHAT_PATIENCE_S - MARGIN_S, "deadline", attempt)
        elif what == "deadline":
            if attempt.ready_at <= now:
                count("complete", attempt)
            elif attempt.number == LAST_NUMBER or not timeouts.spend(user, delivery, now):
                count("partial", attempt)
            elif attempt.ready_at <= now + MARGIN_S:
                timeouts.refund(user, delivery)
                count("complete", attempt)
            else:
                push(now + MARGIN_S, "hung up", attempt)
        else:
            wechat.timed_out(now)
            push(now, "sent", attempt._replace(number=attempt.number + 1))
    asked = max(1, sum(counts.values()))
    suspensions = sum(at >= measured_from for at in wechat.suspensions)
    return Result(100 * counts["complete"] / asked, 100 * counts["lost"] / asked, suspensions)


def main() -> None:
    """Simulate and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--rates", type=int, nargs="+", default=RATES)
    parser.add_argument("--medians", type=float, nargs="+", default=MEDIANS_S)
    options = parser.parse_args()
    loads = [(rate, median_s) for rate in options.rates for median_s in options.medians]
    cases = [
        Case(budget, threshold, rate, median_s, options.hours)
        for rate, median_s in loads
        for threshold in THRESHOLDS
        for budget in BUDGETS
    ]
    with multiprocessing.Pool() as pool:
        results = dict(zip(cases, pool.map(simulate, cases, chunksize=4), strict=True))
    worst_gap, most_suspensions = 0.0, 0.0
    for rate, median_s in loads:
        print(f"\n{rate} questions in 5 min, answers after {median_s:g} s at the median")
        print(
            " | ".join(["suspends after", *(f"{name:^16}" for name in BUDGETS), "below the best"])
        )
        for threshold in THRESHOLDS:
            row = {
                name: results[Case(name, threshold, rate, median_s, options.hours)]
                for name in BUDGETS
            }
            best = max(
                result.complete
                for name, result in row.items()
                if name != "auto" and result.suspensions <= MOST_SUSPENSIONS
            )
            gap = max(0.0, best - row["auto"].complete)
            worst_gap = max(worst_gap, gap)
            most_suspensions = max(most_suspensions, row["auto"].suspensions)
            cells = [
                f"{result.complete:5.1f} {result.suspensions:3.0f} {result.lost:5.1f}".center(16)
                for result in row.values()
            ]
            print(" | ".join([f"{threshold:>14}", *cells, f"{gap:8.1f}"]))
    print(
        f"\nauto: at most {worst_gap:.1f} points below the best fixed budget; "
        f"suspensions in the last hour: {most_suspensions:.0f} at most"
    )
    raise SystemExit(worst_gap > MOST_POINTS_BELOW or most_suspensions > MOST_SUSPENSIONS)


if __name__ == "__main__":
    main()
