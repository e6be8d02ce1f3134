"""Read a log at startup: events are grouped by user, and each user is hydrated on first use.

Startup needs to know which users exist, whether the log is intact, and the data that spans users.
Folding one user's events can wait until that user or a page needs the state; most never do.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import NamedTuple

from wxgptd.domain.evolve import evolve
from wxgptd.domain.model import events as e
from wxgptd.domain.model.state import EMPTY, Inconsistent, UserState
from wxgptd.domain.model.values import DeliveryKey, LinkHash, User
from wxgptd.errors import WxgptError
from wxgptd.eventlog import codec, framing, reader, segments, state_codec
from wxgptd.eventlog import snapshot as snapshots
from wxgptd.eventlog.columns import U64
from wxgptd.eventlog.keyring import Keyring
from wxgptd.eventlog.user_key import UserKey, number_of
from wxgptd.ports.record import Capture, Loaded

_OPENS = (e.SessionOpened, e.SessionResumed, e.QuestionAsked, e.PushStarted)
_SETTLES = (
    e.SessionClosed,
    e.AnswerCompleted,
    e.AnswerFailed,
    e.PushDelivered,
    e.PushFailed,
)
_BALANCE = {
    **{codec.TAGS[kind]: 1 for kind in _OPENS},
    **{codec.TAGS[kind]: -1 for kind in _SETTLES},
}
_ERASED = codec.TAGS[e.UserErased]
_MARK = codec.TAGS[e.StandingChanged]
_NEVER = float("inf")
_UNKNOWN = 0, _NEVER


class NotEncrypted(WxgptError):
    """the log has an older format"""


class UnloadedUser:
    """One user's entry in the log. Implements `wxgptd.ports.record.Unloaded`."""

    __slots__ = ("entries", "key", "reference", "snapshot", "version")

    def __init__(self, reference: str, key: UserKey | None) -> None:
        self.reference = reference
        self.key = key
        self.snapshot: snapshots.SnapshotUser | None = None
        self.entries: list[codec.Entry] = []
        self.version = 0

    @property
    def events(self) -> int:
        """The number of events to fold."""
        return len(self.entries)

    @property
    def unsettled(self) -> bool:
        """Whether a session, a question or a push may be open."""
        balance = self.snapshot.balance if self.snapshot is not None else 0
        return balance + sum(_BALANCE.get(entry[0], 0) for entry in self.entries) != 0

    @property
    def marked(self) -> bool:
        """Whether an operator has ever changed the user's standing."""
        before = self.snapshot is not None and self.snapshot.marked
        return before or any(entry[0] == _MARK for entry in self.entries)

    @property
    def last_at(self) -> float:
        """The time of the user's newest event, in seconds since the epoch."""
        if self.entries:
            return self.entries[-1][2]
        return self.snapshot.last_at if self.snapshot is not None else 0.0

    def hydrate(self) -> UserState:
        """Fold the user's events and return the state.

        Raises:
            Inconsistent: an event cannot follow the ones before it.
            LogDamaged: the snapshot or an event cannot be decrypted or decoded.
        """
        begin = EMPTY
        try:
            if self.snapshot is not None and self.snapshot.frozen and self.key is not None:
                begin = state_codec.unpack_state(self.key.open(self.snapshot.frozen))
            return reduce(evolve, (codec.event(entry, self.key) for entry in self.entries), begin)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise reader.LogDamaged(
                f"the events of user {self.reference} cannot be read: {error}",
                hint="`wxgpt log verify` locates the damage, `wxgpt log repair` removes it",
            ) from error

    def frozen(self, capture: Capture) -> snapshots.SnapshotUser:
        """Return the user's entry for a new snapshot; reuse the last one if nothing has changed."""
        assert self.key is not None
        snapshot, before = self.snapshot, capture.keep_since
        if snapshot is not None and not self.entries and not 0 < snapshot.oldest_at < before:
            return snapshot
        state = self.hydrate().trimmed(before)
        return snapshots.of_state(self.key, state, capture.links_since)._replace(
            last_at=self.last_at
        )

    def links(self) -> Iterator[tuple[User, LinkHash, DeliveryKey, float]]:
        """Yield the links in the snapshot."""
        if self.snapshot is not None and self.snapshot.links and self.key is not None:
            for link, question, at in codec.unpack(self.key.open(self.snapshot.links)):
                yield self.key.user, link, question, at


