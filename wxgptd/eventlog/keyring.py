"""The users' encryption keys, stored apart from the log: deleting a key erases its user.

Each user has a key of their own and a *reference*: the account and a random number, which is all
that the log reveals about the user's identity. The keyring is one file (`key_file`), which holds
the account, the OpenID and the key for each reference, encrypted with the master key. Once a record
is deleted, the reference can no longer be traced to a user, and its events can no longer be read; a
user who returns gets a new reference.

A record is durable before any event that is encrypted with its key. New records are appended; a
deleted record is overwritten with zeros in place, which needs no space on a full disk. A start
writes the end of the file once more, because its last records may never have been synced.
"""

from __future__ import annotations

import errno
import os
import secrets
import weakref
from array import array
from collections.abc import Callable, Container, Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

import msgpack
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from wxgptd.domain.model.values import AccountName, OpenId, User
from wxgptd.eventlog import key_file, segments
from wxgptd.eventlog.columns import SortedMap, difference
from wxgptd.eventlog.disk import write_all
from wxgptd.eventlog.master_key import MasterKeyUnusable
from wxgptd.eventlog.user_key import KEY_BYTES, UserKey, number_of, seal, unseal
from wxgptd.wording import say

T = TypeVar("T")
_NO_USER = User(AccountName(""), OpenId(""))

REMEMBERED_FORMER = 10_000

USUAL_RECORD_BYTES = 512
"""Longer records take a second read."""

CACHED_KEYS = 4_096
"""At most this many keys that were read from the file are in memory."""

REWRITTEN_BYTES = 8 * 1024 * 1024
"""How much of the file's end a start writes again: more than one commit can append."""

COMPACTED_BYTES = 1024 * 1024
"""A start rewrites the file if deleted records take up this much, and half of it."""


