"""Events to msgpack arrays and back.

A tag is for ever: it is never given to another event. A change in what an event carries is a new
version of its tag, and `upcast` turns the older bodies into it, so that the rest of the program
knows the newest shape only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import msgpack

from wxgptd.domain import events as e
from wxgptd.domain.record import Recorded, RecordedUnreadable, Unreadable
from wxgptd.domain.values import (
    CloseReason,
    FailureReason,
    Finish,
    ReplyKind,
    Standing,
    Style,
    User,
)
from wxgptd.errors import WxgptError
from wxgptd.eventlog.upcast import upcast

Body = Sequence[Any]
Entry = tuple[int, int, float, str, str, int, Body]


class UnreadableEvent(WxgptError):
    """the log has an event that this version of wxgptd cannot read"""

    exit_status = 5


class _Kind(NamedTuple):
    tag: int
    version: int
    event: type[e.Event]
    fields: tuple[str, ...]
    build: Callable[[float, Body], e.Event]


_KINDS = (
    _Kind(
        1, 1, e.SessionOpened, ("session", "assistant", "ttl_s"),
        lambda at, b: e.SessionOpened(at=at, session=b[0], assistant=b[1], ttl_s=b[2]),
    ),
    _Kind(
        2, 1, e.SessionClosed, ("session", "reason"),
        lambda at, b: e.SessionClosed(at=at, session=b[0], reason=CloseReason(b[1])),
    ),
    _Kind(
        3, 1, e.CommandGiven, ("delivery", "command"),
        lambda at, b: e.CommandGiven(at=at, delivery=b[0], command=b[1]),
    ),
    _Kind(
        4, 2, e.QuestionAsked, ("session", "delivery", "text", "link", "image"),
        lambda at, b: e.QuestionAsked(
            at=at, session=b[0], delivery=b[1], text=b[2], link=b[3], image=b[4]
        ),
    ),
    _Kind(
        5, 1, e.ContinuationAsked, ("delivery", "question"),
        lambda at, b: e.ContinuationAsked(at=at, delivery=b[0], question=b[1]),
    ),
    _Kind(
        6, 1, e.MessageDeclined, ("delivery", "reason", "about"),
        lambda at, b: e.MessageDeclined(at=at, delivery=b[0], reason=b[1], about=b[2]),
    ),
    _Kind(
        7, 1, e.UserSubscribed, ("delivery", "scene"),
        lambda at, b: e.UserSubscribed(at=at, delivery=b[0], scene=b[1]),
    ),
    _Kind(
        8, 1, e.UserUnsubscribed, ("delivery",),
        lambda at, b: e.UserUnsubscribed(at=at, delivery=b[0]),
    ),
    _Kind(
        9, 1, e.AttemptRepeated, ("delivery", "number"),
        lambda at, b: e.AttemptRepeated(at=at, delivery=b[0], number=b[1]),
    ),
    _Kind(
        10, 2, e.AnswerCompleted,
        (
            "question", "text", "finish", "model", "prompt_tokens", "completion_tokens",
            "first_text_s", "took_s", "assistant", "estimated", "prompt_bytes", "cost",
        ),
        lambda at, b: e.AnswerCompleted(
            at=at, question=b[0], text=b[1], finish=Finish(b[2]), model=b[3],
            prompt_tokens=b[4], completion_tokens=b[5], first_text_s=b[6], took_s=b[7],
            assistant=b[8], estimated=b[9], prompt_bytes=b[10], cost=b[11],
        ),
    ),
    _Kind(
        11, 3, e.AnswerFailed,
        (
            "question", "reason", "text", "detail", "retry_after_s", "tokens", "assistant",
            "cost",
        ),
        lambda at, b: e.AnswerFailed(
            at=at, question=b[0], reason=FailureReason(b[1]), text=b[2], detail=b[3],
            retry_after_s=b[4], tokens=b[5], assistant=b[6], cost=b[7],
        ),
    ),
    _Kind(
        12, 1, e.AnswerRestarted, ("question",),
        lambda at, b: e.AnswerRestarted(at=at, question=b[0]),
    ),
    _Kind(
        13, 2, e.ReplyOffered,
        (
            "delivery", "kind", "notice", "about", "question", "start", "end", "text", "style",
            "rest", "reminder",
        ),
        lambda at, b: e.ReplyOffered(
            at=at, delivery=b[0], kind=ReplyKind(b[1]), notice=b[2], about=b[3], question=b[4],
            start=b[5], end=b[6], text=b[7], style=Style(b[8]), rest=b[9], reminder=b[10],
        ),
    ),
    _Kind(
        14, 1, e.HistoryLinkIssued, ("delivery", "link"),
        lambda at, b: e.HistoryLinkIssued(at=at, delivery=b[0], link=b[1]),
    ),
    _Kind(
        15, 1, e.PageOpened, ("question",),
        lambda at, b: e.PageOpened(at=at, question=b[0]),
    ),
    _Kind(
        16, 1, e.PushStarted, ("question", "start", "end", "style", "rest"),
        lambda at, b: e.PushStarted(
            at=at, question=b[0], start=b[1], end=b[2], style=Style(b[3]), rest=b[4]
        ),
    ),
    _Kind(
        17, 1, e.PushDelivered, ("question",),
        lambda at, b: e.PushDelivered(at=at, question=b[0]),
    ),
    _Kind(
        18, 1, e.PushFailed, ("question", "code", "detail"),
        lambda at, b: e.PushFailed(at=at, question=b[0], code=b[1], detail=b[2]),
    ),
    _Kind(
        19, 1, e.StandingChanged, ("standing", "until"),
        lambda at, b: e.StandingChanged(at=at, standing=Standing(b[0]), until=b[1]),
    ),
    _Kind(
        20, 1, e.ContextTrimmed, ("question", "turns"),
        lambda at, b: e.ContextTrimmed(at=at, question=b[0], turns=b[1]),
    ),
    _Kind(
        21, 1, e.ModelChosen, ("session", "delivery", "model"),
        lambda at, b: e.ModelChosen(at=at, session=b[0], delivery=b[1], model=b[2]),
    ),
)  # fmt: skip


def _getter(fields: tuple[str, ...]) -> Callable[[e.Event], Body]:
    values = attrgetter(*fields)
    # attrgetter of a single name gives the bare value.
    return values if len(fields) > 1 else lambda event: (values(event),)


_ENCODE: dict[type[e.Event], tuple[int, int, Callable[[e.Event], Body]]] = {
    kind.event: (kind.tag, kind.version, _getter(kind.fields)) for kind in _KINDS
}
_DECODE = {kind.tag: (kind.version, kind.build) for kind in _KINDS}

KINDS: tuple[str, ...] = tuple(kind.event.__name__ for kind in _KINDS)
"""The names of all events, as JSON and the command line have them."""


def encode(user: User, previous: int, event: e.Event) -> Entry:
    """Return the array that stands for `event` in a frame."""
    tag, version, body = _ENCODE[type(event)]
    return (tag, version, event.at, user.account, user.openid, previous, body(event))


class Unencodable(WxgptError):
    """an event has a value that the log cannot hold"""


def pack(entries: list[Entry]) -> bytes:
    """Return the bytes of `entries`, one behind the other; `join` makes a payload of them.

    Lone surrogates survive, as they must in what users say.

    Raises:
        Unencodable: a value is none that msgpack has bytes for.
    """
    try:
        return b"".join(
            msgpack.packb(entry, use_bin_type=True, unicode_errors="surrogatepass")
            for entry in entries
        )
    except (OverflowError, TypeError, ValueError) as error:
        raise Unencodable(f"an event cannot be written: {error}") from error


def join(count: int, packed: list[bytes]) -> bytes:
    """Return the payload of a frame: the array of `count` entries that were packed."""
    return b"".join((msgpack.Packer().pack_array_header(count), *packed))


def unpack(payload: memoryview) -> list[Entry]:
    """Return the entries of a frame's payload."""
    entries: list[Entry] = msgpack.unpackb(
        payload, use_list=False, raw=False, unicode_errors="surrogatepass"
    )
    return entries


def decode(seq: int, entry: Entry) -> Recorded | RecordedUnreadable:
    """Return the event that `entry` stands for, as number `seq` of the log."""
    tag, version, at, account, openid, previous, body = entry
    user = User(account, openid)  # type: ignore[arg-type]
    known = _DECODE.get(tag)
    if known is None or version > known[0]:
        return RecordedUnreadable(seq, user, previous, Unreadable(at, tag, version))
    newest, build = known
    if version != newest:
        body = upcast(tag, version, newest, body)
    return Recorded(seq, user, previous, build(at, body))


def require(record: Recorded | RecordedUnreadable) -> Recorded:
    """Return `record` if it can be read.

    Raises:
        UnreadableEvent: a newer version of wxgptd wrote it.
    """
    if isinstance(record, RecordedUnreadable):
        raise UnreadableEvent(
            f"event {record.seq} is of kind {record.event.tag} version {record.event.version}, "
            "which this version of wxgptd does not know",
            hint="a newer wxgptd wrote this log: install that version or a later one",
        )
    return record