class Index:
    """Events grouped by user."""

    def __init__(self, keys: Keyring, since: Mapping[type[e.Event], float]) -> None:
        self._keys = keys
        from_times = {codec.TAGS[kind]: at for kind, at in since.items()}
        from_times[_ERASED] = 0.0
        self._since = {
            tag: (version, from_times.get(tag, _NEVER)) for tag, version in codec.VERSIONS.items()
        }
        self._users: dict[str, UnloadedUser] = {}
        self._recent: list[tuple[UnloadedUser, e.Event]] = []
        self.erased: set[str] = set()

    @property
    def numbers(self) -> array[int]:
        """The sorted numbers of all users' references."""
        return array(U64, sorted(map(number_of, self._users)))

    @property
    def recent(self) -> list[tuple[User, e.Event]]:
        """The requested events; erased users appear as pseudonyms."""
        return [
            (
                unloaded.key.user
                if unloaded.key is not None and unloaded.reference not in self.erased
                else codec.pseudonym(unloaded.reference),
                event,
            )
            for unloaded, event in self._recent
        ]

    def begin_with(self, snapshot: snapshots.Snapshot) -> None:
        """Start with the users of a snapshot."""
        for user in snapshot.users:
            unloaded = self._add_user(user.reference)
            unloaded.version, unloaded.snapshot = user.version, user

    def take(self, first_seq: int, entries: Sequence[codec.Entry], after: int = 0) -> None:
        """Add the events of a commit group that come after number `after`.

        Raises:
            UnreadableEvent: a newer wxgptd wrote an event.
            Inconsistent: an event is out of sequence for its user.
        """
        if first_seq <= after:
            entries = entries[after + 1 - first_seq :]
            first_seq = after + 1
        users, since = self._users, self._since
        for entry in entries:  # runs millions of times: most of startup is spent here
            tag, version, at, reference, previous, _, _ = entry
            unloaded = users.get(reference) or self._add_user(reference)
            if previous != unloaded.version:
                seq = first_seq + entries.index(entry)
                raise Inconsistent(
                    f"event {seq} expects version {previous} of its user, "
                    f"but the user is at version {unloaded.version}"
                )
            unloaded.version = previous + 1
            unloaded.entries.append(entry)
            newest, from_at = since.get(tag, _UNKNOWN)
            if version > newest:
                raise codec.unreadable(first_seq + entries.index(entry), tag, version)
            if at >= from_at:
                self._note_event(unloaded, entry)

    def _add_user(self, reference: str) -> UnloadedUser:
        unloaded = self._users[reference] = UnloadedUser(reference, self._keys.find(reference))
        return unloaded

    def _note_event(self, unloaded: UnloadedUser, entry: codec.Entry) -> None:
        if entry[0] == _ERASED:
            self.erased.add(unloaded.reference)
        else:
            self._recent.append((unloaded, codec.event(entry, unloaded.key)))

    def users(self) -> Mapping[User, UnloadedUser]:
        """Return the users who have not been erased.

        Raises:
            LogDamaged: the keys of users who were never erased are missing.
        """
        for unloaded in self._users.values():
            if unloaded.key is None and unloaded.reference not in self.erased:
                self._keys.refresh()  # the file may be newer than our copy
                unloaded.key = self._keys.find(unloaded.reference)
        users = {
            unloaded.key.user: unloaded
            for reference, unloaded in self._users.items()
            if unloaded.key is not None and reference not in self.erased
        }
        missing = len(self._users) - len(self.erased) - len(users)
        if missing:
            raise reader.LogDamaged(
                f"the keys of {missing} user{'s' if missing > 1 else ''} are not in the keyring, "
                f"{self._keys.path.parent.name}/{self._keys.path.name}",
                hint="restore that file from a backup; without one, `wxgpt log repair` "
                "marks these users as erased",
            )
        return users


class Found(NamedTuple):
    """The result of reading a log.

    `erased` holds the references of erased users whose keys have yet to be deleted, `numbers` the
    sorted numbers of all users' references, and `unreadable` the damaged snapshots.
    """

    loaded: Loaded
    erased: Sequence[str]
    numbers: array[int]
    unreadable: Collection[Path]


