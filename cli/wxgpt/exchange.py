"""Events as JSON that can be read back, whole: what `log export` writes and `log import` takes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from enum import EnumType
from typing import Any, get_args, get_type_hints

from wxgpt import render
from wxgpt.failures import UsageFailure
from wxgptd.domain import events as e
from wxgptd.domain.record import Recorded, RecordedUnreadable
from wxgptd.domain.state import EMPTY, Inconsistent, UserState, evolve
from wxgptd.domain.values import AccountName, OpenId, User

_EVENTS: dict[str, type[Any]] = {kind.__name__: kind for kind in get_args(e.Event)}
_FIELDS = {
    name: {field.name: get_type_hints(kind)[field.name] for field in dataclasses.fields(kind)}
    for name, kind in _EVENTS.items()
}


def as_json(record: Recorded | RecordedUnreadable, session: str) -> dict[str, Any]:
    """Return the event as everywhere else, with what only a copy of the log needs beside it."""
    said = render.as_json(record, session)
    return {**said, "at_s": record.event.at, "previous": record.previous}


def read(lines: Iterable[str]) -> Iterator[Recorded]:
    """Yield the events of an export, checked as the daemon would check them.

    Raises:
        UsageFailure: a line is none of an export's, or does not follow the ones before it.
    """
    states: dict[User, UserState] = {}
    seq = 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = _record(json.loads(line))
        except (ValueError, KeyError, TypeError) as error:
            raise UsageFailure(
                f"line {number} is none of an export: {type(error).__name__}: {error}",
                hint="`wxgpt log export` writes what this takes",
            ) from None
        state = states.get(record.user, EMPTY)
        seq += 1
        if record.seq != seq or record.previous != state.version:
            raise UsageFailure(
                f"line {number}: event {seq} expected, {record.seq} found",
                hint="an export is taken as a whole, in its order",
            )
        try:
            states[record.user] = evolve(state, record.event)
        except Inconsistent as error:
            raise UsageFailure(f"line {number}: {error}") from None
        yield record


def _record(said: dict[str, Any]) -> Recorded:
    kind = _EVENTS[said["type"]]
    carried = {
        name: _value(hint, said["at_s"] if name == "at" else said[name])
        for name, hint in _FIELDS[said["type"]].items()
    }
    user = User(AccountName(said["account"]), OpenId(said["user"]))
    return Recorded(said["seq"], user, said["previous"], kind(**carried))


def _value(hint: Any, value: Any) -> Any:  # noqa: ANN401
    """Return what JSON says as what the event has."""
    supertype = getattr(hint, "__supertype__", hint)
    if isinstance(supertype, EnumType):
        return supertype(value)
    return bytes.fromhex(value) if supertype is bytes else value
