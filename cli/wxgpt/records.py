"""The log as the commands that fold it read it: all of it, up to some point."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from wxgptd.domain.record import Recorded
from wxgptd.domain.state import EMPTY, UserState, evolve
from wxgptd.domain.values import User
from wxgptd.eventlog import codec, reader

Point = tuple[int | None, float | None]
"""A sequence number or a time, whichever is given, to read up to and including."""


def read(directory: Path, until: Point = (None, None)) -> Iterator[Recorded]:
    """Yield the events up to `until`."""
    seq, at = until
    for record in reader.scan(directory):
        if seq is not None and record.seq > seq:
            return
        known = codec.require(record)
        if at is not None and known.event.at > at:
            return
        yield known


def fold(directory: Path, until: Point = (None, None)) -> tuple[dict[User, UserState], int, float]:
    """Return all users' states, and the number and time of the last event in them."""
    states: dict[User, UserState] = {}
    seq, at = 0, 0.0
    for record in read(directory, until):
        states[record.user] = evolve(states.get(record.user, EMPTY), record.event)
        seq, at = record.seq, record.event.at
    return states, seq, at
