"""The users of a log: who there is, and where each one's state can be read.

In memory is only the newest snapshot's columns, and where the events after it are; a user's state
is read, decrypted and folded when it is needed.
"""

from __future__ import annotations

import contextlib
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import reduce
from heapq import nlargest
from itertools import chain
from pathlib import Path

from wxgptd.domain.evolve import evolve
from wxgptd.domain.model import events as e
from wxgptd.domain.model.state import EMPTY, UserState
from wxgptd.domain.model.values import DeliveryKey, LinkHash, User
from wxgptd.eventlog import codec, packing, reader, state_codec
from wxgptd.eventlog.columns import U64
from wxgptd.eventlog.keyring import Keyring
from wxgptd.eventlog.positions import Frames, Generation, Place
from wxgptd.eventlog.snapshot import Snapshot, SnapshotDamaged
from wxgptd.eventlog.user_key import UserKey, number_of
from wxgptd.wording import say

LISTED_BESIDES = 64
"""How many more to list than asked for, as some records belong to no follower."""


class Users:
    """All users in a log. Implements `wxgptd.ports.record.StoredUsers`."""

    def __init__(self, directory: Path, keys: Keyring, snapshot: Snapshot | None) -> None:
        self._keys = keys
        self._snapshot = snapshot
        self._frames = Frames(directory)
        after = snapshot.last_seq if snapshot is not None else 0
        self._generations = [Generation(after)]
        self.marked: set[int] = set(snapshot.marked) if snapshot is not None else set()
        self.sets_aside = False
        """Whether to set a snapshot aside that turns out to be damaged."""
        self.erased: set[int] = set()
        """Users of the snapshot, or of the events after it, who have been erased."""

    @property
    def snapshot(self) -> Snapshot | None:
        """The snapshot that states are read from."""
        return self._snapshot

    @property
    def newest_generation(self) -> Generation:
        """The newest events."""
        return self._generations[-1]

    # What is known without reading any state.

    def __len__(self) -> int:
        return len(self.numbers()) - len(self.erased)

    def numbers(self) -> array[int]:
        """Return the sorted numbers of all users' references, erased or not."""
        known = self._snapshot.numbers if self._snapshot is not None else array(U64)
        new = {
            number
            for generation in self._generations
            for number in generation.numbers()
            if self._row(number) < 0
        }
        return array(U64, sorted(chain(known, new))) if new else known

    def changed(self) -> Collection[int]:
        """Return the numbers of the users with events after the snapshot."""
        return set[int]().union(*(generation.numbers() for generation in self._generations))

    def version(self, number: int) -> int:
        """Return how many events a user has."""
        for generation in reversed(self._generations):
            version = generation.version(number)
            if version is not None:
                return version
        row = self._row(number)
        return self._snapshot.versions[row] if self._snapshot is not None and row >= 0 else 0

    def _row(self, number: int) -> int:
        return self._snapshot.find(number) if self._snapshot is not None else -1

    def newest(self, limit: int) -> Iterator[User]:
        """Yield at least `limit` users if there are so many, roughly the newest first."""
        wanted = limit + LISTED_BESIDES
        listed = set[int]()
        for generation in reversed(self._generations):
            listed.update(generation.newest(wanted))
        if self._snapshot is not None and len(listed) < wanted:
            rows = zip(self._snapshot.last_ats, self._snapshot.numbers, strict=True)
            listed.update(number for _, number in nlargest(wanted + len(listed), rows))
        return self._named(listed)

    def marked_users(self) -> Iterator[User]:
        """Yield the users whose standing an operator has ever changed."""
        return self._named(self.marked)

    def _named(self, numbers: Iterable[int]) -> Iterator[User]:
        for number in tuple(numbers):
            key = self._keys.numbered(number)
            if key is not None and number not in self.erased:
                yield key.user

    # Events.

    def note_frame(self, place: Place) -> None:
        """Note where the next commit group is."""
        self._frames.add(place)

    def append(self, key: UserKey, seq: int, version: int, events: Sequence[e.Event]) -> None:
        """Note the events from `seq` on, which bring the user from `version` to a later one."""
        newest = self._generations[-1]
        for at, event in enumerate(events):
            newest.add(key.number, seq + at, version + at + 1)
            if isinstance(event, e.StandingChanged | e.UserNamed):
                self.marked.add(key.number)
            elif isinstance(event, e.UserErased):
                self.marked.discard(key.number)
                self.erased.add(key.number)

    def awaiting_erasure(self, references: Iterable[str]) -> list[str]:
        """Return those of the `references` whose user is known, and has not been erased."""
        numbers = ((reference, number_of(reference)) for reference in references)
        return [ref for ref, n in numbers if self.version(n) and n not in self.erased]

    def erase(self, reference: str, seq: int) -> None:
        """Note event `seq`, which erases the user with that `reference`."""
        number = number_of(reference)
        self._generations[-1].add(number, seq, self.version(number) + 1)
        self.marked.discard(number)
        self.erased.add(number)

    # States.

    def find(self, user: User) -> UserState | None:
        """Return a user's state, or None if nothing is known about the user.

        Raises:
            Inconsistent: an event cannot follow the ones before it.
            LogDamaged: an event cannot be read, decrypted or decoded.
            SnapshotDamaged: the state in the snapshot cannot be read.
        """
        key = self._keys.of(user)
        return self.state(key) if key is not None else None

    def state(self, key: UserKey) -> UserState | None:
        """Return the state of the user with that key; see `find`."""
        number = key.number
        row = self._row(number)
        seqs = [seq for generation in self._generations for seq in generation.events(number)]
        if row < 0 and not seqs:
            return None
        with self._damage(f"the events of user {key.reference} cannot be read"):
            begin = self._frozen(key, row) if row >= 0 else EMPTY
            entries = self._frames.entries(seqs)
            return reduce(evolve, (codec.event(entry, key) for entry in entries), begin)

    def _frozen(self, key: UserKey, row: int) -> UserState:
        assert self._snapshot is not None
        try:
            user = self._snapshot.user(row)
        except ValueError as error:
            if self.sets_aside:
                self._snapshot.set_aside()
            raise SnapshotDamaged(
                say(
                    "the snapshot {name} is damaged: {error}",
                    name=self._snapshot.path.name,
                    error=error,
                ),
                hint=say("nothing is lost: the next start uses the snapshot before it"),
            ) from error
        return state_codec.unpack_state(key.open(user.frozen)) if user.frozen else EMPTY

    def reference(self, number: int) -> str:
        """Return a user's reference, even if the key is lost."""
        row = self._row(number)
        with self._damage(f"the user with number {number:016x} cannot be read"):
            if row >= 0 and self._snapshot is not None:
                return self._snapshot.user(row).reference
            seqs = [seq for g in self._generations if (seq := g.newest_seq(number))]
            (entry,) = self._frames.entries(seqs[:1])
            return entry[3]

    @contextlib.contextmanager
    def _damage(self, what: str) -> Iterator[None]:
        try:
            yield
        except (ValueError, TypeError, LookupError, AttributeError, OSError) as error:
            raise reader.LogDamaged(
                f"{what}: {error}",
                hint=say("`wxgpt log verify` locates the damage, `wxgpt log repair` removes it"),
            ) from error

    def newest_entries(self, most: int) -> Iterator[codec.Entry]:
        """Yield the newest events after the snapshot, newest first."""
        newest = self._generations[-1]
        last_seq = newest.after + len(newest.back)
        return self._frames.entries(range(last_seq, max(newest.after, last_seq - most), -1))

    def links(self) -> Iterator[tuple[User, LinkHash, DeliveryKey, float]]:
        """Yield the links in the snapshot, which reads all of it."""
        with self._damage("the links in the snapshot cannot be read"):
            for user in self._snapshot.users if self._snapshot is not None else ():
                key = self._keys.find(user.reference) if user.links else None
                if key is not None and number_of(user.reference) not in self.erased:
                    for link, question, at in packing.unpack(key.open(user.links)):
                        yield key.user, link, question, at

    # A new snapshot.

    def begin_generation(self, after: int) -> None:
        """Note the events after number `after` apart: a snapshot will cover the ones up to it."""
        while len(self._generations) > 1:  # the last snapshot failed
            later = self._generations.pop()
            self._generations[-1].absorb(later)
        if self._generations[-1].after < after:
            self._generations.append(Generation(after))

    def adopt(self, snapshot: Snapshot) -> None:
        """Read states from `snapshot` from now on."""
        self._snapshot = snapshot
        self._generations = [
            generation for generation in self._generations if generation.after >= snapshot.last_seq
        ]
        self._frames.drop(snapshot.last_seq)
        self.erased = {number for number in self.erased if self._is_known(number)}

    def _is_known(self, number: int) -> bool:
        return self._row(number) >= 0 or any(g.newest_seq(number) for g in self._generations)

    def close_segments(self) -> None:
        """Close the segments; they are opened again as needed."""
        self._frames.close()

    def close(self) -> None:
        """Close all files."""
        self._frames.close()
        if self._snapshot is not None:
            self._snapshot.close()
