"""Answer one attempt: route its message, record it, and return the outcome.

The domain decides who handles the message (`routing`) and with what outcome. An attempt whose
answer is still pending is handed to `holding`.
"""

from __future__ import annotations

from typing import assert_never

from twisted.internet.defer import Deferred, succeed

from wxgptd.domain.intake import routing
from wxgptd.domain.intake.routing import (
    Ask,
    ByRule,
    Hint,
    Membership,
    Message,
    NotAnswered,
    Proceed,
    Rejected,
    Repeated,
    Route,
)
from wxgptd.domain.intake.rules import Rule
from wxgptd.domain.model import reply_window
from wxgptd.domain.model.reply_window import Settled
from wxgptd.ports.wechat import Ignore, Outcome
from wxgptd.service.answers.answer_runner import AnswerRunner
from wxgptd.service.conversation.attempt import Attempt
from wxgptd.service.conversation.holding import Holding
from wxgptd.service.conversation.intake import Intake
from wxgptd.service.conversation.receiving import Receiving
from wxgptd.service.state.journal import Journal
from wxgptd.service.state.settings import Settings


class Attempts:
    """Answers attempts once the log is loaded."""

    def __init__(
        self,
        journal: Journal,
        settings: Settings,
        answer_runner: AnswerRunner,
        intake: Intake,
        receiving: Receiving,
        holding: Holding,
    ) -> None:
        self._journal = journal
        self._settings = settings
        self._answer_runner = answer_runner
        self._intake = intake
        self._receiving = receiving
        self._holding = holding

    def answer(self, attempt: Attempt) -> Deferred[Outcome]:
        """Answer one attempt; see `wxgptd.ports.wechat.Conversations`."""
        self._holding.arrived(attempt)
        rejected = self._intake.rejected_before(attempt)
        if rejected is not None:
            return succeed(rejected)
        message = self._intake.read(attempt)
        match route := self._intake.route(attempt, message):
            case NotAnswered():
                return succeed(self._intake.leave(attempt, route))
            case ByRule(rule=rule):
                return succeed(self._intake.apply(attempt, rule))
            case Rejected(why=why):
                return succeed(self._intake.reject(attempt, why))
            case Repeated(rule=rule) | Membership(rule=rule):
                return self._take(attempt, message, rule)
            case Hint():
                policy = self._settings.account(attempt.user).policy
                sealed = self._receiving.seal(attempt.content, policy, attempt.at)
                return self._take(attempt, message, sealed=sealed)
            case routing.Command() | Proceed() | Ask():
                return self._take(attempt, message)
            case _:
                assert_never(route)

    def handler_for(self, attempt: Attempt) -> Route:
        """Return how the message of `attempt` would be routed, without recording or counting it."""
        return self._intake.route(attempt, self._intake.read(attempt))

    def _take(
        self, attempt: Attempt, message: Message, rule: Rule | None = None, sealed: bytes = b""
    ) -> Deferred[Outcome]:
        """Record a message and wait for its outcome; `rule` replies to an event."""
        user, delivery = attempt.user, attempt.delivery
        policy = self._settings.account(user).policy
        command = self._receiving.command(
            attempt,
            message,
            self._journal.state(user),
            policy,
            lambda: self._answer_runner.written(user),
            sealed,
        )
        window = self._journal.record(user, command).state.windows.get(delivery)
        if window is None:
            return succeed(self._intake.apply(attempt, rule))
        if isinstance(window, Settled):
            if not reply_window.still_answers(window, attempt.at, policy.settled_for_s):
                return succeed(Ignore())
            return self._holding.say(user, delivery)
        if not window.question:
            outcome = self._intake.apply(attempt, rule)
            return self._journal.committed().addCallback(lambda _: outcome)
        return Deferred.fromCoroutine(self._holding.hold(attempt, window))

    def begin(self) -> None:
        """Hold attempts again, after an `end`."""
        self._holding.ended = False

    def end(self) -> None:
        """End every held attempt without a response."""
        self._holding.ended = True
