"""Read a message and route it, without acting on it.

The domain (`wxgptd.domain.intake`) decides which rule matches, what a line of chat means and who
handles the message; this module supplies the facts that it needs.
"""

from __future__ import annotations

from wxgptd.domain.intake import routing, rules
from wxgptd.domain.intake.routing import Message, NotAnswered, RejectionReason, Route
from wxgptd.domain.intake.rules import Backend, Rule
from wxgptd.domain.replies import wording
from wxgptd.ports.wechat import Forward, Ignore, Outcome, Present, Say
from wxgptd.service.conversation.admission import Admission
from wxgptd.service.conversation.attempt import Attempt
from wxgptd.service.state.journal import Journal
from wxgptd.service.state.metrics import Metrics
from wxgptd.service.state.recently_erased import RecentlyErased
from wxgptd.service.state.settings import Settings
from wxgptd.service.state.unanswered import Unanswered


class Intake:
    """Reads and routes messages."""

    def __init__(
        self,
        settings: Settings,
        journal: Journal,
        recently_erased: RecentlyErased,
        unanswered: Unanswered,
        metrics: Metrics,
        admission: Admission,
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._recently_erased = recently_erased
        self._unanswered = unanswered
        self._metrics = metrics
        self._admission = admission

    def read(self, attempt: Attempt) -> Message:
        """Return the message with everything known about it, except its sender's state."""
        user, content = attempt.user, attempt.content
        account = self._settings.account(user)
        always = otherwise = None
        if account.rules:
            always = rules.first(account.rules, content, always=True)
            if always is None:
                welcome = account.policy.welcome
                otherwise = rules.first(account.rules, content, always=False, welcome=welcome)
        return Message(
            delivery=attempt.delivery,
            content=content,
            phrase=self._settings.vocabulary.read(content),
            assistants=self._settings.commands,
            always=always,
            otherwise=otherwise,
            erased=self._recently_erased.knows(user, attempt.delivery, attempt.at),
            rejection=self.rejection(),
        )

    def route(self, attempt: Attempt, message: Message) -> Route:
        """Route the message of `attempt`."""
        policy = self._settings.account(attempt.user).policy
        return routing.route(self._journal.state(attempt.user), message, policy, attempt.at)

    def leave(self, attempt: Attempt, route: NotAnswered) -> Outcome:
        """Leave a message unanswered; count it if a person is waiting for an answer."""
        if route.why in routing.UNANSWERED:
            self._unanswered.note(attempt.user.account)
        return Ignore()

    def rejection(self) -> RejectionReason | None:
        """Return why new work is not accepted at the moment, or None."""
        return self._admission.rejection()

    def rejected_before(self, attempt: Attempt) -> Outcome | None:
        """Return the outcome again if an earlier attempt of the message was rejected."""
        why = self._admission.rejected_before(attempt)
        return self._rejected(why) if why is not None else None

    def reject(self, attempt: Attempt, why: RejectionReason) -> Outcome:
        """Reject a message."""
        self._admission.note(attempt, why)
        return self._rejected(why)

    def _rejected(self, why: RejectionReason) -> Outcome:
        return Say(wording.rejection(why, self._settings.texts))

    def apply(self, attempt: Attempt, rule: Rule | None) -> Outcome:
        """Return the outcome that `rule` calls for, or `Ignore` without a rule."""
        if rule is None:
            return Ignore()
        self._metrics.rule(attempt.user.account, rule.number)
        match rule.action:
            case Backend(url=url):
                return Forward(url, attempt.arrived)
            case reply:
                return Present(reply)
