"""Convert events to msgpack arrays and back.

A tag is permanent: it is never reused for another event. An event's body is its fields in the order
in which its class declares them, without `at`, which is in the entry. Changing them makes a new
version of the tag, and `upcast` converts older bodies to it, so that the rest of the program only
knows the newest shape. A personal field has the same position in every version, since it is
decrypted before `upcast`. `formats` converts the entries of earlier formats to the current one.

What users and models say is *personal* and is encrypted with the user's key, as are the hashes of
links, which are derived from the user's identity. The rest of a body is not encrypted, so that an
event still counts after its key has been deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from enum import StrEnum
from operator import attrgetter
from typing import Any, NamedTuple, get_type_hints

import msgpack

from wxgptd.domain.model import events as e
from wxgptd.domain.model.values import (
    NO_SESSION,
    AccountName,
    AnswerUsage,
    DeliveryKey,
    OpenId,
    SessionId,
    User,
)
from wxgptd.errors import WxgptError
from wxgptd.eventlog.keyring import Keyring
from wxgptd.eventlog.packing import packed, unpack
from wxgptd.eventlog.upcast import upcast
from wxgptd.eventlog.user_key import UserKey
from wxgptd.ports.record import AnyRecord, Hidden, Recorded, RecordedUnreadable, Unreadable
from wxgptd.untyped import Packed
from wxgptd.wording import say

Entry = tuple[int, int, float, str, int, bytes, bytes]
"""Tag, version, time, the user's reference, previous, carried, sealed.

Carried is a packed array: the session, then the event's fields. Where a personal field in it is
nil, its value is the next element of the array encrypted in sealed. In an entry of format 2 the
session is nil and sealed is `UnboundSealed`.
"""


LOST = b"-"
"""Replaces the encrypted part of an event that was moved after its key was lost.

