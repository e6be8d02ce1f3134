"""Messages that were turned away because the disk was full, so nothing about them is on record.

If the reply is lost, WeChat delivers the message again, perhaps when there is room. It gets the
same reply: a user never reads two different replies to one message. In memory only; a crash forgets
it.
"""

from __future__ import annotations

from wxgptd.domain.model.reply_window import OVER_AFTER_S
from wxgptd.domain.model.values import DeliveryKey, User


class TurnedAway:
    """Remembers the messages that were turned away, until WeChat has made its last attempt."""

    def __init__(self) -> None:
        self._until: dict[tuple[User, DeliveryKey], float] = {}

    def note(self, user: User, delivery: DeliveryKey, at: float) -> None:
        """Remember that a message was turned away at `at`."""
        while self._until and next(iter(self._until.values())) <= at:
            del self._until[next(iter(self._until))]
        self._until[user, delivery] = at + OVER_AFTER_S

    def knows(self, user: User, delivery: DeliveryKey, at: float) -> bool:
        """Return whether an earlier attempt of this message was turned away."""
        return bool(self._until) and self._until.get((user, delivery), 0.0) > at
