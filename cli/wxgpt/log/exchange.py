"""Events as JSON that can be read back without loss, for `log export` and `log import`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from dataclasses import MISSING
from enum import EnumType
from hashlib import sha256
from typing import Any, get_args

from wxgpt import render
from wxgpt.failures import UsageFailure
from wxgpt.log import rendering
from wxgptd.domain.evolve import evolve
from wxgptd.domain.model import events as e
from wxgptd.domain.model.state import EMPTY, Inconsistent, UserState
from wxgptd.domain.model.values import AccountName, AnswerUsage, OpenId, SessionId, User
from wxgptd.eventlog import codec
from wxgptd.loose import Json
from wxgptd.ports.record import AnyRecord, Hidden, Recorded

END = "End"
"""The type of the last line."""

_EVENTS: dict[str, type[Any]] = {  # Any: each kind has its own fields
    kind.__name__: kind for kind in get_args(e.Event)
}


def lines(records: Iterable[AnyRecord]) -> Iterator[bytes]:
    """Yield the lines of an export; the last one holds the number of events and their SHA-256.

    Raises:
        UnreadableEvent: an event was written by a newer wxgptd.
    """
    digest, count = sha256(), 0
    for record in records:
        known = codec.require(record)
        said = rendering.as_json(known)
        # Only needed to import the log again.
        said |= {"at_s": known.event.at, "previous": known.previous}
        line = f"{render.dumps(said)}\n".encode()
        digest.update(line)
        count += 1
        yield line
    end = {"type": END, "events": count, "sha256": digest.hexdigest()}
    yield f"{json.dumps(end)}\n".encode()


def read(exported: Iterable[bytes]) -> Iterator[Recorded]:
    """Yield the events of an export, checked as the daemon would check them.

    Raises:
        UsageFailure: a line is not part of an export or out of order, or the end is missing.
    """
    states: dict[User, UserState] = {}
    seq, ended, digest = 0, False, sha256()
    for number, line in enumerate(exported, 1):
        if not line.strip():
            continue
        try:
            said = json.loads(line)
            if said["type"] == END:
                ended = said["sha256"] == digest.hexdigest() and said["events"] == seq
                continue
            record = _record(said)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageFailure(
                f"line {number} is not part of an export: {type(error).__name__}: {error}",
                hint="import a file written by `wxgpt log export`",
            ) from None
        digest.update(line)
        state = states.get(record.user, EMPTY)
        seq += 1
        if record.seq != seq or record.previous != state.version:
            raise UsageFailure(
                f"line {number}: event {seq} expected, {record.seq} found",
                hint="an export must be complete and in order; if the log was shortened "
                "([log] keep), restore a backup instead",
            )
        try:
            states[record.user] = evolve(state, record.event)
        except Inconsistent as error:
            raise UsageFailure(f"line {number}: {error}") from None
        if isinstance(record.event, e.UserErased):
            del states[record.user]
        yield record
    if seq and not ended:
        raise UsageFailure(
            "the export is incomplete or was changed: its last line does not match",
            hint="export again, and let `wxgpt log export` finish",
        )


def _record(said: Json) -> Recorded:
    kind = _EVENTS[said["type"]]
    optional = {one.name for one in dataclasses.fields(kind) if one.default is not MISSING}
    carried = {
        name: _usage(said) if of is AnswerUsage else _value(of, said[name])
        for name, of in codec.FIELDS[said["type"]].items()
        if name in said or name not in optional or of is AnswerUsage  # older exports have fewer
    }
    user = User(AccountName(said["account"]), OpenId(said["user"]))
    session = SessionId(said["session"] or "")
    event = kind(at=_value(float, said["at_s"]), **carried)
    hidden = Hidden(said.get("hidden", ""))
    return Recorded(said["seq"], user, session, said["previous"], event, hidden)


def _usage(said: Json) -> AnswerUsage:
    known = {name: said[name] for name in AnswerUsage._fields if name in said}
    if "prompt_tokens" not in said:  # older exports have only the sum of a failure's tokens
        known |= {"prompt_tokens": said["tokens"], "estimated": said["tokens"] > 0}
    return AnswerUsage(**known)


def _value(hint: Any, value: Any) -> Any:  # noqa: ANN401 (any field of any event)
    """Convert a JSON value to the type of the event's field.

    Raises:
        ValueError: the value does not have that type.
    """
    kind = getattr(hint, "__supertype__", hint)
    if value is None and kind in (str, bytes):
        return kind()  # the user was erased
    if isinstance(kind, EnumType):
        return kind(value)
    if kind is bytes:
        return bytes.fromhex(value)
    if kind is float and type(value) is int:
        return float(value)
    if kind in (str, int, float, bool) and type(value) is not kind:
        raise ValueError(f"{value!r} is not of type {kind.__name__}")
    return value
