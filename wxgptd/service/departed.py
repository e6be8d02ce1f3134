"""Who was erased just now, and which of their messages WeChat may still bring again.

WeChat asks three times, fifteen seconds long. Without this the second attempt of a message whose
sender has left in between would be the first message of somebody new.
"""

from __future__ import annotations

from wxgptd.domain.reply_window import OVER_AFTER_S
from wxgptd.domain.state import UserState
from wxgptd.domain.values import DeliveryKey, User


class Departed:
    """Remembers them for as long as it matters, and in memory only."""

    def __init__(self) -> None:
        self._until: dict[tuple[User, DeliveryKey], float] = {}

    def note(self, user: User, before: UserState, now: float) -> None:
        """Take note that `user`, whose state was `before`, is erased."""
        self._until = {key: until for key, until in self._until.items() if until > now}
        for delivery, window in before.windows.items():
            until = window.first_at + OVER_AFTER_S
            if until > now:
                self._until[user, delivery] = until

    def knows(self, user: User, delivery: DeliveryKey, now: float) -> bool:
        """Tell whether the message is from before its sender was erased."""
        return self._until.get((user, delivery), 0.0) > now
