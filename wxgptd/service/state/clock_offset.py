"""By how much the daemon's clock is ahead of WeChat's, learned from when messages arrive.

A message says in whole seconds of WeChat's clock when it was sent. It arrives a moment later, or
seconds later if it had to wait. The smallest difference seen in a day is that of a message that did
not wait: what remains is clock offset, not latency.
"""

from __future__ import annotations

from collections.abc import Mapping

from wxgptd.domain.model import events as e
from wxgptd.domain.model.state import UserState
from wxgptd.domain.model.values import User
from wxgptd.loose import Notes
from wxgptd.service.state.projections import Projection

SAMPLE_LIFETIME_S = 86_400.0
"""How long a sample counts."""

SLOT_S = 600.0
"""Of the differences of ten minutes only the smallest is remembered."""

MIN_PLAUSIBLE_S = -300.0
"""A message apparently sent further in the future than a signature may be is no usable sample."""


class ClockOffset(Projection):
    """The clocks' offset, as the first attempts of a day tell."""

    name = "clock_offset"

    def __init__(self) -> None:
        self._smallest: dict[int, float] = {}

    @property
    def replays(self) -> Mapping[type[e.Event], float]:
        """The messages that say when they were sent."""
        kinds = e.QuestionAsked, e.ContinuationAsked, e.CommandGiven
        return dict.fromkeys(kinds, SAMPLE_LIFETIME_S)

    def on_event(self, user: User, event: e.Event, state: UserState) -> None:
        """Note how long after its sending a message arrived."""
        if isinstance(event, e.QuestionAsked | e.ContinuationAsked | e.CommandGiven):
            self.replay(user, event)

    def replay(self, user: User, event: e.Event) -> None:
        """Note how long after its sending a message arrived."""
        assert isinstance(event, e.QuestionAsked | e.ContinuationAsked | e.CommandGiven)
        late_s = event.at - event.sent_at
        if not event.sent_at or late_s < MIN_PLAUSIBLE_S:
            return
        slot = _slot(event.at)
        if slot not in self._smallest:
            self._forget(slot)
        self._smallest[slot] = min(late_s, self._smallest.get(slot, late_s))

    def seconds(self, now: float) -> float:
        """Return by how much our clock is ahead: 0 if it is behind, or if nothing tells."""
        return max(0.0, self.measured(now) or 0.0)

    def measured(self, now: float) -> float | None:
        """Return the smallest difference of the last day, or None if no message told."""
        oldest = _slot(now - SAMPLE_LIFETIME_S)
        current = (late_s for slot, late_s in self._smallest.items() if slot >= oldest)
        return min(current, default=None)

    def snapshot(self) -> object:
        """Return the smallest differences."""
        return list(self._smallest.items())

    def restore(self, notes: Notes) -> None:
        """Take up the smallest differences."""
        self._smallest = dict(notes or ())

    def _forget(self, newest: int) -> None:
        oldest = newest - _slot(SAMPLE_LIFETIME_S)
        self._smallest = {slot: one for slot, one in self._smallest.items() if slot >= oldest}


def _slot(at: float) -> int:
    return int(at // SLOT_S)
