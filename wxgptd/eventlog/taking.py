"""Check a commit group that another machine committed, before it becomes part of the log here.

What comes over a network is not trusted: only what a start could read is taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from wxgptd.domain.model import events as e
from wxgptd.domain.model.values import User
from wxgptd.errors import WxgptError
from wxgptd.eventlog import codec, early_erasures, packing, reader
from wxgptd.eventlog.commit_groups import TakenGroup
from wxgptd.eventlog.following import FrameFollower
from wxgptd.eventlog.keyring import Keyring
from wxgptd.eventlog.loading import Index
from wxgptd.eventlog.user_key import UserKey, number_of
from wxgptd.ports.appending import Group
from wxgptd.wording import say

ERASED = codec.TAGS[e.UserErased]

_REFERENCE = re.compile(r"[^\x00-\x1f]{0,128}:[0-9a-f]{16}|")


class CannotTake(WxgptError):
    """what came from the other machine cannot be read"""


def entries_of(first_seq: int, events: int, payload: bytes) -> Sequence[codec.Entry]:
    """Return the entries of a commit group with so many events.

    Raises:
        CannotTake: it is not a commit group.
    """
    try:
        entries = packing.unpack(payload)
        if len(entries) != events or not all(map(_is_entry, entries)):
            raise ValueError("it is not a commit group")
    except (ValueError, TypeError) as error:
        raise CannotTake(
            say("event {first_seq} cannot be read: {error}", first_seq=first_seq, error=error)
        ) from error
    return entries


def index(reading: Index, first_seq: int, entries: Sequence[codec.Entry]) -> None:
    """Add the entries of a commit group to the table of users.

    Raises:
        CannotTake: the log could not be read with them.
    """
    try:
        reading.take(first_seq, entries)
    except (ValueError, TypeError, LookupError, AttributeError, WxgptError) as error:
        raise CannotTake(
            say("event {first_seq} cannot be read: {error}", first_seq=first_seq, error=error)
        ) from error


def adopt(keys: Keyring, records: Iterable[bytes]) -> list[UserKey]:
    """Add the keys in the records of another keyring; return those that were not known.

    Raises:
        CannotTake: a record is damaged, or from another master key.
    """
    added: list[UserKey] = []
    for record in records:
        try:
            added += filter(None, [keys.adopt(record)])
        except (ValueError, TypeError, WxgptError) as error:
            raise CannotTake(say("a key cannot be read: {error}", error=error)) from error
    return added


class Taking:
    """Takes commit groups that continue a log, whose table of users is `reading`."""

    def __init__(self, reading: Index, keys: Keyring) -> None:
        self._reading = reading
        self._keys = keys
        self._new_keys: list[UserKey] = []
        self._entries: Sequence[codec.Entry] = ()

    def decode(self, group: Group, keys: Mapping[str, bytes]) -> Sequence[tuple[User, e.Event]]:
        """Return the events in `group`; those of users without a key are left out.

        `keys` has the records of keys by reference. A user whose key is missing has been erased by
        an event that is still to come.

        Raises:
            CannotTake: something in it cannot be read.
        """
        self._entries = entries_of(group.first_seq, group.events, group.payload)
        self._new_keys += adopt(self._keys, keys.values())
        return list(self._decoded(group.first_seq))

    def _decoded(self, first_seq: int) -> Iterator[tuple[User, e.Event]]:
        missing: list[str] = []
        for seq, entry in enumerate(self._entries, first_seq):
            key = self._keys.numbered(number_of(entry[3]))
            if key is None:
                missing += [] if entry[0] == ERASED else [entry[3]]
                continue
            if entry[1] > codec.VERSIONS.get(entry[0], 0):
                raise codec.unreadable(seq, entry[0], entry[1])
            try:
                yield key.user, codec.event(entry, key)
            except (ValueError, TypeError, LookupError, AttributeError) as error:
                raise CannotTake(
                    say("event {seq} cannot be read: {error}", seq=seq, error=error)
                ) from error
        path = self._keys.path
        known = dict.fromkeys(early_erasures.read(path)) if missing else {}
        if not known.keys() >= set(missing):
            early_erasures.write(path, {**known, **dict.fromkeys(missing)})

    def take(self, group: Group) -> TakenGroup:
        """Index `group`, which was decoded last, and return it for the log's writer.

        Raises:
            CannotTake: the log could not be read with it.
        """
        index(self._reading, group.first_seq, self._entries)
        erased = erased_in(self._entries)
        for reference in erased:
            if (key := self._keys.find(reference)) is not None:
                self._keys.forget(key)
        new_keys, self._new_keys = self._new_keys, []
        return TakenGroup(group.first_seq, group.events, group.payload, new_keys, erased)


def is_same(group: Group, directory: Path) -> bool:
    """Return whether the last events of the log in `directory` are those in `group`.

    Only what is not encrypted is compared: the words of deleted sessions are gone from the log. So
    are the events that retention has dropped, which then count as the same.
    """
    theirs = entries_of(group.first_seq, group.events, group.payload)
    for path, header, frame in FrameFollower(directory, group.first_seq - 1).poll():
        if frame.first_seq > group.first_seq:
            return True
        if frame.first_seq + frame.count <= group.first_seq:
            continue
        ours = reader.entries_of(path, header, frame)
        pairs = zip(ours, theirs, strict=False)
        is_aligned = (frame.first_seq, frame.count) == (group.first_seq, group.events)
        return is_aligned and all(mine[:5] == other[:5] for mine, other in pairs)
    return True


def unknown(group: Group, keys: Keyring) -> list[str]:
    """Return the references in `group` that have no key.

    Raises:
        CannotTake: it is not a commit group.
    """
    entries = entries_of(group.first_seq, group.events, group.payload)
    references = dict.fromkeys(entry[3] for entry in entries)
    return [each for each in references if each and keys.numbered(number_of(each)) is None]


def erased_in(entries: Iterable[codec.Entry]) -> tuple[str, ...]:
    """Return the references of the users that a commit group erases."""
    return tuple(entry[3] for entry in entries if entry[0] == ERASED)


def _is_entry(entry: object) -> bool:
    """Return whether an array in a payload has an entry's shape; what is in it is checked later."""
    match entry:
        case (int(), int(), float() | int(), str() as reference, int(), bytes(), bytes()):
            return _REFERENCE.fullmatch(reference) is not None
        case _:
            return False
