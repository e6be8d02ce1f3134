"""The deliberate timeouts of each account: how many are spent, how many are left, what came of it.

What is spent, and how large the budget has become, comes back with the log. What WeChat owes us in
return, another attempt within seconds, is known only to a process that was there.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Mapping
from math import exp
from typing import Any

from twisted.logger import Logger

from wxgptd.domain import commands as c
from wxgptd.domain import events as e
from wxgptd.domain import timeout_budget
from wxgptd.domain.state import UserState
from wxgptd.domain.timeout_budget import (
    COMES_WITHIN_S,
    LONGEST_SUSPENSION_S,
    PERIOD_S,
    Budget,
    Expected,
)
from wxgptd.domain.values import AccountName, DeliveryKey, OpenId, User
from wxgptd.service.projections import Projection

log = Logger()

REMEMBERED_S = 400 * 86_400.0
"""How old the last change of a budget may be."""

FEW = 0.1
"""The part of the attempts expected in five minutes that may be lost on the way, all being well."""


class _Account:
    """One account's timeouts."""

    def __init__(self) -> None:
        self.budget = Budget()
        self.suspensions = 0
        self.spent: deque[float] = deque()
        self.expected: dict[tuple[OpenId, DeliveryKey], Expected] = {}
        self.last_arrival: float | None = None
        self.arrivals = 0.0
        """Messages of the last minutes, the older the less."""
        self.switched_over = False
        self.period_began: float | None = None
        self.used_up = False
        self.came = 0
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

    def missing(self, now: float) -> list[Expected]:
        """Return the attempts that should have come since the last one did, oldest first."""
        return [one for _, one in self._overdue(now)]

    def _overdue(self, now: float) -> list[tuple[tuple[OpenId, DeliveryKey], Expected]]:
        overdue = []
        for key, one in self.expected.items():  # in the order in which they are due
            if one.spent_at + COMES_WITHIN_S > now:
                break
            overdue.append((key, one))
        return overdue

    def is_suspicious(self, now: float) -> bool:
        """Tell whether WeChat seems to have suspended the account."""
        return timeout_budget.is_suspicious(self.missing(now))

    def arrived(self, openid: OpenId, delivery: DeliveryKey, now: float) -> None:
        """Note that WeChat came; what is overdue by now will not come any more."""
        if self.last_arrival is not None:
            self.arrivals *= exp(min(0.0, self.last_arrival - now) / PERIOD_S)
        self.arrivals += 1.0
        self.last_arrival = now
        if self.expected.pop((openid, delivery), None) is not None:
            self.came += 1
        for key, _ in self._overdue(now):
            del self.expected[key]
            self.missed += 1

    def suspension(self, now: float, steady_since: Callable[[], float | None]) -> int:
        """Return how many timeouts led to a suspension that is just over; 0 if none is."""
        missing = self.missing(now)
        if not missing or self.last_arrival is None:
            return 0
        silent_s = now - self.last_arrival
        usual_arrivals = self.arrivals / PERIOD_S * silent_s
        if not timeout_budget.was_suspension(missing, silent_s, usual_arrivals):
            return 0
        since = steady_since()
        if since is None or since > self.last_arrival:
            return 0  # it may have been this process that did not hear
        last_straw = missing[0].spent_at  # the first one that WeChat did not come for again
        return max(1, self._spent_between(last_straw - PERIOD_S, last_straw))

    def judged(self, now: float) -> Budget:
        """Return the budget for the next five minutes, at the end of five."""
        if self.period_began is None or now - self.period_began < PERIOD_S:
            return self.budget
        well = self.came > 0 and self.missed <= FEW * (self.came + self.missed)
        grows = self.used_up and well
        self.begin_period(None)
        return self.budget.grown(now) if grows else self.budget

    def forget(self, openid: OpenId) -> None:
        """Expect this user's attempts no longer."""
        self.expected = {key: one for key, one in self.expected.items() if one.openid != openid}

    def begin_period(self, now: float | None) -> None:
        """Count anew; None is from the next timeout on."""
        self.period_began, self.used_up, self.came, self.missed = now, False, 0, 0


