"""Events to msgpack arrays and back.

A tag is for ever: it is never given to another event. A change in what an event carries is a new
version of its tag, and `upcast` turns the older bodies into it, so that the rest of the program
knows the newest shape only.

What users and models say is *personal*, and encrypted with the user's key, and so are the hashes of
links, which are made of who the user is; the rest of a body is not, so that an event whose key is
gone still counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import msgpack

from wxgptd.domain.model import events as e
from wxgptd.domain.model.values import (
    AccountName,
    CloseReason,
    FailureReason,
    Finish,
    OpenId,
    ReplyKind,
    Standing,
    Style,
    User,
)
from wxgptd.errors import WxgptError
from wxgptd.eventlog.keyring import Keyring, UserKey
from wxgptd.eventlog.upcast import upcast
from wxgptd.ports.record import Hidden, Recorded, RecordedUnreadable, Unreadable

Body = Sequence[Any]

Entry = tuple[int, int, float, str, int, bytes, bytes]
"""Tag, version, time, the user's reference, previous, the packed body, what of it is encrypted.

Where the body has nil for a personal text, the text is the next one in the encrypted array.
"""

PlainEntry = tuple[int, int, float, str, str, int, Body]
"""An entry of format 1: account and OpenID instead of the reference, and nothing encrypted."""


class UnreadableEvent(WxgptError):
    """the log has an event that this version of wxgptd cannot read"""

    exit_status = 5


class _Kind(NamedTuple):
    tag: int
    version: int
    event: type[e.Event]
    fields: tuple[str, ...]
    build: Callable[[float, Body], e.Event]
    personal: tuple[str, ...] = ()


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
        3, 2, e.CommandGiven, ("delivery", "command", "sent_at", "tapped"),
        lambda at, b: e.CommandGiven(
            at=at, delivery=b[0], command=b[1], sent_at=b[2], tapped=b[3]
        ),
    ),
    _Kind(
        4, 4, e.QuestionAsked,
        ("session", "delivery", "text", "link", "image", "sent_at", "delay_s", "tapped", "retries",
         "held"),
        lambda at, b: e.QuestionAsked(
            at=at, session=b[0], delivery=b[1], text=b[2], link=b[3], image=b[4],
            sent_at=b[5], delay_s=b[6], tapped=b[7], retries=b[8], held=b[9],
        ),
        ("text", "link", "image"),
    ),
    _Kind(
        5, 2, e.ContinuationAsked, ("delivery", "question", "sent_at", "delay_s", "tapped"),
        lambda at, b: e.ContinuationAsked(
            at=at, delivery=b[0], question=b[1], sent_at=b[2], delay_s=b[3], tapped=b[4]
        ),
    ),
    _Kind(
        6, 2, e.MessageDeclined, ("delivery", "reason", "about", "tapped"),
        lambda at, b: e.MessageDeclined(
            at=at, delivery=b[0], reason=b[1], about=b[2], tapped=b[3]
        ),
        ("about",),
    ),
    _Kind(
        7, 1, e.UserSubscribed, ("delivery", "scene"),
        lambda at, b: e.UserSubscribed(at=at, delivery=b[0], scene=b[1]),
        ("scene",),
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
        10, 3, e.AnswerCompleted,
        (
            "question", "text", "finish", "model", "prompt_tokens", "completion_tokens",
            "first_text_s", "took_s", "assistant", "estimated", "prompt_bytes", "cost",
            "withdrawn",
        ),
        lambda at, b: e.AnswerCompleted(
            at=at, question=b[0], text=b[1], finish=Finish(b[2]), model=b[3],
            prompt_tokens=b[4], completion_tokens=b[5], first_text_s=b[6], took_s=b[7],
            assistant=b[8], estimated=b[9], prompt_bytes=b[10], cost=b[11], withdrawn=b[12],
        ),
        ("text",),
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
        ("text", "detail"),
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
        ("about", "text"),
    ),
    _Kind(
        14, 1, e.HistoryLinkIssued, ("delivery", "link"),
        lambda at, b: e.HistoryLinkIssued(at=at, delivery=b[0], link=b[1]),
        ("link",),
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
        ("detail",),
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
        21, 2, e.ModelChosen, ("session", "delivery", "model", "tapped"),
        lambda at, b: e.ModelChosen(
            at=at, session=b[0], delivery=b[1], model=b[2], tapped=b[3]
        ),
    ),
    _Kind(22, 1, e.UserErased, (), lambda at, _: e.UserErased(at=at)),
    _Kind(
        23, 1, e.TailTrimmed, ("segment", "offset", "size"),
        lambda at, b: e.TailTrimmed(at=at, segment=b[0], offset=b[1], size=b[2]),
    ),
    _Kind(
        24, 1, e.TimeoutBudgetSet, ("size", "ceiling", "timeouts"),
        lambda at, b: e.TimeoutBudgetSet(at=at, size=b[0], ceiling=b[1], timeouts=b[2]),
    ),
    _Kind(
        25, 1, e.SessionResumed, ("session", "ttl_s"),
        lambda at, b: e.SessionResumed(at=at, session=b[0], ttl_s=b[1]),
    ),
    _Kind(
        26, 1, e.MessageHeld, ("delivery", "sealed", "tapped"),
        lambda at, b: e.MessageHeld(at=at, delivery=b[0], sealed=b[1], tapped=b[2]),
        ("sealed",),
    ),
    _Kind(
        27, 1, e.MessagesUnanswered, ("count",),
        lambda at, b: e.MessagesUnanswered(at=at, count=b[0]),
    ),
)  # fmt: skip


def _getter(fields: tuple[str, ...]) -> Callable[[e.Event], Body]:
    match fields:
        case ():
            return lambda _: ()
        case (name,):
            value = attrgetter(name)
            return lambda event: (value(event),)
        case _:
            return attrgetter(*fields)


class _Encoding(NamedTuple):
    tag: int
    version: int
    body: Callable[[e.Event], Body]
    personal: tuple[int, ...]


class _Decoding(NamedTuple):
    version: int
    build: Callable[[float, Body], e.Event]
    personal: tuple[int, ...]


def _indices(kind: _Kind) -> tuple[int, ...]:
    return tuple(kind.fields.index(name) for name in kind.personal)


_ENCODE = {
    kind.event: _Encoding(
        kind.tag,
        kind.version,
        _getter(kind.fields),
        _indices(kind),
    )
    for kind in _KINDS
}
_DECODE = {kind.tag: _Decoding(kind.version, kind.build, _indices(kind)) for kind in _KINDS}

_UNKNOWN = {
    (kind.tag, kind.fields.index(name)): b""
    for kind in _KINDS
    for name in ("link", "sealed")
    if name in kind.fields
}
"""What stands for a personal field that cannot be read, where it is no text."""

KINDS: tuple[str, ...] = tuple(kind.event.__name__ for kind in _KINDS)
"""The names of all events, as JSON and the command line have them."""

PERSONAL = {kind.event.__name__: kind.personal for kind in _KINDS}
"""What of each kind's fields is encrypted."""

