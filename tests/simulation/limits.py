"""The invariants about limits and budgets."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise
from math import inf

from tests.simulation.history import History
from tests.simulation.network import ARRIVES, WINDOW_S, Message, Network
from tests.simulation.node import Append, Node
from wxgptd.domain.model import events as e
from wxgptd.domain.model.reply_window import CREATE_TIME_UNIT_S
from wxgptd.domain.model.values import Standing, User

MINUTE_S = 60.0
TIMEOUTS_PERIOD_S = 300.0
LARGEST_STEP_S = 16.0
"""A fault sets the clock by at most this much."""


class Limits:
    """Checks a whole run."""

    def __init__(self, node: Node, network: Network, history: History) -> None:
        self._node = node
        self._network = network
        self._history = history

    def violations(self) -> Iterator[str]:
        """Yield what exceeds a limit."""
        yield from self._questions_per_day()
        yield from self._questions_per_minute()
        yield from self._questions_while_blocked()
        yield from self._questions_without_budget()
        yield from self._deliberate_timeouts()

    def _appends(self) -> Iterator[tuple[Append, bool]]:
        """Yield every append, and whether the user was erased in an earlier run of the process.

        That erasure may never have been acknowledged.
        """
        previous: dict[User, int] = {}
        for append in self._node.acknowledged:
            user, start = append.user, append.start
            begin, previous[user] = previous.get(user, 0), start
            erased = any(begin <= each.start < start for each in self._node.erasures_of(user))
            yield append, erased

    def _questions_per_day(self) -> Iterator[str]:
        limit = self._node.config.limits.questions_per_day
        if self._node.config.log.keep:
            return  # less than a day, so questions of today are dropped
        asked: Counter[User] = Counter()
        for append, is_after_erasure in self._appends():
            user = append.user
            if is_after_erasure:  # what the user asked is remembered until the process ends
                asked[user] = 0
            kinds = [type(event) for event in append.events]
            if e.UserErased in kinds and e.UserUnsubscribed not in kinds:
                asked[user] = 0  # the operator also lifts limits
            asked[user] += kinds.count(e.QuestionAsked)
            if limit and asked[user] > limit:
                yield f"{user.openid} asked {asked[user]} questions, the limit is {limit}"

    def _questions_while_blocked(self) -> Iterator[str]:
        blocked_until: dict[User, float] = {}
        for append, is_after_erasure in self._appends():
            user = append.user
            if is_after_erasure:  # a block that is to last is renewed by an event of its own
                blocked_until[user] = 0.0
            for event in append.events:
                if isinstance(event, e.StandingChanged):
                    is_blocked = event.standing is Standing.BLOCKED
                    blocked_until[user] = (event.until or inf) if is_blocked else 0.0
                elif isinstance(event, e.UserErased):
                    blocked_until[user] = 0.0
                elif not isinstance(event, e.QuestionAsked):
                    continue
                elif event.at < blocked_until.get(user, 0.0):
                    yield f"{user.openid} asked {event.text!r} while blocked"

    def _questions_without_budget(self) -> Iterator[str]:
        budget, cost = self._node.config.limits.daily_budget, 0.0
        for append in self._node.acknowledged:
            for event in append.events:
                if isinstance(event, e.AnswerCompleted | e.AnswerFailed):
                    cost += event.usage.cost
                elif isinstance(event, e.QuestionAsked) and 0.0 < budget <= cost:
                    yield f"{append.user.openid} asked after {cost:.2f} were spent of {budget:.2f}"

    def _questions_per_minute(self) -> Iterator[str]:
        limit = self._node.config.limits.messages_per_minute
        asked: dict[User, list[float]] = defaultdict(list)
        for append, is_after_erasure in self._appends() if limit else ():
            if is_after_erasure:
                asked[append.user].clear()
            for event in append.events:
                if isinstance(event, e.UserErased):
                    asked[append.user].clear()
                elif isinstance(event, e.QuestionAsked):
                    # A message is counted from when WeChat sent it, as far as the clock offset is
                    # known: up to a window earlier, in whole seconds.
                    since = event.at - MINUTE_S + WINDOW_S + CREATE_TIME_UNIT_S
                    recent = sum(1 for at in asked[append.user] if at > since)
                    if recent >= limit:
                        yield f"{append.user.openid} asked {recent + 1} questions in 44 s"
                    asked[append.user].append(event.at)

    def _deliberate_timeouts(self) -> Iterator[str]:
        steps = self._history.clock_stepped_at
        if LARGEST_STEP_S * len(steps) >= TIMEOUTS_PERIOD_S:
            return
        period_s = TIMEOUTS_PERIOD_S - LARGEST_STEP_S * len(steps)
        spent = sorted(
            at
            for message in self._network.messages
            for at in self._proven_timeouts(message)
            if not any(at <= step < at + LARGEST_STEP_S for step in steps)
        )
        for number, at in enumerate(spent, 1):
            recent = number - bisect_right(spent, at - period_s)
            if recent > (size := self._largest_budget(at - period_s, at)):
                yield f"WeChat timed out {recent} times in five minutes, the limit is {size:g}"

    def _proven_timeouts(self, message: Message) -> Iterator[float]:
        """Yield when an attempt was left to time out, if the log has WeChat's retry."""
        attempts = message.delivery.attempts if message.delivery is not None else ()
        for attempt, retry in pairwise(attempts):
            began = message.at + attempt.began_s
            retried = message.at + retry.began_s
            delayed = any(began <= end <= retried for end in self._history.process_ends)
            delayed = delayed or self._history.had_disk_trouble(began, retried)
            is_recorded = any(
                retried <= at <= retried + 1.0 for at in self._history.repeated_at[message.key]
            )
            is_erased = any(self._history.erased_between(message.user, began, inf))
            arrived = message.ways[attempt.number - 1] in ARRIVES
            if (
                attempt.result == "timeout"
                and arrived
                and is_recorded
                and not (delayed or is_erased)
            ):
                yield began + attempt.took_s

    def _largest_budget(self, begin: float, end: float) -> float:
        """Return the largest budget from `begin` to `end`; infinite if it adapted."""
        used = self._node.used
        sizes = [
            config.window.deliberate_timeouts_per_5min
            for (since, config), until in zip(
                used, [since for since, _ in used[1:]] + [inf], strict=True
            )
            if since <= end and until >= begin
        ]
        return max(inf if size == "auto" else float(size) for size in sizes)