def load(
    directory: Path,
    keys: Keyring,
    since: Mapping[type[e.Event], float],
    *,
    everything: bool = False,
) -> Found:
    """Read the log in `directory`: the newest snapshot and the events after it.

    If `everything`, read all events, starting from the oldest snapshot that they need, if any.

    `since` maps each kind of event that `recent` should contain to the time to start from.

    Raises:
        LogDamaged: the log is damaged.
        UnreadableEvent: a newer wxgptd wrote an event.
        Inconsistent: an event is out of sequence for its user.
    """
    choose = _first_needed if everything else snapshots.newest
    snapshot, skipped = choose(directory, keys)
    index = Index(keys, since)
    if snapshot is not None:
        index.begin_with(snapshot)
    covered = snapshot.last_seq if snapshot is not None else 0
    last_seq = _read(directory, index, covered)
    users = index.users()
    loaded = Loaded(
        last_seq=last_seq,
        users=users,
        recent=index.recent,
        links=[link for user in users.values() for link in user.links()],
        notes=snapshot.notes if snapshot is not None else {},
        snapshot_seq=covered,
        skipped=[f"{path.name}: {why}" for path, why in skipped.items()],
    )
    undeleted = [reference for reference in index.erased if keys.find(reference) is not None]
    return Found(loaded, undeleted, index.numbers, skipped.keys())


def _first_needed(directory: Path, keys: Keyring) -> snapshots.Newest:
    """Return the oldest snapshot needed to read all events; none if the log begins with event 1."""
    paths = segments.list_segments(directory)
    first = segments.first_seq_of(paths[0]) if paths else 1
    skipped: dict[Path, str] = {}
    for path in segments.list_snapshots(directory) if first > 1 else ():
        if segments.last_seq_of(path) >= first - 1:
            try:
                return snapshots.Newest(snapshots.read(path, keys), skipped)
            except (OSError, ValueError, TypeError) as error:
                skipped[path] = str(error)
    return snapshots.Newest(None, skipped)


def _read(directory: Path, index: Index, after: int) -> int:
    """Add the events after number `after` to `index`; return the number of the last one."""
    paths = segments.list_segments(directory)
    due: int | None = None
    for number, path in enumerate(paths):
        last = number == len(paths) - 1
        if not last and segments.first_seq_of(paths[number + 1]) <= after + 1:
            continue
        first, expected = segments.first_seq_of(path), after + 1 if due is None else due
        if first > expected or (due is not None and first != due):
            raise reader.damaged(path, 0, f"event {expected} expected, {first} found")
        due = _read_segment(path, index, after, last=last)
    if (due or 1) <= after:
        raise reader.LogDamaged(
            f"the log in {directory} ends with event {(due or 1) - 1}, "
            f"but there is a snapshot of event {after}",
            hint="segments are missing: restore them, or a backup; without either, "
            "`wxgpt log repair` continues from the snapshot",
        )
    return (due or 1) - 1


def _read_segment(path: Path, index: Index, after: int, *, last: bool) -> int:
    with reader.mapped(path) as data:
        header = reader.read_header(path, data, last=last)
        if header is None:
            return segments.first_seq_of(path)
        if header.version == framing.PLAIN_VERSION:
            raise NotEncrypted(
                f"the log in {path.parent} has an older format without encryption",
                hint="start this version of wxgptd once, which encrypts it; to keep the old log, "
                "stop the daemon and copy the state directory first",
            )
        walk = framing.Walk(data, header)
        for frame in walk:
            if frame.first_seq + frame.count > after + 1:
                try:
                    index.take(frame.first_seq, reader.entries_of(path, header, frame), after)
                except (ValueError, TypeError, LookupError, AttributeError) as error:
                    raise reader.unreadable(path, frame, error) from error
        return reader.require_tail(path, walk.tail, last=last)


def states(snapshot: snapshots.Snapshot, keys: Keyring) -> dict[str, UserState]:
    """Return the states in a snapshot by reference; if the key is lost, only the version."""
    by_reference = {}
    for user in snapshot.users:
        key = keys.find(user.reference)
        by_reference[user.reference] = (
            state_codec.unpack_state(key.open(user.frozen))
            if key is not None and user.frozen
            else EMPTY._replace(version=user.version)
        )
    return by_reference


def frozen(
    hydrated: Sequence[tuple[UserKey, UserState]], capture: Capture, keys: Keyring
) -> Iterator[snapshots.SnapshotUser]:
    """Yield the users for a snapshot of `capture`.

    Users who have been erased since it was taken are included without their state, because the
    erasure, which follows in the log, refers to them.
    """
    for key, state in hydrated:
        if keys.find(key.reference) is None:
            yield snapshots.of_erased(key.reference, state.version)
        else:
            yield snapshots.of_state(key, state.trimmed(capture.keep_since), capture.links_since)
    for unloaded in capture.unloaded.values():
        assert isinstance(unloaded, UnloadedUser)
        if keys.find(unloaded.reference) is None:
            yield snapshots.of_erased(unloaded.reference, unloaded.version)
        else:
            yield unloaded.frozen(capture)
