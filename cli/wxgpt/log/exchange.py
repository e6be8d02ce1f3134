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
from wxgptd.ports.record import AnyRecord, Hidden, Recorded
from wxgptd.untyped import Json
from wxgptd.wording import say

END = "End"
"""The `type` of an export's last line."""

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
        recorded = codec.require(record)
        fields = rendering.as_json(recorded)
        # Needed only to import the log again.
        fields |= {"at_s": recorded.event.at, "previous": recorded.previous}
        line = f"{render.dumps(fields)}\n".encode()
        digest.update(line)
        count += 1
        yield line
    end = {"type": END, "events": count, "sha256": digest.hexdigest()}
    yield f"{json.dumps(end)}\n".encode()


def read(exported: Iterable[bytes]) -> Iterator[Recorded]:
    """Yield the events of an export, checked as the daemon would check them.

    Raises:
        UsageFailure: a line is not part of an export or is out of order, or the end is missing.
    """
    states: dict[User, UserState] = {}
    seq, is_complete, digest = 0, False, sha256()
    for number, line in enumerate(exported, 1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
            if fields["type"] == END:
                is_complete = fields["sha256"] == digest.hexdigest() and fields["events"] == seq
                continue
            record = _record(fields)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageFailure(
                say(
                    "line {number} is not part of an export: {name}: {error}",
                    number=number,
                    name=type(error).__name__,
                    error=error,
                ),
                hint=say("import a file written by `wxgpt log export`"),
            ) from None
        digest.update(line)
        state = states.get(record.user, EMPTY)
        seq += 1
        if record.seq != seq or record.previous != state.version:
            raise UsageFailure(
                say(
                    "line {number}: event {seq} expected, {found} found",
                    number=number,
                    seq=seq,
                    found=record.seq,
                ),
                hint=say(
                    "an export must be complete and in order; if the log was shortened ([log] "
                    "keep), restore a backup instead"
                ),
            )
        try:
            states[record.user] = evolve(state, record.event)
        except Inconsistent as error:
            raise UsageFailure(say("line {number}: {error}", number=number, error=error)) from None
        if isinstance(record.event, e.UserErased):
            del states[record.user]
        yield record
    if seq and not is_complete:
        raise UsageFailure(
            say("the export is incomplete or was changed: its last line does not match"),
            hint=say("export again, and let `wxgpt log export` finish"),
        )


def _record(fields: Json) -> Recorded:
    kind = _EVENTS[fields["type"]]
    optional = {field.name for field in dataclasses.fields(kind) if field.default is not MISSING}
    values = {
        name: _usage(fields) if hint is AnswerUsage else _value(hint, fields[name])
        for name, hint in codec.FIELDS[fields["type"]].items()
        if name in fields or name not in optional or hint is AnswerUsage  # older exports have fewer
    }
    user = User(AccountName(fields["account"]), OpenId(fields["user"]))
    session = SessionId(fields["session"] or "")
    event = kind(at=_value(float, fields["at_s"]), **values)
    hidden = Hidden(fields.get("hidden", ""))
    return Recorded(fields["seq"], user, session, fields["previous"], event, hidden)


def _usage(fields: Json) -> AnswerUsage:
    values = {name: fields[name] for name in AnswerUsage._fields if name in fields}
    if "prompt_tokens" not in fields:  # older exports have only a failure's total tokens
        values |= {"prompt_tokens": fields["tokens"], "estimated": fields["tokens"] > 0}
    return AnswerUsage(**values)


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
