"""The deliberate timeouts of each account: how many are spent, and how many are left.

Spent timeouts and budget sizes are restored from the log. The retries expected from WeChat are in
memory only: a restart forgets them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Mapping
from math import exp

from twisted.logger import Logger

from wxgptd.domain.decide import timeout_budget
from wxgptd.domain.decide.timeout_budget import (
    LONGEST_SUSPENSION_S,
    PERIOD_S,
    RETRY_WITHIN_S,
    Budget,
    ExpectedRetry,
)
from wxgptd.domain.model import events as e
from wxgptd.domain.model.state import UserState
from wxgptd.domain.model.values import AccountName, DeliveryKey, OpenId, User
from wxgptd.service.state.projections import Projection
from wxgptd.untyped import Notes

log = Logger()

REMEMBERED_S = 400 * 86_400.0
"""Older budget changes are not replayed."""


class _Account:
    """One account's timeouts."""

    def __init__(self) -> None:
        self.budget = Budget()
        self.suspensions = 0
        self.spent: deque[float] = deque()
        self.expected: dict[tuple[OpenId, DeliveryKey], ExpectedRetry] = {}
        self.last_arrival: float | None = None
        self.arrivals = 0.0
        """Exponentially decayed count of messages (time constant PERIOD_S)."""
        self.warned_used_up = False
        self.period_began: float | None = None
        self.used_up = False
        self.retried = 0
        self.missed = 0

    def recently_spent(self, now: float) -> int:
        """Return how many timeouts were spent in the five minutes before `now`."""
        oldest = now - PERIOD_S
        while self.spent and self.spent[0] <= oldest - LONGEST_SUSPENSION_S:
            self.spent.popleft()
        while self.spent and self.spent[-1] > now:
            self.spent.pop()  # the wall clock was set back before this start
        return self._spent_between(oldest, now)

    def _spent_between(self, after: float, until: float) -> int:
        return bisect_right(self.spent, until) - bisect_right(self.spent, after)

    def missing(self, now: float) -> list[ExpectedRetry]:
        """Return the retries that have become overdue since the last arrival, oldest first.

        Those already overdue at that arrival were counted as missed then, and are not included.
        """
        return [retry for _, retry in self._overdue(now)]

    def _overdue(self, now: float) -> list[tuple[tuple[OpenId, DeliveryKey], ExpectedRetry]]:
        overdue = []
        for key, retry in self.expected.items():  # in the order of their due times
            if retry.spent_at + RETRY_WITHIN_S > now:
                break
            overdue.append((key, retry))
        return overdue

    def is_suspicious(self, now: float) -> bool:
        """Return whether WeChat seems to have suspended the account."""
        return timeout_budget.is_suspicious(self.missing(now))

    def arrived(self, openid: OpenId, delivery: DeliveryKey, now: float) -> None:
        """Record an arrival, and count overdue retries as missed."""
        if self.last_arrival is not None:
            self.arrivals *= exp(min(0.0, self.last_arrival - now) / PERIOD_S)
        self.arrivals += 1.0
        self.last_arrival = now
        if self.expected.pop((openid, delivery), None) is not None:
            self.retried += 1
        for key, _ in self._overdue(now):
            del self.expected[key]
            self.missed += 1

    def suspension(self, now: float, responsive_since: Callable[[], float | None]) -> int:
        """Return how many timeouts led to a suspension that has just ended; 0 if none has."""
        missing = self.missing(now)
        if not missing or self.last_arrival is None:
            return 0
        caused_at = missing[0].spent_at  # the first timeout that WeChat did not retry
        timeouts = self._spent_between(caused_at - PERIOD_S, caused_at)
        silent_s = now - self.last_arrival
        usual_arrivals = self.arrivals / PERIOD_S * silent_s
        if not timeout_budget.was_suspension(missing, silent_s, usual_arrivals, timeouts):
            return 0
        since = responsive_since()
        if since is None or since > self.last_arrival:
            return 0  # this process itself may not have been listening
        return max(1, timeouts)

    def close_period(self, now: float) -> Budget:
        """Return the budget for the next period, or the current one while its period lasts."""
        if self.period_began is None or now - self.period_began < PERIOD_S:
            return self.budget
        grows = self.used_up and timeout_budget.is_well(self.retried, self.missed)
        self.reset_period()
        return self.budget.after_growth(now) if grows else self.budget

    def reset_period(self) -> None:
        """Start a new period at the next timeout."""
        self.period_began, self.used_up, self.retried, self.missed = None, False, 0, 0

    def forget(self, openid: OpenId) -> None:
        """Stop expecting this user's retries."""
        self.expected = {
            key: retry for key, retry in self.expected.items() if retry.openid != openid
        }


