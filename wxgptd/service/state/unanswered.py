"""Counts unanswered messages by account, so that operators can act on them.

The count is recorded at most once a minute, because the volume is unbounded; the content is not
recorded.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping

from wxgptd.domain.model import events as e
from wxgptd.domain.model.state import EMPTY, UserState
from wxgptd.domain.model.values import AccountName, User
from wxgptd.service.state.projections import LONGEST_DAY_S, Projection
from wxgptd.untyped import Notes

RECORD_EVERY_S = 60.0

REMEMBERED_FOR_S = 2 * LONGEST_DAY_S
"""All of yesterday, and today."""


class Unanswered(Projection):
    """Counts unanswered messages."""

    name = "unanswered"

    def __init__(self) -> None:
        self._pending: Counter[AccountName] = Counter()
        self._recorded: dict[AccountName, deque[tuple[float, int]]] = {}

    @property
    def replays(self) -> Mapping[type[e.Event], float]:
        """The counts of yesterday and today."""
        return {e.MessagesUnanswered: REMEMBERED_FOR_S}

    def note(self, account: AccountName) -> None:
        """Count a message."""
        self._pending[account] += 1

    def due(self, now: float, *, everything: bool = False) -> Iterator[tuple[AccountName, int]]:
        """Yield the counts due to be recorded, each once; if `everything`, yield all of them."""
        for account, count in tuple(self._pending.items()):
            counts = self._recorded.get(account)
            ago_s = now - counts[-1][0] if counts else RECORD_EVERY_S
            if everything or not 0 <= ago_s < RECORD_EVERY_S:
                del self._pending[account]
                yield account, count

    def on_event(self, user: User, event: e.Event, state: UserState) -> None:
        """Add a recorded count."""
        if isinstance(event, e.MessagesUnanswered):
            counts = self._recorded.setdefault(user.account, deque())
            counts.append((event.at, event.count))
            while counts[0][0] < event.at - REMEMBERED_FOR_S:
                counts.popleft()

    def replay(self, user: User, event: e.Event) -> None:
        """Add a count from the log."""
        self.on_event(user, event, EMPTY)

    def snapshot(self) -> object:
        """Return the recorded counts of each account, oldest first."""
        return {account: list(counts) for account, counts in self._recorded.items()}

    def restore(self, notes: Notes) -> None:
        """Restore the recorded counts."""
        for account, counts in (notes or {}).items():
            self._recorded[account] = deque((at, count) for at, count in counts)

    def between(self, account: AccountName, since: float, until: float) -> int:
        """Return how many were recorded from `since` up to, but not including, `until`."""
        counts = tuple(self._recorded.get(account, ()))  # another thread may be loading the log
        return sum(count for at, count in counts if since <= at < until)