Repeated, it also replaces what was said in a deleted session, byte for byte.
"""


class UnboundSealed(bytes):
    """The encrypted part of an entry of format 2, which is not bound to its place."""


class UnreadableEvent(WxgptError):
    """the log has an event that this version of wxgptd cannot read"""

    exit_status = 5


class _Kind(NamedTuple):
    tag: int
    version: int
    event: type[e.Event]
    personal: tuple[str, ...] = ()


_KINDS = (
    _Kind(1, 1, e.SessionOpened),
    _Kind(2, 1, e.SessionClosed),
    _Kind(3, 2, e.CommandGiven),
    _Kind(4, 5, e.QuestionAsked, ("text", "link", "image")),
    _Kind(5, 2, e.ContinuationAsked),
    _Kind(6, 2, e.MessageDeclined, ("about",)),
    _Kind(7, 1, e.UserSubscribed, ("scene",)),
    _Kind(8, 1, e.UserUnsubscribed),
    _Kind(9, 1, e.AttemptRepeated),
    _Kind(10, 4, e.AnswerCompleted, ("text",)),
    _Kind(11, 4, e.AnswerFailed, ("text", "detail")),
    _Kind(12, 1, e.AnswerRestarted),
    _Kind(13, 2, e.ReplyOffered, ("about", "text")),
    _Kind(14, 1, e.HistoryLinkIssued, ("link",)),
    _Kind(15, 2, e.PageOpened),
    _Kind(16, 1, e.PushStarted),
    _Kind(17, 1, e.PushDelivered),
    _Kind(18, 1, e.PushFailed, ("detail",)),
    _Kind(19, 1, e.StandingChanged),
    _Kind(20, 1, e.ContextTrimmed),
    _Kind(21, 2, e.ModelChosen),
    _Kind(22, 1, e.UserErased),
    _Kind(23, 1, e.TailTrimmed),
    _Kind(24, 1, e.TimeoutBudgetSet),
    _Kind(25, 1, e.SessionResumed),
    _Kind(26, 1, e.MessageHeld, ("sealed",)),
    _Kind(27, 1, e.MessagesUnanswered),
    _Kind(28, 1, e.WriterAdmitted, ("cookie",)),
    _Kind(29, 1, e.ReaderSeen),
    _Kind(30, 1, e.AnswerRated, ("words",)),
    _Kind(31, 1, e.TurnsShared),
    _Kind(32, 1, e.ShareWithdrawn),
    _Kind(33, 1, e.SessionTitled, ("title",)),
    _Kind(34, 1, e.SessionDeleted),
    _Kind(35, 1, e.UserNamed, ("name",)),
)

FIELDS: Mapping[str, Mapping[str, Any]] = {  # Any: a type, or a NewType
    kind.event.__name__: {
        field.name: hints[field.name] for field in fields(kind.event) if field.name != "at"
    }
    for kind in _KINDS
    for hints in (get_type_hints(kind.event),)
}
"""The type of each field, by the names of the event kind and of the field."""


# Converting events to bodies and back. Both run millions of times.


class _Encoding(NamedTuple):
    tag: int
    version: int
    body: Callable[[e.Event], Packed]
    personal: tuple[int, ...]


class _Decoding(NamedTuple):
    version: int
    fields: int
    build: Callable[[float, Packed], e.Event]
    personal: tuple[int, ...]


def _getter(names: Sequence[str]) -> Callable[[e.Event], Packed]:
    match names:
        case []:
            return lambda _: ()
        case [name]:
            value = attrgetter(name)
            return lambda event: (value(event),)
        case _:
            return attrgetter(*names)


_AS_IS = (str, bytes, int, float, bool, bool | None, tuple[DeliveryKey, ...])
"""Types whose values msgpack returns unchanged."""


def _builder(event: type[e.Event], types: Packed) -> Callable[[float, Packed], e.Event]:
    """Return a function that builds an event from its time and its body."""
    readers = [(index, reader) for index, kind in enumerate(types) if (reader := _reader(kind))]
    if not readers:
        return lambda at, body: event(at, *body)

    def build(at: float, body: Packed) -> e.Event:
        values = list(body)
        for index, convert in readers:
            values[index] = convert(values[index])
        return event(at, *values)

    return build


def _reader(kind: Any) -> Callable[[Any], object] | None:  # noqa: ANN401 (a type, or a NewType)
    """Return the function that converts a msgpack value to a `kind`, or None if none is needed."""
    if kind is AnswerUsage:
        return AnswerUsage._make
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return {member.value: member for member in kind}.__getitem__
    assert getattr(kind, "__supertype__", kind) in _AS_IS, f"no rule for {kind}"
    return None


def _indices(kind: _Kind) -> tuple[int, ...]:
    names = list(FIELDS[kind.event.__name__])
    return tuple(names.index(name) for name in kind.personal)


_ENCODE = {
    kind.event: _Encoding(
        kind.tag, kind.version, _getter(list(FIELDS[kind.event.__name__])), _indices(kind)
    )
    for kind in _KINDS
}
_DECODE = {
    kind.tag: _Decoding(
        kind.version,
        len(FIELDS[kind.event.__name__]),
        _builder(kind.event, list(FIELDS[kind.event.__name__].values())),
        _indices(kind),
    )
    for kind in _KINDS
}

_PLACEHOLDERS = {
    (kind.tag, index): b""
    for kind in _KINDS
    for index, of in enumerate(FIELDS[kind.event.__name__].values())
    if getattr(of, "__supertype__", of) is bytes
}
"""Placeholders for unreadable personal fields that are not text."""

KINDS: tuple[str, ...] = tuple(kind.event.__name__ for kind in _KINDS)
"""The names of all event kinds, as used in JSON and on the command line."""

PERSONAL = {kind.event.__name__: kind.personal for kind in _KINDS}
"""The encrypted fields of each kind."""

TAGS = {kind.event: kind.tag for kind in _KINDS}
VERSIONS = {kind.tag: kind.version for kind in _KINDS}


# Entries.


def encode(key: UserKey, previous: int, session: SessionId, event: e.Event) -> Entry:
    """Return the entry for `event`.

    Raises:
        Unencodable: msgpack cannot represent a value.
    """
    return _entry(key.reference, key, previous, session, event)


def encode_hidden(record: Recorded) -> Entry:
    """Return the entry for an event of an erased user, without its personal fields."""
    return _entry(record.user.openid, None, record.previous, record.session, record.event)


def erasure(reference: str, previous: int, at: float) -> Entry:
    """Return the entry that records the erasure of a user whose key is lost."""
    return _entry(reference, None, previous, NO_SESSION, e.UserErased(at=at))


def _entry(
    reference: str, key: UserKey | None, previous: int, session: SessionId, event: e.Event
) -> Entry:
    tag, version, body_of, personal = _ENCODE[type(event)]
    body = body_of(event)
    sealed = b""
    if key is not None and personal and (plain := [body[i] for i in personal if body[i]]):
        sealed = key.seal(packed(plain), _associated_data(reference, previous, tag, version))
        body = list(body)
        for index in personal:
            body[index] = body[index] and None
    return (tag, version, event.at, reference, previous, packed((session, *body)), sealed)


def moved(entry: Entry, previous: int, session: SessionId, key: UserKey | None) -> Entry:
    """Return `entry` as its user's event number `previous`, in `session`, in the current format.

    The encrypted part is bound to its place, so it is re-encrypted. Without the key this is
    impossible, so it is replaced with `LOST`: otherwise it would count as damage if the key were
    found again.
    """
    tag, version, at, reference, before, carried, sealed = entry
    in_session, *body = unpack(carried)
    if (previous, session) == (before, in_session):
        return entry
    if sealed:
        sealed = LOST
        if key is not None and not is_lost(entry[-1]):
            sealed = key.seal(
                _decrypt(entry, key), _associated_data(reference, previous, tag, version)
            )
    return tag, version, at, reference, previous, packed((session, *body)), sealed


def is_lost(sealed: bytes) -> bool:
    """Return whether the encrypted part of an event has been replaced: its contents are gone."""
    return sealed[:1] == LOST and not sealed.strip(LOST)


def _associated_data(reference: str, previous: int, tag: int, version: int) -> bytes:
    """Return the associated data that binds an event's encrypted part to its place."""
    return f"{reference}:{previous}:{tag}:{version}".encode("utf-8", "surrogatepass")


