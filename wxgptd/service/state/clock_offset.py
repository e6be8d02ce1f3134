"""How far the daemon's clock is ahead of WeChat's, learned from arriving messages.

A message carries the time it was sent, in whole seconds of WeChat's clock. It arrives a moment
later, or seconds later if it had to wait. The smallest difference seen in a day belongs to a
message that did not wait: what remains is clock offset, not latency.

A restart reads the wall clock again, and it may have been set meanwhile. So once a process has
enough samples of its own, the ones of earlier processes no longer count.
"""

from __future__ import annotations

from collections.abc import Mapping

from wxgptd.domain.model import events as e
from wxgptd.domain.model.reply_window import OVER_AFTER_S
from wxgptd.domain.model.state import UserState
from wxgptd.domain.model.values import User
from wxgptd.service.state.projections import Projection
from wxgptd.untyped import Notes

SAMPLE_LIFETIME_S = 86_400.0
"""How long a sample counts."""

SLOT_S = 600.0
"""Only the smallest difference in each ten minutes is stored."""

ENOUGH_SAMPLES = 5
"""Among this many messages, one did not wait: none of them was sent before the process started."""

MIN_PLAUSIBLE_S = -300.0
"""A message dated further in the future than a signature may be is ignored."""


_Message = e.QuestionAsked | e.ContinuationAsked | e.CommandGiven


class ClockOffset(Projection):
    """The clock offset, measured from the first attempts of the last day."""

    name = "clock_offset"

    def __init__(self) -> None:
        self._smallest: dict[int, float] = {}
        self._own: dict[int, float] | None = {}
        self._own_count = 0
        self._own_since: float | None = None

    @property
    def replays(self) -> Mapping[type[e.Event], float]:
        """The events of messages, which carry the time they were sent."""
        kinds = e.QuestionAsked, e.ContinuationAsked, e.CommandGiven
        return dict.fromkeys(kinds, SAMPLE_LIFETIME_S)

    def on_event(self, user: User, event: e.Event, state: UserState) -> None:
        """Record how late a message arrived, relative to when it was sent."""
        if isinstance(event, e.QuestionAsked | e.ContinuationAsked | e.CommandGiven):
            self.replay(user, event)
            self._learn(event)

    def replay(self, user: User, event: e.Event) -> None:
        """Record how late a message arrived, relative to when it was sent."""
        assert isinstance(event, e.QuestionAsked | e.ContinuationAsked | e.CommandGiven)
        late_s = _late(event)
        if late_s is None:
            return
        slot = _slot(event.at)
        if slot not in self._smallest:
            self._drop_expired(slot)
        self._smallest[slot] = min(late_s, self._smallest.get(slot, late_s))

    def _learn(self, event: _Message) -> None:
        """Count a sample of this process; drop all others once there are enough."""
        if self._own is None or (late_s := _late(event)) is None:
            return
        if self._own_since is None:
            self._own_since = (
                event.at + OVER_AFTER_S
            )  # until then, it may have waited for the start
        if event.at < self._own_since:
            return
        slot = _slot(event.at)
        self._own[slot] = min(late_s, self._own.get(slot, late_s))
        self._own_count += 1
        if self._own_count == ENOUGH_SAMPLES:
            self._smallest, self._own = self._own, None

    def seconds(self, now: float) -> float:
        """Return how far our clock is ahead; 0 if it is behind, or if there are no samples."""
        return max(0.0, self.measured(now) or 0.0)

    def measured(self, now: float) -> float | None:
        """Return the smallest difference of the last day, or None if there are no samples."""
        oldest = _slot(now - SAMPLE_LIFETIME_S)
        current = (late_s for slot, late_s in self._smallest.items() if slot >= oldest)
        return min(current, default=None)

    def snapshot(self) -> object:
        """Return the smallest differences."""
        return list(self._smallest.items())

    def restore(self, notes: Notes) -> None:
        """Restore the smallest differences."""
        self._smallest = dict(notes or ())

    def _drop_expired(self, newest: int) -> None:
        oldest = newest - _slot(SAMPLE_LIFETIME_S)
        self._smallest = {slot: late_s for slot, late_s in self._smallest.items() if slot >= oldest}


def _late(event: _Message) -> float | None:
    """Return how much later than it was sent a message arrived, or None if that is implausible."""
    late_s = event.at - event.sent_at
    return None if not event.sent_at or late_s < MIN_PLAUSIBLE_S else late_s


def _slot(at: float) -> int:
    return int(at // SLOT_S)
