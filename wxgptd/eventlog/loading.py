"""Read a log at startup: the newest snapshot's columns, and every event after it.

Startup needs to know which users exist, whether the log is intact, who has something open, and the
data that spans users. A user's state is read when it is needed; most never are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from wxgptd.domain.model import events as e
from wxgptd.domain.model.state import EMPTY, Inconsistent, UserState
from wxgptd.domain.model.values import User
from wxgptd.errors import WxgptError
from wxgptd.eventlog import codec, early_erasures, framing, reader, segments, state_codec
from wxgptd.eventlog import snapshot as snapshots
from wxgptd.eventlog.keyring import Keyring
from wxgptd.eventlog.positions import VERSION_BITS, VERSION_MASK, Place
from wxgptd.eventlog.user_key import number_of
from wxgptd.eventlog.users import Users
from wxgptd.ports.record import Loaded
from wxgptd.wording import say, say_number

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
_COMPLETED = codec.TAGS[e.AnswerCompleted]
_SHOWN = frozenset(
    codec.TAGS[kind] for kind in (e.ReplyOffered, e.PageOpened, e.PushStarted, e.UserErased)
)
_ERASED = codec.TAGS[e.UserErased]
_MARKS = frozenset({codec.TAGS[e.StandingChanged], codec.TAGS[e.UserNamed]})
_NEVER = float("inf")
_UNKNOWN = 0, _NEVER, 0

UNSEEN_S = 60.0
UNSEEN_EVENTS = 10_000
"""An answer that was completed in the log's last minute, and among its last events, may still have
to be pushed."""


class NotEncrypted(WxgptError):
    """the log has an older format"""


class Index:
    """Builds the table of users, event by event. `recent` collects the requested events."""

    def __init__(
        self,
        directory: Path,
        keys: Keyring,
        snapshot: snapshots.Snapshot | None,
        since: Mapping[type[e.Event], float],
    ) -> None:
        self._keys = keys
        self.users = Users(directory, keys, snapshot)
        self._balances = dict(snapshot.balances) if snapshot is not None else {}
        self._request(since)

    def _request(self, since: Mapping[type[e.Event], float]) -> None:
        self._recent: list[tuple[str, e.Event]] = []
        from_times = {codec.TAGS[kind]: at for kind, at in since.items()}
        self._requested = dict(from_times)
        from_times |= dict.fromkeys((_ERASED, *_MARKS), 0.0)
        self._kinds = {
            tag: (version, from_times.get(tag, _NEVER), _BALANCE.get(tag, 0))
            for tag, version in codec.VERSIONS.items()
        }

    def follow(self) -> None:
        """Collect no recent events from now on, and forget those that were collected."""
        self._request({})

    def take(self, first_seq: int, entries: Sequence[codec.Entry], after: int = 0) -> None:
        """Add the events of a commit group that come after number `after`.

        Raises:
            UnreadableEvent: a newer wxgptd wrote an event.
            Inconsistent: an event is out of sequence for its user.
        """
        if first_seq <= after:
            entries = entries[after + 1 - first_seq :]
            first_seq = after + 1
        kinds, balances, generation = self._kinds, self._balances, self.users.newest_generation
        last, back, is_frozen = generation.last, generation.back, generation.is_frozen
        seq = first_seq
        for entry in entries:  # runs millions of times: most of startup is spent here
            tag, version, at, reference, previous, _, _ = entry
            number = int(reference[-16:], 16)
            was = last.get(number)
            if was is None:
                known = self.users.version(number)
                back.append(generation.gap(number, seq) if is_frozen else 0)
            else:
                known = was & VERSION_MASK
                back.append(seq - (was >> VERSION_BITS))
            if previous != known:
                raise Inconsistent(
                    say(
                        "event {seq} expects version {previous} of its user, but the user is at "
                        "version {known}",
                        seq=seq,
                        previous=previous,
                        known=known,
                    )
                )
            last[number] = seq << VERSION_BITS | (previous + 1)
            newest, from_at, balance = kinds.get(tag, _UNKNOWN)
            if version > newest:
                raise codec.unreadable(seq, tag, version)
            if balance:
                count = balances.get(number, 0) + balance
                if count:
                    balances[number] = count
                else:
                    del balances[number]
            if at >= from_at:
                self._note(entry, number)
            seq += 1

    def _note(self, entry: codec.Entry, number: int) -> None:
        tag, at = entry[0], entry[2]
        if tag in _MARKS:
            self.users.marked.add(number)
        elif tag == _ERASED:
            self.users.erased.add(number)
            self.users.marked.discard(number)
            self._balances.pop(number, None)
        if at >= self._requested.get(tag, _NEVER):
            key = self._keys.numbered(number)
            self._recent.append((entry[3], codec.event(entry, key)))

    @property
    def recent(self) -> list[tuple[User, e.Event]]:
        """The requested events; erased users appear as pseudonyms."""
        return [(self._user(reference), event) for reference, event in self._recent]

    def _user(self, reference: str) -> User:
        number = number_of(reference)
        key = self._keys.numbered(number) if number not in self.users.erased else None
        return key.user if key is not None else codec.pseudonym(reference)

    def open_users(self) -> list[User]:
        """Return the users with a session, a question, a push or an unseen answer."""
        keys = map(self._keys.numbered, {*self._balances, *self._unseen()})
        return [key.user for key in keys if key is not None]

    def _unseen(self) -> Iterator[int]:
        """Yield the users whose answer was completed at the very end, and not shown since."""
        shown: set[int] = set()
        last_at = 0.0
        for entry in self.users.newest_entries(UNSEEN_EVENTS):
            tag, _, at, reference, *_ = entry
            last_at = last_at or at
            if at < last_at - UNSEEN_S:
                return
            number = number_of(reference)
            if tag in _SHOWN:
                shown.add(number)
            elif tag == _COMPLETED and number not in shown:
                yield number

    def require_keys(self) -> None:
        """Check that every user who was not erased has a key.

        Raises:
            LogDamaged: some are missing.
        """
        numbers = self.users.numbers()
        erased = self.users.erased | set(map(number_of, early_erasures.read(self._keys.path)))
        missing = self._keys.missing(numbers) - erased
        if missing and self._keys.refresh():  # the file may be newer than our copy
            missing = self._keys.missing(numbers) - erased
        if missing:
            raise reader.LogDamaged(
                say_number(
                    len(missing),
                    "the key of a user is not in the keyring, {name}/{file}",
                    "the keys of {n} users are not in the keyring, {name}/{file}",
                    name=self._keys.path.parent.name,
                    file=self._keys.path.name,
                ),
                hint=say(
                    "restore that file from a backup; without one, `wxgpt log repair` marks "
                    "these users as erased"
                ),
            )


class Found(NamedTuple):
    """The result of reading a log.

    `reading` can take the events that follow. `erased` holds the references of erased users whose
    keys have yet to be deleted, and `unreadable` the damaged snapshots.
    """

    loaded: Loaded
    users: Users
    reading: Index
    erased: Sequence[str]
    unreadable: Collection[Path]


def load(
    directory: Path,
    keys: Keyring,
    since: Mapping[type[e.Event], float],
    *,
    everything: bool = False,
    until: int | None = None,
    quickly: bool = False,
) -> Found:
    """Read the log in `directory`: the newest snapshot and the events after it.

    If `everything`, read all events, starting from the oldest snapshot that they need, if any. If
    `until`, ignore the events after that number, and whatever follows in the segments. If
    `quickly`, only the columns of a large snapshot are checked.

    `since` maps each kind of event that `recent` should contain to the time to start from.

    Raises:
        LogDamaged: the log is damaged.
        UnreadableEvent: a newer wxgptd wrote an event.
        Inconsistent: an event is out of sequence for its user.
    """
    snapshot, skipped = (
        _first_needed(directory, keys)
        if everything
        else snapshots.newest(directory, keys, quickly=quickly)
    )
    index = Index(directory, keys, snapshot, since)
    covered = snapshot.last_seq if snapshot is not None else 0
    last_seq = _read(directory, index, covered, until)
    if until is None:  # the key of a user who was erased after that event may be gone
        index.require_keys()
    users = index.users
    users.newest_generation.freeze()
    wants_links = e.HistoryLinkIssued in since
    loaded = Loaded(
        last_seq=last_seq,
        users=users,
        open=index.open_users(),
        recent=index.recent,
        links=list(users.links()) if wants_links else [],
        notes=snapshot.notes if snapshot is not None else {},
        snapshot_seq=covered,
        skipped=[f"{path.name}: {why}" for path, why in skipped.items()],
    )
    undeleted = [key for number in users.erased if (key := keys.numbered(number)) is not None]
    return Found(loaded, users, index, [key.reference for key in undeleted], skipped.keys())


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


def _read(directory: Path, index: Index, after: int, until: int | None) -> int:
    """Add the events after number `after` to `index`; return the number of the last one."""
    if until is not None and until <= after:
        return after
    paths = segments.list_segments(directory)
    due: int | None = None
    for number, path in enumerate(paths):
        last = number == len(paths) - 1
        if not last and segments.first_seq_of(paths[number + 1]) <= after + 1:
            continue
        first, expected = segments.first_seq_of(path), after + 1 if due is None else due
        if until is not None and first > until:
            break
        if first > expected or (due is not None and first != due):
            raise reader.damaged(path, 0, f"event {expected} expected, {first} found")
        due = _read_segment(path, index, after, until, last=last)
    if (due or 1) <= after:
        raise reader.LogDamaged(
            say(
                "the log in {directory} ends with event {due}, but there is a snapshot of "
                "event {after}",
                directory=directory,
                due=(due or 1) - 1,
                after=after,
            ),
            hint=say(
                "segments are missing: restore them, or a backup; without either, `wxgpt log "
                "repair` continues from the snapshot"
            ),
        )
    return (due or 1) - 1


def _read_segment(path: Path, index: Index, after: int, until: int | None, *, last: bool) -> int:
    with reader.mapped(path) as data:
        header = reader.read_header(path, data, last=last)
        if header is None:
            return segments.first_seq_of(path)
        if header.version == framing.PLAIN_VERSION:
            raise NotEncrypted(
                say(
                    "the log in {directory} has an older format without encryption",
                    directory=path.parent,
                ),
                hint=say(
                    "start this version of wxgptd once, which encrypts it; to keep the old log, "
                    "stop the daemon and copy the state directory first"
                ),
            )
        walk = framing.Walk(data, header)
        begin = framing.HEADER_BYTES
        for frame in walk:
            if until is not None and frame.first_seq > until:
                return until + 1
            if frame.first_seq + frame.count > after + 1:
                index.users.note_frame(Place(frame.first_seq, header.first_seq, begin))
                entries = reader.entries_of(path, header, frame)
                if until is not None:
                    entries = entries[: until + 1 - frame.first_seq]
                try:
                    index.take(frame.first_seq, entries, after)
                except (ValueError, TypeError, LookupError, AttributeError) as error:
                    raise reader.unreadable(path, frame, error) from error
            begin = frame.end
        next_seq = reader.require_tail(path, walk.tail, last=last)
        return next_seq if until is None else min(next_seq, until + 1)


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


def require_states(found: Found, keys: Keyring) -> None:
    """Check that the state of every user can be read.

    Raises:
        Inconsistent: an event cannot follow the ones before it.
        LogDamaged: the snapshot or an event cannot be read, decrypted or decoded.
    """
    for error in damaged_states(found, keys):
        raise error


def damaged_states(found: Found, keys: Keyring) -> Iterator[WxgptError]:
    """Read the state of every user, and yield what is wrong."""
    users = found.users
    for number in users.numbers():
        key = keys.numbered(number) if number not in users.erased else None
        try:
            if key is not None:
                users.state(key)
        except WxgptError as error:
            yield error
    users.close()