class DeliberateTimeouts(Projection):
    """How often each account may still leave WeChat without a reply on purpose.

    `fixed` is a budget that does not change, or None for one that finds its own size.
    `steady_since` tells from when on this process has been up, listening and not lagging.
    """

    name = "timeout_budgets"

    def __init__(self, fixed: int | None, steady_since: Callable[[], float | None]) -> None:
        self.fixed = fixed
        self._steady_since = steady_since
        self._accounts: dict[AccountName, _Account] = {}

    # What the log tells.

    @property
    def recalls(self) -> Mapping[type[e.Event], float]:
        """Budgets, and the timeouts that the log proves: WeChat came again."""
        return {e.AttemptRepeated: PERIOD_S, e.TimeoutBudgetSet: REMEMBERED_S}

    def recall(self, user: User, event: e.Event) -> None:
        """Count a timeout, or take over a budget."""
        account = self._account(user.account)
        match event:
            case e.AttemptRepeated():  # live ones are counted as they are spent
                account.spent.append(event.at)
            case e.TimeoutBudgetSet():
                account.budget = _budget(account.budget, event)
            case _:
                pass

    def observe(self, user: User, event: e.Event, state: UserState) -> None:
        """Go by a budget from now on, and say so."""
        if isinstance(event, e.UserErased):
            self._account(user.account).forget(user.openid)
        if not isinstance(event, e.TimeoutBudgetSet):
            return
        self.recall(user, event)
        account = self._account(user.account)
        account.switched_over = False
        if event.timeouts:
            account.suspensions += 1
            log.warn(
                "{account}: WeChat suspended delivery for about a minute, after {timeouts} "
                "timeouts in five minutes; from now on {size} are allowed",
                account=user.account,
                timeouts=event.timeouts,
                size=self.size(user.account),
            )
        elif self.fixed is None:
            log.info(
                "{account}: {size} deliberate timeouts in five minutes are allowed",
                account=user.account,
                size=event.size,
            )

    def notes(self) -> object:
        """Return budgets, and when timeouts were spent."""
        return {name: [list(one.spent), *one.budget] for name, one in self._accounts.items()}

    def restore(self, notes: Any) -> None:  # noqa: ANN401
        """Take up budgets, and when timeouts were spent."""
        for name, (spent, *budget) in (notes or {}).items():
            account = self._account(name)
            account.spent, account.budget = deque(spent), Budget(*budget)

    # What happens.

    def arrived(self, user: User, delivery: DeliveryKey, now: float) -> c.SetTimeoutBudget | None:
        """Note that WeChat came; return what is to be recorded of that, if anything is."""
        account = self._account(user.account)
        timeouts = account.suspension(now, self._steady_since)
        account.arrived(user.openid, delivery, now)
        if timeouts:
            account.begin_period(None)
            changed = account.budget.suspended(timeouts, now)
        else:
            changed = account.judged(now) if self.fixed is None else account.budget
        if changed == account.budget:
            return None
        return c.SetTimeoutBudget(
            at=now, size=changed.size, ceiling=changed.ceiling, timeouts=timeouts
        )

    def spend(self, user: User, delivery: DeliveryKey, now: float) -> bool:
        """Take one timeout from the budget of the user's account; tell whether that may be.

        It may not where the budget is used up, or WeChat seems to have suspended the account: it
        would not come again for this answer.
        """
        name, size = user.account, self.size(user.account)
        account = self._account(name)
        left = size - account.recently_spent(now)
        if account.is_suspicious(now):
            return False
        if left <= 0:
            account.used_up = True
            if size and not account.switched_over:
                account.switched_over = True
                log.warn(
                    "{account}: the {size} deliberate timeouts of five minutes are spent: until "
                    "there are some again, first attempts are answered at once",
                    account=name,
                    size=size,
                )
            return False
        account.spent.append(now)
        account.expected[user.openid, delivery] = Expected(user.openid, now)
        if account.period_began is None:
            account.begin_period(now)
        # Not at the first one that is free again: the log would say so every few seconds.
        if account.switched_over and left - 1 >= size // 4:
            account.switched_over = False
            log.info("{account}: first attempts are held again", account=name)
        return True

    def give_back(self, user: User, delivery: DeliveryKey) -> None:
        """Take back the timeout that was spent on a message, which was answered in time."""
        account = self._account(user.account)
        expected = account.expected.pop((user.openid, delivery), None)
        if expected is not None:
            account.spent.remove(expected.spent_at)

    # How things are.

    def size(self, account: AccountName) -> int:
        """Return how many timeouts `account` has for five minutes."""
        return self._account(account).budget.size if self.fixed is None else self.fixed

    def left(self, account: AccountName, now: float) -> int:
        """Return how many timeouts `account` has left at `now`, 0 at least."""
        return max(0, self.size(account) - self._account(account).recently_spent(now))

    def suspended_at(self, account: AccountName) -> float | None:
        """Return when WeChat was last seen to have suspended `account`, or None."""
        return self._account(account).budget.suspended_at or None

    def suspensions(self, account: AccountName) -> int:
        """Return how often WeChat was seen to have suspended `account` since the start."""
        return self._account(account).suspensions

    def is_suspected(self, account: AccountName, now: float) -> bool:
        """Tell whether WeChat seems to have suspended `account` at `now`."""
        return self._account(account).is_suspicious(now)

    def _account(self, name: AccountName) -> _Account:
        account = self._accounts.get(name)
        if account is None:
            account = self._accounts[name] = _Account()
        return account


def _budget(before: Budget, event: e.TimeoutBudgetSet) -> Budget:
    suspended_at = event.at if event.timeouts else before.suspended_at
    return Budget(event.size, event.ceiling, suspended_at)
