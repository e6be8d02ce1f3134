"""How far the daemon's clock is ahead of WeChat's, learned from arriving messages.

A message carries the time it was sent, in whole seconds of WeChat's clock. It arrives a moment
later, or seconds later if it had to wait. The smallest difference seen for a while belongs to a
message that did not wait: what remains is clock offset, not latency.

A restart reads the wall clock again, which may have been set meanwhile. So "a while" is three
periods of ten minutes with messages: a clock that was set is noticed, and an idle night or messages
that waited for a restart change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from wxgptd.domain.model import events as e
from wxgptd.domain.model.state import UserState
from wxgptd.domain.model.values import User
from wxgptd.service.state.projections import Projection
from wxgptd.untyped import Notes

SAMPLE_LIFETIME_S = 86_400.0
"""How long a sample counts."""

SLOT_S = 600.0
"""Only the smallest difference in each ten minutes is stored."""

SLOTS = 3
"""The newest periods with samples that count. One may have only messages that waited."""

MIN_PLAUSIBLE_S = -300.0
"""A message dated further in the future than a signature may be is ignored."""


class ClockOffset(Projection):
    """The clock offset, measured from first attempts."""

    name = "clock_offset"

    def __init__(self) -> None:
        self._smallest: dict[int, float] = {}

    @property
    def replays(self) -> Mapping[type[e.Event], float]:
        """The events of messages, which carry the time they were sent."""
        kinds = e.QuestionAsked, e.ContinuationAsked, e.CommandGiven
        return dict.fromkeys(kinds, SAMPLE_LIFETIME_S)

    def on_event(self, user: User, event: e.Event, state: UserState) -> None:
        """Record how late a message arrived, relative to when it was sent."""
        if isinstance(event, e.QuestionAsked | e.ContinuationAsked | e.CommandGiven):
            self.replay(user, event)

    def replay(self, user: User, event: e.Event) -> None:
        """Record how late a message arrived, relative to when it was sent."""
        assert isinstance(event, e.QuestionAsked | e.ContinuationAsked | e.CommandGiven)
        late_s = event.at - event.sent_at
        if not event.sent_at or late_s < MIN_PLAUSIBLE_S:
            return
        slot = _slot(event.at)
        if slot not in self._smallest:
            self._drop_expired(slot)
        self._smallest[slot] = min(late_s, self._smallest.get(slot, late_s))

    def seconds(self, now: float) -> float:
        """Return how far our clock is ahead, less than 0 if behind; 0 if there are no samples."""
        return self.measured(now) or 0.0

    def measured(self, now: float) -> float | None:
        """Return the smallest difference of the newest periods, or None if there are no samples."""
        oldest = _slot(now - SAMPLE_LIFETIME_S)
        newest = islice(reversed(self._smallest.items()), SLOTS)  # in order of arrival
        return min((late_s for slot, late_s in newest if slot >= oldest), default=None)

    def snapshot(self) -> object:
        """Return the smallest differences."""
        return list(self._smallest.items())

    def restore(self, notes: Notes) -> None:
        """Restore the smallest differences."""
        self._smallest = dict(notes or ())

    def _drop_expired(self, newest: int) -> None:
        oldest = newest - _slot(SAMPLE_LIFETIME_S)
        self._smallest = {slot: late_s for slot, late_s in self._smallest.items() if slot >= oldest}


def _slot(at: float) -> int:
    return int(at // SLOT_S)
