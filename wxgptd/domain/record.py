"""Events as the log has them, numbered and saying what they rest on; and how the log is doing."""

from __future__ import annotations

from typing import NamedTuple

from wxgptd.domain.events import Event
from wxgptd.domain.values import User


class Unreadable(NamedTuple):
    """An event written by a newer wxgptd. Viewers show it and go on; the daemon refuses it."""

    at: float
    tag: int
    version: int


class Recorded(NamedTuple):
    """One event on record.

    `seq` numbers all events of the log from 1, without a gap. `previous` is the number of
    events of this user that came before: the version of the state that it was decided on.
    """

    seq: int
    user: User
    previous: int
    event: Event


class RecordedUnreadable(NamedTuple):
    """An event on record that this version cannot read."""

    seq: int
    user: User
    previous: int
    event: Unreadable


class StoreFigures(NamedTuple):
    """How the store is doing: `last_seq` is its newest event, the rest counts from the start."""

    last_seq: int
    commits: int
    events: int
    sync_s: float
