"""WeChat's attempts, from before the log is loaded until after the service has ended.

Implements `wxgptd.ports.wechat.Conversations`. See `attempts` for how an attempt is answered. In a
cluster, attempts are passed on to the node that leads, and held while there is none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from wxgptd.domain.intake.routing import Route
from wxgptd.domain.model.reply_window import HANG_UP_AFTER_S, WINDOW_S
from wxgptd.domain.model.values import AccountName, Content, DeliveryKey, User
from wxgptd.errors import WxgptError
from wxgptd.ports.wechat import Outcome, PassOn, Relay, Silence
from wxgptd.service.conversation.attempt import Attempt
from wxgptd.service.conversation.attempts import Attempts
from wxgptd.service.state.event_clock import EventClock
from wxgptd.service.state.metrics import Metrics

T = TypeVar("T")

RELAY_AGAIN_AFTER_S = 0.1


class _Held:
    """An attempt that has to wait for the log, or for a node that leads.

    If its peer hangs up before the log is loaded, it is recorded all the same, with its arrival
    time; otherwise WeChat's later attempts would be miscounted.
    """

    def __init__(self, attempt: Attempt, relay: Relay | None) -> None:
        self.attempt = attempt
        self.relay = relay
        self.outcome: Deferred[Outcome] = Deferred(self._leave)
        self.left = False
        self.expiry: IDelayedCall | None = None
        # Any: either kind of outcome; only `follow` reads it.
        self._answering: Deferred[Any] | None = None

    def _leave(self, _: Deferred[Outcome]) -> None:
        self.left = True
        self.let_go()

    @property
    def is_followed(self) -> bool:
        """Whether someone is answering it now."""
        return self._answering is not None

    def let_go(self) -> None:
        """Stop waiting for the answer that it waits for now."""
        answering, self._answering = self._answering, None
        if answering is not None:
            answering.cancel()

    def follow(self, answering: Deferred[T], take: Callable[[T | Failure], object]) -> None:
        """Pass the result of `answering` to `take`, unless it is let go before."""
        self._answering = answering

        def taken(result: T | Failure) -> None:
            if self._answering is answering:
                self._answering = None
                take(result)
            elif isinstance(result, Failure):
                result.trap(CancelledError, WxgptError)

        answering.addBoth(taken)
        if self.left:
            self.let_go()


class Conversations:
    """Answers attempts and counts them.

    At first it holds them; then it answers them itself after `begin`, or passes them on after
    `pass_on_to`, until `hold`.
    """

    def __init__(self, attempts: Attempts, metrics: Metrics, event_clock: EventClock) -> None:
        self._attempts = attempts
        self._metrics = metrics
        self._event_clock = event_clock
        self._answers = False
        self._ended = False
        self._isolated = False
        self._leader = ""
        self.is_in_cluster = False
        """Whether other nodes may answer in place of this one."""
        self._unanswered: dict[_Held, None] = {}
        self._held = 0

    @property
    def held(self) -> int:
        """The number of attempts waiting for an answer, here or from another node."""
        return self._held if self._answers or self.is_in_cluster else 0

    def begin(self) -> None:
        """Start answering, now that the log is loaded."""
        self._answers, self._leader = True, ""
        self._attempts.begin()
        now = self._event_clock.clock.seconds()
        for held in list(self._unanswered):
            held.let_go()
            if held.left:
                del self._unanswered[held]
            if not held.left or now - held.attempt.arrived <= WINDOW_S:
                self._answer_held(held)

    def pass_on_to(self, url: str) -> None:
        """From now on, pass attempts on to the node at `url`."""
        self._answers, self._leader = False, url
        for held in list(self._unanswered):
            held.let_go()
            if held.left:
                del self._unanswered[held]
            else:
                self._relay(held)

    def hold(self) -> None:
        """From now on, hold attempts, including those that are being answered."""
        if self._answers:
            self._attempts.end()
        self._answers, self._leader = False, ""
        for held in self._unanswered:
            held.let_go()

    def isolate(self, *, isolated: bool) -> None:
        """Leave all attempts unanswered while `isolated`, so that they reach another node at once.

        The web server before the nodes sends an attempt that one of them leaves to another one.
        """
        self._isolated = isolated
        for held in list(self._unanswered) if isolated else ():
            held.let_go()
            self._settle(held, Silence())

    def end(self) -> None:
        """From now on, end attempts without a response: WeChat will retry with the next process."""
        self._ended = True
        self._attempts.end()
        for held in list(self._unanswered):
            if not held.is_followed:
                self._settle(held, Silence())

    def attempt(
        self,
        user: User,
        delivery: DeliveryKey,
        content: Content,
        sent_at: int,
        relay: Relay | None = None,
    ) -> Deferred[Outcome]:
        """Answer one attempt; see `wxgptd.ports.wechat.Conversations`."""
        arrived, at = self._event_clock.clock.seconds(), self._event_clock.now()
        attempt = Attempt(user, delivery, content, sent_at, arrived, at)
        if self._isolated:
            return self._count(attempt, succeed(Silence()))
        if self._ended or (self._answers and not self.is_in_cluster):
            return self._count(attempt, self._answer(attempt))
        self._forget_old(arrived)
        held = _Held(attempt, relay)
        self._unanswered[held] = None
        self._count(attempt, held.outcome).addBoth(self._left, held)
        if self.is_in_cluster:
            clock = self._event_clock.clock
            held.expiry = clock.callLater(HANG_UP_AFTER_S, self._expire, held)
        if self._answers:
            self._answer_held(held)
        elif self._leader:
            self._relay(held)
        return held.outcome

    def handler_for(self, user: User, content: Content) -> Route:
        """Return how a message with this content would be routed if it arrived now."""
        at = self._event_clock.now()
        return self._attempts.handler_for(Attempt(user, DeliveryKey(""), content, 0, 0.0, at))

    def _answer(self, attempt: Attempt) -> Deferred[Outcome]:
        return succeed(Silence()) if self._ended else self._attempts.answer(attempt)

    def _answer_held(self, held: _Held) -> None:
        held.follow(self._answer(held.attempt), lambda result: self._settle(held, result))

    def _settle(self, held: _Held, result: Outcome | Failure) -> None:
        self._unanswered.pop(held, None)
        if held.left:
            return
        if isinstance(result, Failure):
            held.outcome.errback(result)
        else:
            held.outcome.callback(result)

    def _forget_old(self, now: float) -> None:
        """Forget attempts whose peers have left and which are too old to be recorded."""
        while self._unanswered:
            oldest = next(iter(self._unanswered))
            if not oldest.left or now - oldest.attempt.arrived <= WINDOW_S:
                return
            del self._unanswered[oldest]

    def _expire(self, held: _Held) -> None:
        """Leave an attempt unanswered that neither this node nor another has answered in time."""
        if held in self._unanswered and not self._answers:
            held.let_go()
            self._settle(held, Silence())

    def _left(self, outcome: T, held: _Held) -> T:
        """Forget an attempt whose outcome is known, unless it is still to be recorded."""
        if held.expiry is not None and held.expiry.active():
            held.expiry.cancel()
        if not held.left or self._answers or self._leader:
            self._unanswered.pop(held, None)
        return outcome

    def _relay(self, held: _Held) -> None:
        """Pass an attempt on; if the node gives no response, try again while it is wanted."""
        if held.left or held.relay is None:
            return
        relayed = held.relay(self._leader, held.attempt.arrived)
        held.follow(relayed, lambda result: self._relayed(held, result))

    def _relayed(self, held: _Held, result: PassOn | Failure | None) -> None:
        if result is not None:
            self._settle(held, result)
        elif held.left:
            self._unanswered.pop(held, None)
        else:
            self._event_clock.clock.callLater(RELAY_AGAIN_AFTER_S, self._relay_again, held)

    def _relay_again(self, held: _Held) -> None:
        if held in self._unanswered and self._leader and not held.is_followed:
            self._relay(held)

    def _count(self, attempt: Attempt, outcome: Deferred[Outcome]) -> Deferred[Outcome]:
        account = attempt.user.account
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
