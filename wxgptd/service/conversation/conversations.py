"""WeChat's attempts, from before the log is loaded until after the service has ended.

Implements `wxgptd.ports.wechat.Conversations`. See `attempts` for how an attempt is answered.
"""

from __future__ import annotations

from typing import TypeVar

from twisted.internet.defer import Deferred, succeed

from wxgptd.domain.intake.routing import Route
from wxgptd.domain.model.values import AccountName, Content, DeliveryKey, User
from wxgptd.ports.wechat import Outcome, Silence
from wxgptd.service.conversation.attempt import Attempt
from wxgptd.service.conversation.attempts import Attempts
from wxgptd.service.state.event_clock import EventClock
from wxgptd.service.state.metrics import Metrics

T = TypeVar("T")


class _Early:
    """An attempt that arrived before the log was loaded, even if its peer has since hung up.

    It is recorded with its arrival time; otherwise WeChat's later attempts would be miscounted.
    """

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.outcome: Deferred[Outcome] = Deferred(self._leave)
        self._left = False
        self._answering: Deferred[Outcome] | None = None

    def _leave(self, _: Deferred[Outcome]) -> None:
        self._left = True
        if self._answering is not None:
            self._answering.cancel()

    def follow(self, answering: Deferred[Outcome]) -> None:
        """Take the outcome from `answering`, or cancel it if the peer has hung up."""
        if self._left:
            answering.addErrback(lambda _: None)
            answering.cancel()
        else:
            self._answering = answering
            answering.chainDeferred(self.outcome)


class Conversations:
    """Answers attempts and counts them."""

    def __init__(self, attempts: Attempts, metrics: Metrics, event_clock: EventClock) -> None:
        self._attempts = attempts
        self._metrics = metrics
        self._event_clock = event_clock
        self._early: list[_Early] | None = []
        self._ended = False
        self._held = 0

    @property
    def held(self) -> int:
        """The number of attempts waiting for an answer or for the log."""
        return self._held

    def begin(self) -> None:
        """Start answering, now that the log is loaded."""
        early, self._early = self._early or [], None
        for arrival in early:
            arrival.follow(self._answer(arrival.attempt))

    def end(self) -> None:
        """From now on, end attempts without a response: WeChat will retry with the next process."""
        self._ended = True
        self._attempts.end()

    def attempt(
        self, user: User, delivery: DeliveryKey, content: Content, sent_at: int
    ) -> Deferred[Outcome]:
        """Answer one attempt; see `wxgptd.ports.wechat.Conversations`."""
        arrived, at = self._event_clock.clock.seconds(), self._event_clock.now()
        attempt = Attempt(user, delivery, content, sent_at, arrived, at)
        if self._early is not None:
            early = _Early(attempt)
            self._early.append(early)
            return early.outcome
        return self._answer(attempt)

    def handler_for(self, user: User, content: Content) -> Route:
        """Return how a message with this content would be routed if it arrived now."""
        at = self._event_clock.now()
        return self._attempts.handler_for(Attempt(user, DeliveryKey(""), content, 0, 0.0, at))

    def _answer(self, attempt: Attempt) -> Deferred[Outcome]:
        account = attempt.user.account
        outcome: Deferred[Outcome] = (
            succeed(Silence()) if self._ended else self._attempts.answer(attempt)
        )
        if outcome.called:
            self._metrics.attempt(account, outcome.result)
        else:
            self._held += 1
            outcome.addBoth(self._release, account)
        return outcome

    def _release(self, outcome: T, account: AccountName) -> T:
        self._held -= 1
        self._metrics.attempt(account, outcome)
        return outcome