TAGS = {kind.event: kind.tag for kind in _KINDS}
VERSIONS = {kind.tag: kind.version for kind in _KINDS}


class Unencodable(WxgptError):
    """an event has a value that the log cannot hold"""


def encode(key: UserKey, previous: int, event: e.Event) -> Entry:
    """Return the array that stands for `event` in a frame.

    Raises:
        Unencodable: a value is none that msgpack has bytes for.
    """
    return _entry(key.reference, key, previous, event)


def encode_hidden(record: Recorded) -> Entry:
    """Return the array for an event whose user is erased, as far as it is known."""
    return _entry(record.user.openid, None, record.previous, record.event)


def erasure(reference: str, previous: int, at: float) -> Entry:
    """Return the entry that says that a user is erased whose key is not to be had."""
    return _entry(reference, None, previous, e.UserErased(at=at))


def _entry(reference: str, key: UserKey | None, previous: int, event: e.Event) -> Entry:
    kind = _ENCODE[type(event)]
    body = kind.body(event)
    sealed = b""
    if key is not None and kind.personal and (said := [body[i] for i in kind.personal if body[i]]):
        sealed = key.seal(_packed(said))
        body = [
            None if value and index in kind.personal else value for index, value in enumerate(body)
        ]
    return (kind.tag, kind.version, event.at, reference, previous, _packed(body), sealed)