class DeliberateTimeouts(Projection):
    """The number of times each account may still let WeChat time out.

    `fixed` is a budget that does not change, or None for one that adapts.
    `responsive_since` returns the time since which this process has been up, listening and not
    lagging.
    """

    name = "timeout_budgets"

    def __init__(self, fixed: int | None, responsive_since: Callable[[], float | None]) -> None:
        self._fixed = fixed
        self._responsive_since = responsive_since
        self._accounts: dict[AccountName, _Account] = {}

    @property
    def fixed(self) -> int | None:
        """The fixed budget of each account, or None if budgets adapt."""
        return self._fixed

    @fixed.setter
    def fixed(self, fixed: int | None) -> None:
        if fixed != self._fixed:
            for account in self._accounts.values():
                account.reset_period()  # the old budget was used up, not the new one
        self._fixed = fixed

    # Events.

    @property
    def replays(self) -> Mapping[type[e.Event], float]:
        """Budgets, and the timeouts proved by WeChat's retries in the log."""
        return {e.AttemptRepeated: PERIOD_S, e.TimeoutBudgetSet: REMEMBERED_S}

    def replay(self, user: User, event: e.Event) -> None:
        """Count a timeout, or restore a budget."""
        account = self._account(user.account)
        match event:
            case e.AttemptRepeated():  # live ones are counted as they are spent
                account.spent.append(event.at)
            case e.TimeoutBudgetSet():
                account.budget = _budget(account.budget, event)
            case _:
                pass

    def on_event(self, user: User, event: e.Event, state: UserState) -> None:
        """Apply a new budget, and log the change."""
        if isinstance(event, e.UserErased):
            self._account(user.account).forget(user.openid)
        if not isinstance(event, e.TimeoutBudgetSet):
            return
        self.replay(user, event)
        account = self._account(user.account)
        account.warned_used_up = False
        if event.timeouts:
            account.suspensions += 1
            log.warn(
                "{account}: WeChat suspended delivery for about a minute, after too many timeouts "
                "({timeouts} in 5 min); {then}",
                id="suspended",
                account=user.account,
                timeouts=event.timeouts,
                then=f"the budget is now {event.size}"
                if self.fixed is None
                else f'the fixed budget of {self.fixed} is unchanged: lower it, or use "auto"',
            )
        elif self.fixed is None:
            log.info(
                "{account}: deliberate timeout budget raised to {size} per 5 min",
                id="timeouts-raised",
                account=user.account,
                size=event.size,
            )

    def on_applied(self, user: User, event: e.Event, state: UserState) -> None:
        """Count a timeout that another machine spent, or take over its budget."""
        if isinstance(event, e.UserErased):
            self._account(user.account).forget(user.openid)
        self.replay(user, event)

    def snapshot(self) -> object:
        """Return budgets, and when timeouts were spent."""
        return {
            name: [list(account.spent), *account.budget] for name, account in self._accounts.items()
        }

    def restore(self, notes: Notes) -> None:
        """Restore budgets, and when timeouts were spent."""
        for name, (spent, *budget) in (notes or {}).items():
            account = self._account(name)
            account.spent, account.budget = deque(spent), Budget(*budget)

    # Arrivals and spending.

    def arrived(self, user: User, delivery: DeliveryKey, now: float) -> e.TimeoutBudgetSet | None:
        """Note an arrival from WeChat; return the new budget to record, if it changes."""
        account = self._account(user.account)
        timeouts = account.suspension(now, self._responsive_since)
        account.arrived(user.openid, delivery, now)
        if timeouts:
            account.reset_period()
            budget = account.budget.after_suspension(timeouts, now)
        else:
            budget = account.close_period(now) if self.fixed is None else account.budget
        if budget == account.budget:
            return None
        return e.TimeoutBudgetSet(
            at=now, size=budget.size, ceiling=budget.ceiling, timeouts=timeouts
        )

    def may_spend(self, account: AccountName, now: float) -> bool:
        """Return whether an attempt may be left to time out.

        It may not if the budget is used up, or if WeChat seems to have suspended the account, and
        so would not retry.
        """
        return self.left(account, now) > 0 and not self.is_suspected(account, now)

    def spend(self, user: User, delivery: DeliveryKey, now: float) -> bool:
        """Spend one timeout of the user's account; return whether that was possible."""
        name = user.account
        account, left, size = self._account(name), self.left(name, now), self.size(name)
        if not self.may_spend(name, now):
            if left <= 0:
                account.used_up = True
                self._warn_used_up(name, size)
            return False
        account.spent.append(now)
        account.expected[user.openid, delivery] = ExpectedRetry(user.openid, now)
        if account.period_began is None:
            account.period_began = now
        # Not as soon as one timeout is available: that would be logged every few seconds.
        if account.warned_used_up and left - 1 >= size // 4:
            account.warned_used_up = False
            log.info(
                "{account}: deliberate timeouts are available again",
                id="timeouts-available",
                account=name,
            )
        return True

    def _warn_used_up(self, name: AccountName, size: int) -> None:
        account = self._account(name)
        if size and not account.warned_used_up:
            account.warned_used_up = True
            log.warn(
                "{account}: deliberate timeout budget used up ({size} in 5 min): slow answers go "
                "out on the first attempt, even if unfinished, until some timeouts expire",
                id="timeouts-used-up",
                account=name,
                size=size,
            )

    def refund(self, user: User, delivery: DeliveryKey) -> None:
        """Refund the timeout spent on a message that was answered in time after all."""
        account = self._account(user.account)
        expected = account.expected.pop((user.openid, delivery), None)
        if expected is not None:
            account.spent.remove(expected.spent_at)

    # Status.

    def size(self, account: AccountName) -> int:
        """Return how many timeouts `account` may spend per five minutes."""
        return self._account(account).budget.size if self.fixed is None else self.fixed

    def left(self, account: AccountName, now: float) -> int:
        """Return how many timeouts `account` has left at `now`, at least 0."""
        return max(0, self.size(account) - self._account(account).recently_spent(now))

    def suspended_at(self, account: AccountName) -> float | None:
        """Return when a suspension of `account` was last detected, or None."""
        return self._account(account).budget.suspended_at or None

    def suspensions(self, account: AccountName) -> int:
        """Return how many suspensions of `account` were detected since startup."""
        return self._account(account).suspensions

    def is_suspected(self, account: AccountName, now: float) -> bool:
        """Return whether WeChat seems to have suspended `account` at `now`."""
        return self._account(account).is_suspicious(now)

    def _account(self, name: AccountName) -> _Account:
        account = self._accounts.get(name)
        if account is None:
            account = self._accounts[name] = _Account()
        return account


def _budget(before: Budget, event: e.TimeoutBudgetSet) -> Budget:
    suspended_at = event.at if event.timeouts else before.suspended_at
    return Budget(event.size, event.ceiling, suspended_at)
