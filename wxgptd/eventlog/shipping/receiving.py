"""Follow a log that is written elsewhere, in a state directory of one's own.

Nothing in the stream is trusted: no name in it becomes a path, and only what a start could read is
written. The directory is locked, so no daemon can use it meanwhile. Once the receiver has ended, a
daemon that starts there continues the log.
"""

from __future__ import annotations

import hmac
from array import array
from collections import deque
from pathlib import Path
from typing import IO, NamedTuple, assert_never, cast

from wxgptd.domain.model import events as e
from wxgptd.eventlog import (
    codec,
    deleting,
    early_erasures,
    loading,
    packing,
    recovery,
    segments,
    snapshot_writing,
    taking,
)
from wxgptd.eventlog.columns import U64
from wxgptd.eventlog.commit_groups import TakenGroup
from wxgptd.eventlog.deleting import Deleted
from wxgptd.eventlog.keyring import Keyring
from wxgptd.eventlog.positions import Place
from wxgptd.eventlog.shipping.messages import (
    Beat,
    Group,
    Hello,
    Keys,
    Message,
    SnapshotPart,
    StreamRefused,
    digest_of,
)
from wxgptd.eventlog.shipping.sending import Position
from wxgptd.eventlog.system import System
from wxgptd.eventlog.user_key import UserKey
from wxgptd.eventlog.workers import Event
from wxgptd.eventlog.writer import Listener, SegmentBounds, Writer
from wxgptd.wording import say

MAX_UNSYNCED = 64
"""So many commits may be on their way to the disk."""

_DELETED = codec.TAGS[e.SessionDeleted]


class _Pending(NamedTuple):
    """A deleted session, and the event that deleted it."""

    deleted: Deleted
    seq: int