def _decrypt(entry: Entry, key: UserKey) -> bytes:
    tag, version, _, reference, previous, _, sealed = entry
    # The segment's format decides, not the entry itself, which could have been modified.
    is_bound = not isinstance(sealed, UnboundSealed)
    return key.open(
        sealed, _associated_data(reference, previous, tag, version) if is_bound else None
    )


def pack(entries: Sequence[Entry]) -> bytes:
    """Return `entries`, packed and concatenated; `join` turns them into a payload."""
    return packed(entries[0]) if len(entries) == 1 else b"".join(map(packed, entries))


def join(count: int, packed: list[bytes]) -> bytes:
    """Return the payload of a frame: an array of `count` packed entries."""
    return b"".join((msgpack.Packer().pack_array_header(count), *packed))


def decode(seq: int, entry: Entry, keys: Keyring | None) -> AnyRecord:
    """Return the event in `entry`, which is number `seq` in the log.

    Without the user's key, personal fields are empty and the user is a pseudonym; `hidden` gives
    the reason.
    """
    tag, version, at, reference, previous, carried, _ = entry
    key = keys.find(reference) if keys is not None else None
    if key is not None:
        user, hidden = key.user, Hidden.READABLE
    else:
        user, hidden = pseudonym(reference), Hidden.SEALED if keys is None else Hidden.ERASED
    if not is_known(tag, version):
        session = unpack(carried)[0] or NO_SESSION
        return RecordedUnreadable(seq, user, session, previous, Unreadable(at, tag, version))
    try:
        session, decoded = _read(entry, key)
    except KeyError as error:
        raise ValueError(f"event {seq} has an unknown value: {error}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"event {seq} {error}") from error
    return Recorded(seq, user, session or NO_SESSION, previous, decoded, hidden)


def event(entry: Entry, key: UserKey | None) -> e.Event:
    """Return the event in `entry`, with empty personal fields if there is no `key`.

    Raises:
        ValueError: the encrypted part is not the one that this entry was written with.
    """
    return _read(entry, key)[1]


def _read(entry: Entry, key: UserKey | None) -> tuple[SessionId | None, e.Event]:
    tag, version, at, _, _, carried, sealed = entry
    session, *body = unpack(carried)
    if session is None and not isinstance(sealed, UnboundSealed):
        raise ValueError("does not name its session")
    missing = [index for index in _DECODE[tag].personal if body[index : index + 1] == [None]]
    if bool(missing) != bool(sealed):
        raise ValueError("is inconsistent: its personal fields and encrypted part do not match")
    if missing:
        _fill(entry, key, body, missing)
    return session, build(tag, version, at, body)


def _fill(entry: Entry, key: UserKey | None, body: list[object], missing: list[int]) -> None:
    """Fill in the decrypted values, or placeholders if there is no key."""
    if key is None or is_lost(entry[-1]):
        personal: Packed = [_PLACEHOLDERS.get((entry[0], index), "") for index in missing]
    else:
        personal = unpack(_decrypt(entry, key))
    for index, value in zip(missing, personal, strict=True):
        body[index] = value


def build(tag: int, version: int, at: float, body: Packed) -> e.Event:
    """Return the event of kind `tag` with that `body`."""
    decoding = _DECODE[tag]
    if version != decoding.version:
        body = upcast(tag, version, decoding.version, body)
    if len(body) != decoding.fields:
        raise ValueError(f"has {len(body)} fields, not {decoding.fields}")
    return decoding.build(at, body)


def is_known(tag: int, version: int) -> bool:
    """Return whether this version of wxgptd can read events of that kind and version."""
    return version <= VERSIONS.get(tag, 0)


def pseudonym(reference: str) -> User:
    """Return the pseudonym of a user whose identity cannot be read."""
    return User(AccountName(reference.rpartition(":")[0]), OpenId(reference))


def require(record: AnyRecord) -> Recorded:
    """Return `record`; raise UnreadableEvent if a newer version of wxgptd wrote it."""
    if isinstance(record, RecordedUnreadable):
        raise unreadable(record.seq, record.event.tag, record.event.version)
    return record


def unreadable(seq: int, tag: int, version: int) -> UnreadableEvent:
    """Return the error for an event that a newer version of wxgptd wrote."""
    return UnreadableEvent(
        say(
            "event {seq} has kind {tag}, version {version}, which this wxgptd cannot read",
            seq=seq,
            tag=tag,
            version=version,
        ),
        hint=say("a newer wxgptd wrote this log: install that version or a later one"),
    )