def _packed(value: object) -> bytes:
    """Return msgpack's bytes; lone surrogates survive, as they must in what users say."""
    try:
        packed: bytes = msgpack.packb(value, use_bin_type=True, unicode_errors="surrogatepass")
    except (OverflowError, TypeError, ValueError) as error:
        raise Unencodable(f"an event cannot be written: {error}") from error
    return packed


def pack(entries: Sequence[Entry]) -> bytes:
    """Return the bytes of `entries`, one behind the other; `join` makes a payload of them."""
    return b"".join(map(_packed, entries))


def join(count: int, packed: list[bytes]) -> bytes:
    """Return the payload of a frame: the array of `count` entries that were packed."""
    return b"".join((msgpack.Packer().pack_array_header(count), *packed))


def unpack(payload: memoryview | bytes) -> Sequence[Any]:
    """Return the entries of a frame's payload."""
    entries: Sequence[Any] = msgpack.unpackb(
        payload, use_list=False, raw=False, unicode_errors="surrogatepass"
    )
    return entries


def decode(seq: int, entry: Entry, keys: Keyring | None) -> Recorded | RecordedUnreadable:
    """Return the event that `entry` stands for, as number `seq` of the log.

    Without its key, what is personal is empty and the user is the reference: `hidden` says why.
    """
    tag, version, at, reference, previous, packed, sealed = entry
    key = keys.find(reference) if keys is not None else None
    if key is not None:
        user, hidden = key.user, Hidden.READABLE
    else:
        user, hidden = pseudonym(reference), Hidden.SEALED if keys is None else Hidden.ERASED
    known = _DECODE.get(tag)
    if known is None or version > known.version:
        return RecordedUnreadable(seq, user, previous, Unreadable(at, tag, version))
    return Recorded(seq, user, previous, event(tag, version, at, packed, sealed, key), hidden)


def event(
    tag: int, version: int, at: float, packed: bytes, sealed: bytes, key: UserKey | None
) -> e.Event:
    """Return the event that was packed, without what is personal if there is no `key`."""
    body = unpack(packed)
    known = _DECODE[tag]
    if sealed:
        said = iter(unpack(key.open(sealed)) if key is not None else ())
        body = list(body)
        for index in known.personal:
            if index < len(body) and body[index] is None:
                body[index] = next(said, _UNKNOWN.get((tag, index), ""))
    if version != known.version:
        body = upcast(tag, version, known.version, body)
    return known.build(at, body)


def decode_plain(seq: int, entry: PlainEntry) -> Recorded | RecordedUnreadable:
    """Return the event that an entry of format 1 stands for."""
    tag, version, at, account, openid, previous, body = entry
    user = User(AccountName(account), OpenId(openid))
    known = _DECODE.get(tag)
    if known is None or version > known.version:
        return RecordedUnreadable(seq, user, previous, Unreadable(at, tag, version))
    if version != known.version:
        body = upcast(tag, version, known.version, body)
    return Recorded(seq, user, previous, known.build(at, body))


def pseudonym(reference: str) -> User:
    """Return what stands for a user nobody can name (any more)."""
    return User(AccountName(reference.rpartition(":")[0]), OpenId(reference))


def require(record: Recorded | RecordedUnreadable) -> Recorded:
    """Return `record` if it can be read.

    Raises:
        UnreadableEvent: a newer version of wxgptd wrote it.
    """
    if isinstance(record, RecordedUnreadable):
        raise unreadable(record.seq, record.event.tag, record.event.version)
    return record


def unreadable(seq: int, tag: int, version: int) -> UnreadableEvent:
    """Return the error for an event that a newer version of wxgptd wrote."""
    return UnreadableEvent(
        f"event {seq} is of kind {tag} version {version}, "
        "which this version of wxgptd does not know",
        hint="a newer wxgptd wrote this log: install that version or a later one",
    )