class Keyring:
    """All keys in the file at `path`; none if it does not exist yet.

    `is_whole` is whether the file exists and contains nothing but intact and deleted records, in
    the newest format. `created` is when it was first written in that format, in seconds since the
    epoch, or infinity.

    Raises:
        MasterKeyUnusable: the file was written with another master key.
    """

    def __init__(self, path: Path, master: bytes) -> None:
        self.path = path
        self._master = AESGCM(master)
        self._tag_key = blake2b(b"wxgptd: tags of users", key=master, digest_size=32).digest()
        self._seen: tuple[int, int, int] | None = None
        self._close: Callable[[], object] = _nothing
        self._clear()
        self.refresh()

    def _clear(self) -> None:
        self.is_whole = False
        self.created = float("inf")
        self._file = -1
        self._deleted: list[tuple[int, int]] = []
        self._deleted_bytes = 0
        self._offsets = SortedMap()
        self._by_tag = SortedMap()
        self._unwritten: dict[int, UserKey] = {}
        self._new_offsets: dict[int, int] = {}
        self._new_numbers: dict[int, int] = {}
        """The numbers of keys that are not in the file, or were added since it was read, by tag."""
        self._former: dict[int, None] = {}
        """The keys that no new event may be encrypted with, oldest first. One that is deleted stays
        here for a while: another thread may just have read its record."""
        self._cache: dict[int, UserKey] = {}
        self._hot: dict[User, UserKey] = {}
        self._count = 0

    def close(self) -> None:
        """Close the file. Keys that have not been read yet are not found any longer."""
        self._close()
        self._close, self._file, self._seen = _nothing, -1, None

    # Reading the file.

    def refresh(self) -> bool:
        """Read the file again if it has changed; return whether it had."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        status = os.fstat(descriptor)
        seen = (status.st_ino, status.st_size, status.st_mtime_ns)
        if seen == self._seen:
            os.close(descriptor)
            return False
        self._close()
        self._clear()
        self._seen, self._file = seen, descriptor
        self._close = weakref.finalize(self, os.close, descriptor)
        with os.fdopen(os.dup(descriptor), "rb") as file:
            self._read(file.read())
        return True

    def _read(self, data: bytes) -> None:
        scan = key_file.Scan(data)
        offsets, numbers, tags = scan.offsets, scan.numbers, scan.tags
        unknown = [row for row, number in enumerate(numbers) if not number] or range(len(numbers))[
            :1
        ]
        for row in unknown:  # at least one, which verifies the master key
            key = self._decrypted(key_file.payload_of(self._record_at(offsets[row])))
            numbers[row], tags[row] = key.number, self.tag(key.user)
        for row in reversed(unknown):
            if not numbers[row]:  # the first record
                del offsets[row], numbers[row], tags[row]
        self.is_whole, self.created = scan.is_whole and bool(unknown), scan.created
        self._deleted, self._deleted_bytes = scan.deleted, sum(size for _, size in scan.deleted)
        self._offsets, self._by_tag = SortedMap(numbers, offsets), SortedMap(tags, offsets)
        self._count = len(set(numbers)) if self._offsets.has_duplicate_keys() else len(numbers)

    def _decrypted(self, payload: bytes) -> UserKey:
        try:
            packed = unseal(self._master, payload)
        except ValueError:
            raise MasterKeyUnusable(
                say("the keys in {path} were written with another master key", path=self.path),
                hint=say("[log] master_key must name the key that the directory was created with"),
            ) from None
        reference, account, openid, key = msgpack.unpackb(packed, unicode_errors="surrogatepass")
        return UserKey(reference, User(account, openid), key)

    # Finding keys.

    def find(self, reference: str) -> UserKey | None:
        """Return the key of `reference`, or None if it was deleted."""
        return self.numbered(number_of(reference))

    def numbered(self, number: int) -> UserKey | None:
        """Return the key of the reference with that number, or None if it was deleted."""
        key = self._unwritten.get(number)
        for offset in self._offsets_of(number):
            key = key or self._cache.get(number) or self._key_at(offset)
        return key

    def of(self, user: User) -> UserKey | None:
        """Return the key for the user's new events, or None if there is none."""
        key = self._hot.get(user)
        if key is None:
            key = self.tagged(self.tag(user), user)
            if key is not None:
                _keep(self._hot, user, key)
        return key

    def tagged(self, tag: int, user: User | None = None) -> UserKey | None:
        """Return the key for the new events of the user with that tag (who must be `user`)."""
        new = self._new_numbers.get(tag)
        found = [] if new is None else [self.numbered(new)]
        found += [self._key_at(offset) for offset in self._by_tag.find(tag)]
        for key in found:
            if key is not None and key.number not in self._former and user in (None, key.user):
                return key
        return None

    def tag(self, user: User) -> int:
        """Return a keyed digest of `user`, which identifies the user's record in the file."""
        identity = f"{user.account}\0{user.openid}".encode("utf-8", "surrogatepass")
        digest = blake2b(identity, key=self._tag_key, digest_size=8).digest()
        return int.from_bytes(digest, "big")

    def _offsets_of(self, number: int) -> Iterator[int]:
        if new := self._new_offsets.get(number):
            yield new
        yield from self._offsets.find(number)

    def _key_at(self, offset: int) -> UserKey | None:
        """Return the key in the record at `offset`; None if it has been deleted meanwhile."""
        record = self._record_at(offset)
        if not record:
            return None
        key = self._decrypted(key_file.payload_of(record))
        _keep(self._cache, key.number, key)
        if next(self._offsets_of(key.number), None) is None:
            self._cache.pop(key.number, None)  # deleted by the writer's thread meanwhile
        return key

    def _record_at(self, offset: int) -> bytes:
        beginning = os.pread(self._file, USUAL_RECORD_BYTES, offset) if self._file >= 0 else b""
        size = key_file.size_of(beginning)
        record = beginning[:size] if size <= len(beginning) else os.pread(self._file, size, offset)
        return record if key_file.is_intact(record) else b""

    def missing(self, numbers: array[int]) -> set[int]:
        """Return those of the sorted `numbers` that have no key."""
        missing = difference(numbers, self._offsets.keys)
        return missing - self._unwritten.keys() - self._new_offsets.keys()

    def __len__(self) -> int:
        return self._count

    # Making and deleting keys.

    def make(self, user: User) -> UserKey:
        """Create a key for `user`; the caller must write its `record`."""
        reference = f"{user.account}:{secrets.token_hex(8)}"
        return self._added(UserKey(reference, user, secrets.token_bytes(KEY_BYTES)))

    def _added(self, key: UserKey) -> UserKey:
        self._unwritten[key.number] = key
        self._new_numbers[self.tag(key.user)] = key.number
        self._count += 1
        return key

    def adopt(self, record: bytes) -> UserKey | None:
        """Add and return the key in a record of another keyring, unless it is known.

        The caller must write its `record`.

        Raises:
            ValueError: it is not an intact record.
            MasterKeyUnusable: it was written with another master key.
        """
        if not key_file.is_intact(record) or not key_file.is_current(record):
            raise ValueError("it is not an intact record")
        key = self._decrypted(key_file.payload_of(record))
        is_known = not key.reference or self.numbered(key.number) is not None
        return None if is_known else self._added(key)

    def record(self, key: UserKey) -> bytes:
        """Return the record of `key`."""
        user = key.user
        fields = (key.reference, user.account, user.openid, key.key)
        packed: bytes = msgpack.packb(fields, unicode_errors="surrogatepass")
        return key_file.pack_record(self.tag(user), key.number, seal(self._master, packed))

    def placed(self, keys: Iterable[UserKey], offset: int, records: Iterable[bytes]) -> None:
        """Note that `records`, those of `keys`, were written to the file, starting at `offset`."""
        for key, record in zip(keys, records, strict=True):
            self._new_offsets[key.number] = offset
            self._unwritten.pop(key.number, None)
            offset += len(record)

    def forget(self, key: UserKey) -> None:
        """Stop using `key` for its user's new events; it still decrypts."""
        self._former[key.number] = None
        if len(self._former) > REMEMBERED_FORMER:
            del self._former[next(iter(self._former))]
        self._hot.pop(key.user, None)
        tag = self.tag(key.user)
        if self._new_numbers.get(tag) == key.number:
            del self._new_numbers[tag]

    def drop(self, key: UserKey) -> None:
        """Discard `key` in memory. The file is not changed."""
        self.forget(key)
        number, tag = key.number, self.tag(key.user)
        for offset in tuple(self._offsets_of(number)):
            self._offsets.delete(number, offset)
            self._by_tag.delete(tag, offset)
        self._cache.pop(number, None)
        self._unwritten.pop(number, None)
        self._new_offsets.pop(number, None)
        self._count -= 1

    def overwrite(self, descriptor: int, references: Iterable[str]) -> None:
        """Delete the keys of `references` from the open file. Not durable until it is synced.

        Raises:
            OSError: the file cannot be written.
        """
        for reference in references:
            key = self.find(reference)
            if key is None:
                continue
            sizes = {at: len(self._record_at(at)) for at in self._offsets_of(key.number)}
            self.drop(key)
            for offset, size in sizes.items():
                os.pwrite(descriptor, bytes(size), offset)
                self._deleted_bytes += size

    def keep(self, numbers: array[int]) -> None:
        """Discard all keys in memory except those with the sorted `numbers`.

        An aborted commit may leave a key that no event was ever encrypted with; its user's events
        are encrypted with another key.
        """
        for number in difference(self._offsets.keys, numbers):
            if (key := self.numbered(number)) is not None:
                self.is_whole = False  # the next start's write leaves it out
                self.drop(key)

    # Encrypting what belongs to no single user.

    def seal(self, plain: bytes) -> bytes:
        """Return `plain` encrypted with the master key, for data that belongs to no single user."""
        return seal(self._master, plain)

    def open(self, sealed: bytes) -> bytes:
        """Decrypt what `seal` returned.

        Raises:
            ValueError: `sealed` does not come from `seal`.
        """
        return unseal(self._master, sealed)

    # Writing the file.

    def make_durable(self, without: Iterable[str] = ()) -> None:
        """Make all keys durable, and delete those of the references in `without`. For a start.

        Raises:
            OSError: the file system does not allow it; nothing is lost.
        """
        if self._unwritten or not self.is_whole or self._is_wasteful():
            self.write(without)
            return
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            self.overwrite(descriptor, without)
            for offset, size in self._deleted:  # if their sync failed, the disk still has the keys
                write_all(descriptor, bytes(size), offset)
            begin = max(0, self._size() - REWRITTEN_BYTES)
            write_all(descriptor, os.pread(self._file, REWRITTEN_BYTES, begin), begin)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _is_wasteful(self) -> bool:
        return self._deleted_bytes > max(COMPACTED_BYTES, self._size() // 2)

    def _size(self) -> int:
        return os.fstat(self._file).st_size

    def write(self, without: Iterable[str] = ()) -> None:
        """Rewrite the file, without the keys of the references in `without`. Durable on return.

        Raises:
            OSError: the disk is full, or the file system does not allow it: nothing has changed.
                Or the disk failed (EIO): it is unknown which file the next start will find.
        """
        deleted = {number_of(reference) for reference in without}
        created = self.created if self.created < float("inf") else segments.creation_time()
        fresh = self.path.with_name(f"{self.path.name}.new")
        first = self.record(UserKey("", _NO_USER, b""))
        data = b"".join((key_file.pack_head(created), first, *self._live(deleted)))
        try:
            segments.write_durably(fresh, data)
        except OSError:
            fresh.unlink(missing_ok=True)
            raise
        fresh.rename(self.path)
        self.refresh()
        try:
            segments.sync_directory(self.path.parent)
        except OSError as error:  # even for lack of space: the old file is gone
            raise OSError(errno.EIO, f"{self.path.parent} cannot be synced: {error}") from error

    def _live(self, deleted: Container[int]) -> Iterator[bytes]:
        """Yield the records to keep, sorted by number as far as they are in the file."""
        last = 0
        for number, offset in self._offsets:
            if number == last or number in deleted:
                continue
            record = self._record_at(offset)
            if record and not key_file.is_current(record):
                record = self.record(self._decrypted(key_file.payload_of(record)))
            if record:
                last = number
                yield record
        for number, offset in self._new_offsets.items():
            if number not in deleted:
                yield self._record_at(offset)
        for key in list(self._unwritten.values()):
            if key.number not in deleted:
                yield self.record(key)


def _keep(cache: dict[T, UserKey], name: T, key: UserKey) -> None:
    if len(cache) >= CACHED_KEYS:
        cache.clear()
    cache[name] = key


def _nothing() -> None: ...
