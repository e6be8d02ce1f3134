"""Users who were erased recently: in memory only, and for a day at most.

WeChat sends a message up to three times within fifteen seconds. If its sender is erased after the
first attempt, the second would otherwise count as a new user's first message. Nor may an erasure be
a way around the daily limits. Users are remembered by a keyed digest, not by their OpenID.
"""

from __future__ import annotations

import secrets
from hashlib import blake2b

from wxgptd.domain.decide import limits
from wxgptd.domain.model.reply_window import OVER_AFTER_S, WINDOW_S
from wxgptd.domain.model.state import UserState
from wxgptd.domain.model.values import DeliveryKey, Usage, User


class RecentlyErased:
    """Remembers the messages received before each erasure, and today's usage."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._until: dict[tuple[bytes, DeliveryKey], float] = {}
        self._day_began_at = 0.0
        self._used: dict[bytes, Usage] = {}

    def note(self, user: User, before: UserState, now: float) -> None:
        """Remember that `user`, whose state was `before`, is erased."""
        self._until = {key: until for key, until in self._until.items() if until > now}
        # Counted from now: when WeChat first sent a message is an estimate.
        for delivery, window in before.windows.items():
            if window.first_at > now - OVER_AFTER_S - WINDOW_S:
                self._until[self._digest(user), delivery] = now + OVER_AFTER_S

    def note_used(self, user: User, before: UserState, day_began_at: float) -> None:
        """Add the usage of `user` since `day_began_at`."""
        today = limits.usage_since(before, day_began_at)
        if today.questions:
            previous = self.used(user, day_began_at)
            self._used[self._digest(user)] = Usage(
                questions=previous.questions + today.questions,
                tokens=previous.tokens + today.tokens,
            )

    def knows(self, user: User, delivery: DeliveryKey, now: float) -> bool:
        """Return whether the message is from before its sender's erasure."""
        return bool(self._until) and self._until.get((self._digest(user), delivery), 0.0) > now

    def used(self, user: User, day_began_at: float) -> Usage:
        """Return the usage of `user` on that day, before the erasure."""
        if day_began_at != self._day_began_at:
            self._day_began_at, self._used = day_began_at, {}
        return self._used.get(self._digest(user), _NO_USAGE) if self._used else _NO_USAGE

    def _digest(self, user: User) -> bytes:
        identity = f"{user.account}\0{user.openid}".encode()
        return blake2b(identity, key=self._key, digest_size=16).digest()


_NO_USAGE = Usage()
