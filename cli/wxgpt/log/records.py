"""Read and fold the whole log up to some point, for the commands that show state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from wxgpt import render
from wxgpt.failures import UsageFailure
from wxgptd.domain.evolve import evolve
from wxgptd.domain.model import events as e
from wxgptd.domain.model.state import EMPTY, UserState
from wxgptd.domain.model.values import (
    User,
    is_follower,
)
from wxgptd.eventlog import codec, loading, reader, segments, snapshot
from wxgptd.ports.record import Recorded
from wxgptd.wording import say

if TYPE_CHECKING:
    from wxgpt.options import Log

Point = tuple[int | None, float | None]
"""The last sequence number or the last time to read; at most one is set."""


def read(log: Log, until: Point = (None, None), after: int = 0) -> Iterator[Recorded]:
    """Yield the events after number `after`, up to and including `until`."""
    seq, at = until
    for record in reader.scan(log.directory, log.keys, after):
        if seq is not None and record.seq > seq:
            return
        recorded = codec.require(record)
        if at is not None and recorded.event.at > at:
            return
        yield recorded if not recorded.hidden else _marked(recorded)


def _marked(record: Recorded) -> Recorded:
    """Return an event that cannot be decrypted, with its text replaced by a placeholder."""
    match record.event:
        case (
            e.QuestionAsked() | e.AnswerCompleted() | e.AnswerFailed() | e.ReplyOffered()
        ) as event:
            return record._replace(event=replace(event, text=f"[{record.hidden}]"))
        case _:
            return record


def fold(log: Log, until: Point = (None, None)) -> tuple[dict[User, UserState], int, float]:
    """Return all users' states, and the number and time of the last event folded into them.

    Raises:
        UsageFailure: the log does not go back that far, or an earlier state needs the master key.
    """
    states, seq, at = _beginning(log, until)
    for record in read(log, until, seq):
        seq, at = record.seq, record.event.at
        lacks_history = record.hidden and record.previous and record.user not in states
        if not is_follower(record.user) or lacks_history:
            continue  # erased: no snapshot has the user's earlier state
        if isinstance(record.event, e.UserErased):
            states.pop(record.user, None)
        else:
            states[record.user] = evolve(states.get(record.user, EMPTY), record.event)
    return states, seq, at


def _beginning(log: Log, until: Point) -> tuple[dict[User, UserState], int, float]:
    """Return the initial states: those of a snapshot, if the log was shortened.

    Also return the number of the last event in them, and an upper bound on its time.
    """
    first = segments.begins_at(log.directory)
    if first == 1:
        return {}, 0, 0.0
    reader.require_beginning(log.directory)
    if log.keys is None:
        raise UsageFailure(
            say(
                "the log begins at event {first}, and reading earlier state needs the master key",
                first=first,
            ),
            hint=say("run wxgpt as the daemon's user, or with sudo"),
        )
    for path in segments.list_snapshots(log.directory):  # the oldest usable one
        if segments.last_seq_of(path) < first - 1:
            continue
        try:
            loaded = snapshot.read(path, log.keys)
        except ValueError:
            continue
        seq, at = until
        if (seq is not None and loaded.last_seq > seq) or (at is not None and loaded.created > at):
            created = render.clock_time(loaded.created, utc=False)
            raise UsageFailure(
                say(
                    "history begins after event {last_seq}, {created}",
                    last_seq=loaded.last_seq,
                    created=created,
                ),
                hint=say("older events were dropped ([log] keep, max_size)"),
            )
        states = loading.states(loaded, log.keys)
        users = {log.keys.find(reference): state for reference, state in states.items()}
        by_user = {key.user: state for key, state in users.items() if key}
        return by_user, loaded.last_seq, loaded.created
    raise reader.LogDamaged(
        say("the log begins at event {first}, and no snapshot is intact", first=first)
    )
