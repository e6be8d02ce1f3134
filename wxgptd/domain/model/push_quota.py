"""How many customer-service messages WeChat accepts, and when.

WeChat ("Customer service messages"): five within 48 hours of a message from the user, three within
one minute of a tap on a menu. Tapping a link in a message counts as tapping a menu, and does not
reset the quota of five.
"""

from __future__ import annotations

from wxgptd.domain.model.state import UserState

PER_MESSAGE = 5
WITHIN_S = 48 * 3_600.0

PER_TAP = 3
WITHIN_OF_TAP_S = 60.0


def allows(state: UserState, at: float) -> bool:
    """Return whether WeChat accepts one more message to the user at `at`."""
    return is_by_tap(state, at) or (state.pushes < PER_MESSAGE and at - state.spoke_at <= WITHIN_S)


def is_by_tap(state: UserState, at: float) -> bool:
    """Return whether a message at `at` counts towards the quota of the user's last tap."""
    return state.tap_pushes < PER_TAP and at - state.tapped_at <= WITHIN_OF_TAP_S


def used(state: UserState, at: float) -> tuple[int, int]:
    """Return how many messages were sent under the quota that applies at `at`, and its limit."""
    if state.tap_pushes and at - state.tapped_at <= WITHIN_OF_TAP_S:
        return state.tap_pushes, PER_TAP
    return state.pushes, PER_MESSAGE


def counted(state: UserState, at: float) -> UserState:
    """Return the state after a message was sent at `at`."""
    if is_by_tap(state, at):
        return state._replace(tap_pushes=state.tap_pushes + 1)
    return state._replace(pushes=state.pushes + 1)
