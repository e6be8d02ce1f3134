"""Hold WeChat's attempts until their answer is ready, and reply in time even if it is not.

This is where the reply window meets clocks and connections. The domain decides what a reply
contains; `waiting` waits for the answer.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred

from wxgptd.domain.decide import commands as c
from wxgptd.domain.model import reply_window
from wxgptd.domain.model.reply_window import Open
from wxgptd.domain.model.values import DeliveryKey, User, account_itself
from wxgptd.ports.wechat import Ignore, Outcome, Silence
from wxgptd.service.conversation.attempt import Attempt
from wxgptd.service.conversation.replying import Replying
from wxgptd.service.conversation.waiting import Waiting
from wxgptd.service.state.event_clock import EventClock
from wxgptd.service.state.journal import Journal
from wxgptd.service.state.metrics import Metrics
from wxgptd.service.state.timeouts import DeliberateTimeouts


class Holding:
    """Holds attempts; once `ended` is set, they all end without a response."""

    def __init__(
        self,
        journal: Journal,
        waiting: Waiting,
        replying: Replying,
        timeouts: DeliberateTimeouts,
        metrics: Metrics,
        event_clock: EventClock,
    ) -> None:
        self._journal = journal
        self._waiting = waiting
        self._replying = replying
        self._timeouts = timeouts
        self._metrics = metrics
        self._event_clock = event_clock
        self.ended = False

    def arrived(self, attempt: Attempt) -> None:
        """Note that WeChat sent an attempt: the budget for deliberate timeouts depends on it."""
        user, delivery, _, _, _, at = attempt
        changed = self._timeouts.arrived(user, delivery, at)
        if changed is not None:
            self._journal.record(account_itself(user.account), c.RecordFact(changed))

    async def hold(self, attempt: Attempt, window: Open) -> Outcome:
        """Wait for the answer to `window`'s question; reply in time even if it is unfinished."""
        try:
            return await self._hold(attempt, window)
        finally:
            held_s = self._event_clock.clock.seconds() - attempt.arrived
            self._metrics.held(attempt.user.account, held_s)

    def say(self, user: User, delivery: DeliveryKey) -> Deferred[Outcome]:
        """Fire with the settled reply once everything it depends on is durable."""
        return self._replying.say(user, delivery)

    async def _hold(self, attempt: Attempt, window: Open) -> Outcome:
        user, delivery, arrived = attempt.user, attempt.delivery, attempt.arrived
        last = reply_window.is_last(window, attempt.at)
        patience_s = reply_window.patience(window, attempt.at, last=last)
        deadline = arrived + patience_s - self._replying.margin_s
        if not await self._waiting.by(deadline, user, delivery):
            now = self._event_clock.now()
            if not last and self._timeouts.spend(user, delivery, now):
                hang_up_at = arrived + reply_window.HANG_UP_AFTER_S
                if not await self._waiting.by(hang_up_at, user, delivery):
                    return Silence()
                self._timeouts.refund(user, delivery)  # WeChat was still connected
        if self.ended:
            return Silence()
        if delivery not in self._journal.state(user).windows:
            return Ignore()  # erased meanwhile; without a response, WeChat would retry
        self._replying.offer(user, delivery, self._event_clock.now())
        return await self.say(user, delivery)