class Receiver:
    """A state directory that follows a log. `close` it in the end."""

    def __init__(
        self,
        state_dir: Path,
        master: bytes,
        bounds: SegmentBounds = SegmentBounds(),
        system: System = System(),
    ) -> None:
        """Lock the directory, and find out what it has.

        Raises:
            StateDirectoryLocked: a daemon or another receiver uses it.
            LogDamaged: its log is damaged.
            MasterKeyUnusable: its keys were written with another master key.
        """
        self._directory = segments.log_directory(state_dir)
        segments.make_private_directory(state_dir)
        segments.make_private_directory(segments.keys_directory(state_dir))
        self._lock = segments.StateLock(state_dir)
        recovery.finish_replacing(self._directory)
        segments.make_private_directory(self._directory)
        self._keys = Keyring(segments.keyring_path(state_dir), master)
        self._link_key = segments.keys_directory(state_dir) / "links"
        self._system = system
        self._index = self._load()
        self._new_keys: list[UserKey] = []
        self._part: tuple[int, IO[bytes]] | None = None
        """The snapshot that is being received: its last event, and its file."""
        self._is_greeted = False
        self._writer = self._begin(bounds)

    def _load(self) -> loading.Index:
        """Read the log as a start does; the events to come continue it."""
        found = loading.load(self._directory, self._keys, {e.SessionDeleted: 0.0}, quickly=True)
        self._keys.keep(found.users.numbers())
        self._keys.make_durable(without=found.erased)
        self._seq = found.loaded.last_seq
        self._snapshot_seq = found.loaded.snapshot_seq
        self._pending = [
            _Pending(Deleted(key.reference, event.session, event.opened_at), self._seq)
            for user, event in found.loaded.recent
            if isinstance(event, e.SessionDeleted) and (key := self._keys.of(user))
        ]
        return found.reading

    def _begin(self, bounds: SegmentBounds) -> Writer:
        self._failed: list[Exception] = []
        self._flushed = deque[Event]()
        """The groups that are not known to be durable yet, oldest first."""
        return Writer(
            self._directory,
            recovery.make_ready(self._directory),
            self._keys,
            Listener(
                on_durable=_note,
                on_failure=self._fail,
                on_full=lambda _: None,
            ),
            bounds,
            self._system,
        )

    def _fail(self, error: Exception) -> None:
        self._failed.append(error)

    @property
    def position(self) -> Position:
        """What the directory has, once `settle` has returned."""
        return Position(self._seq, self._snapshot_seq)

    def take(self, message: Message) -> None:
        """Apply one message.

        Raises:
            StreamRefused: it contradicts what the directory has.
            CannotTake: it cannot be read.
            OSError: the disk failed.
        """
        match message:
            case Hello():
                self._greet(message)
                return
            case _ if not self._is_greeted:
                raise StreamRefused(say("the stream does not begin with a greeting"))
            case Keys():
                self._take_keys(message)
            case Group():
                self._take_group(message)
            case SnapshotPart():
                self._take_snapshot(message)
            case Beat():
                pass
            case _:
                assert_never(message)

    def _greet(self, hello: Hello) -> None:
        try:
            own = digest_of(self._link_key.read_bytes())
        except FileNotFoundError:
            raise StreamRefused(
                say("{link_key} is missing", link_key=self._link_key),
                hint=say(
                    "`wxgpt backup` on the other machine, and `wxgpt restore` here, come first"
                ),
            ) from None
        if not hmac.compare_digest(own, hello.link_key):
            raise StreamRefused(
                say("the sender has another link key"),
                hint=say(
                    "both machines need the same keys: `wxgpt backup` there, `wxgpt restore` here"
                ),
            )
        if hello.first_seq > self._seq + 1:
            raise StreamRefused(
                say(
                    "the sender's log begins at event {first_seq}, but this one ends at event "
                    "{seq}",
                    first_seq=hello.first_seq,
                    seq=self._seq,
                ),
                hint=say("`wxgpt backup` there, and `wxgpt restore` into an empty directory here"),
            )
        if hello.last_seq < self._seq:
            raise StreamRefused(
                say(
                    "this log has {seq} events, the sender's only {last_seq}",
                    seq=self._seq,
                    last_seq=hello.last_seq,
                ),
                hint=say(
                    "is it the right way round? A log that was written here since cannot follow "
                    "another one: restore a backup of the other machine first"
                ),
            )
        self._is_greeted = True

    # Keys.

    def _take_keys(self, keys: Keys) -> None:
        self._new_keys += taking.adopt(self._keys, keys.records)
        if keys.numbers:
            self._erase_all_but(keys.numbers)

    def _erase_all_but(self, packed: bytes) -> None:
        """Delete the keys that the sender has no longer: erasures come before new events."""
        numbers = array(U64)
        if len(packed) % numbers.itemsize:
            raise StreamRefused(say("the list of keys cannot be read"))
        numbers.frombytes(packed)
        numbers.byteswap()
        known = set(numbers)
        gone = [
            key.reference
            for number in self._index.users.numbers()
            if number not in known and (key := self._keys.numbered(number)) is not None
        ]
        if gone:
            early = self._index.users.awaiting_erasure(early_erasures.read(self._keys.path))
            early_erasures.write(self._keys.path, dict.fromkeys([*early, *gone]))
            self._writer.take(TakenGroup(self._seq + 1, 0, b"", (), tuple(gone)))
            self._flush()

    # Events.

    def _take_group(self, group: Group) -> None:
        last_seq = group.first_seq + group.events - 1
        if group.first_seq < 1 or group.events < 1:
            raise StreamRefused(say("a commit group has no events"))
        if last_seq <= self._seq:
            return  # it is here already
        if group.first_seq != self._seq + 1:
            raise StreamRefused(
                say(
                    "event {seq} expected, {first_seq} received",
                    seq=self._seq + 1,
                    first_seq=group.first_seq,
                )
            )
        entries = taking.entries_of(*group)
        taking.index(self._index, group.first_seq, entries)
        erased = taking.erased_in(entries)
        self._pending += [
            _Pending(_deleted(entry), last_seq) for entry in entries if entry[0] == _DELETED
        ]
        keys, self._new_keys = tuple(self._new_keys), []
        self._writer.take(TakenGroup(group.first_seq, group.events, group.payload, keys, erased))
        self._seq = last_seq
        self._flush()

    def _flush(self) -> None:
        token = self._system.workers.event()
        self._writer.flush(token)
        self._flushed.append(token)
        while len(self._flushed) > MAX_UNSYNCED:
            self._await(self._flushed.popleft())

    def settle(self) -> None:
        """Wait until everything taken so far is durable.

        Raises:
            OSError: the disk failed.
        """
        while self._flushed:
            self._await(self._flushed.popleft())

    def _await(self, token: Event) -> None:
        while not token.wait(0.1):
            if self._failed:
                raise self._failed[0]

    # Snapshots.

    def _take_snapshot(self, part: SnapshotPart) -> None:
        """Store a piece of a snapshot, and adopt it once it is complete."""
        if part.last_seq > self._seq or part.last_seq <= self._snapshot_seq:
            return  # it does not belong to this log, or it is here already
        path = self._directory / segments.snapshot_name(part.last_seq)
        fresh = path.with_name(f"{path.name}.new")
        if self._part is None or self._part[0] != part.last_seq:
            if self._part is not None:
                self._part[1].close()
            self._part = part.last_seq, segments.create(fresh)
        file = self._part[1]
        if part.piece:
            file.write(part.piece)
            return
        self._part = None
        with file:
            file.flush()
            self._system.disk.sync(file.fileno())
        self._adopt(fresh, path)
        self._snapshot_seq = part.last_seq
        self._remove_deleted(part.last_seq)

    def _adopt(self, fresh: Path, path: Path) -> None:
        """Give a received snapshot its name, if it can be read."""
        fresh.rename(path)
        try:
            snapshot_writing.require(self._directory, segments.last_seq_of(path))
        except OSError as error:
            path.unlink()
            raise StreamRefused(say("a snapshot cannot be read: {error}", error=error)) from error
        segments.sync_directory(self._directory, self._system.disk.sync_directory)

    def _remove_deleted(self, covered: int) -> None:
        """Remove what was said in sessions that were deleted before the snapshot was taken."""
        due = [pending.deleted for pending in self._pending if pending.seq <= covered]
        if due:
            token = self._system.workers.event()
            self._writer.begin_segment(token)
            self._flushed.append(token)
            self.settle()
            deleting.remove(self._directory, due, self._system.disk)
            self._pending = [pending for pending in self._pending if pending.seq > covered]
        kept = 1 if due else snapshot_writing.KEPT
        snapshot_writing.drop_all_but(self._directory, kept, self._system.disk)

    def close(self) -> None:
        """Seal the log and unlock the directory.

        Raises:
            OSError: not everything is durable.
        """
        error = self._writer.close()
        if self._part is not None:
            self._part[1].close()
        self._index.users.close()
        self._keys.close()
        self._lock.release()
        if error is not None:
            raise error


def _note(_place: Place | None, token: object) -> None:
    if token is not None:
        cast("Event", token).set()


def _deleted(entry: codec.Entry) -> Deleted:
    session, _, opened_at = packing.unpack(entry[5])
    return Deleted(entry[3], session, opened_at)
