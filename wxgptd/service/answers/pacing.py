"""How long an answer may be and still fit its reply window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from wxgptd.domain.model import reply_window
from wxgptd.domain.model.reply_window import Open
from wxgptd.domain.model.values import PAGE_PREFIX, AccountName, DeliveryKey, User
from wxgptd.domain.prompt.context import Message
from wxgptd.domain.prompt.tokens import ModelName
from wxgptd.domain.replies import wording
from wxgptd.domain.text import answer_length
from wxgptd.domain.text.answer_length import Pace
from wxgptd.service.state.event_clock import EventClock
from wxgptd.service.state.journal import Journal
from wxgptd.service.state.settings import Links, Settings


@dataclass(frozen=True, slots=True)
class Pacing:
    """Asks for answers that fit the reply window.

    `pace` returns how fast a model writes, and `may_wait` whether an account may let WeChat time
    out and retry.
    """

    settings: Settings
    journal: Journal
    links: Links
    event_clock: EventClock
    pace: Callable[[ModelName], Pace]
    may_wait: Callable[[AccountName, float], bool]

    def limited(
        self, messages: Sequence[Message], user: User, question: DeliveryKey, model: ModelName
    ) -> Sequence[Message]:
        """Return the messages, with any length limit for the answer appended to the question."""
        last = messages[-1]
        chars = self._max_chars(user, question, model)
        if not chars or not last.content:
            return messages
        return [
            *messages[:-1],
            replace(last, content=answer_length.with_limit(last.content, chars)),
        ]

    def _max_chars(self, user: User, question: DeliveryKey, model: ModelName) -> int:
        """Return how long an answer may be and still fit its window; 0 means any length."""
        window = self.journal.state(user).windows.get(question)
        if not isinstance(window, Open) or question.startswith(PAGE_PREFIX):
            return 0
        now = self.event_clock.now()
        left_s = reply_window.time_left(window, now, may_wait=self.may_wait(user.account, now))
        link = self.links.answer_in_chat(self.links.token(user, question, ()), 0.0)
        room = wording.room(self.settings.texts, link)
        return self.pace(model).chars_in(left_s - self.settings.reply_margin_s, room)
