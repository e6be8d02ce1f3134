"""The users' encryption keys, stored apart from the log: deleting a key erases its user.

Each user has a key of their own and a *reference*: the account and a random number, which is all
that the log reveals about the user's identity. The keyring is one file, which holds the account,
the OpenID and the key for each reference, encrypted with the master key. Once a record is deleted,
the reference can no longer be traced to a user, and its events can no longer be read; a user who
returns gets a new reference.

The file is a head (``WXGPTKEY`` and u16 format version) followed by records: ``WXKY``, u32 length,
u32 CRC-32 of the payload, and the payload: a 12-byte nonce and AES-256-GCM of the msgpack array
``[reference, account, openid, key]``. The first record has an empty reference and is used to verify
the master key. A record is durable before any event that is encrypted with its key. New records are
appended; a deleted record is overwritten with zeros in place, which needs no space on a full disk.
Each start rewrites the file without gaps, so that everything in it has been synced.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
import stat
import struct
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from zlib import crc32

import msgpack
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from wxgptd.domain.model.values import AccountName, OpenId, User
from wxgptd.errors import WxgptError
from wxgptd.eventlog import segments

KEY_BYTES = 32
_NONCE_BYTES = 12
_HEAD = b"WXGPTKEY\x00\x01"
_MAGIC = b"WXKY"
_RECORD = struct.Struct(">4sII")
_NO_USER = User(AccountName(""), OpenId(""))


class MasterKeyUnusable(WxgptError):
    """the master key of the log cannot be used"""

    exit_status = 4


class UserKey:
    """Encrypts and decrypts the personal fields of one user's events."""

    __slots__ = ("_cipher", "key", "record", "reference", "user")

    def __init__(self, reference: str, user: User, key: bytes, record: bytes = b"") -> None:
        self.reference = reference
        self.user = user
        self.key = key
        self.record = record
        self._cipher: AESGCM | None = None

    def seal(self, plain: bytes, bound: bytes | None = None) -> bytes:
        """Return `plain` encrypted, preceded by a fresh nonce.

        To decrypt it, `open` needs the same `bound` (associated data, NIST SP 800-38D).
        """
        return _seal(self._aead(), plain, bound)

    def open(self, sealed: bytes, bound: bytes | None = None) -> bytes:
        """Decrypt what `seal` returned.

        Raises:
            ValueError: `sealed` does not come from `seal`, or was bound to something else.
        """
        return _open(self._aead(), sealed, bound)

    def _aead(self) -> AESGCM:
        if self._cipher is None:
            self._cipher = AESGCM(self.key)
        return self._cipher


class Keyring:
    """All keys in the file at `path`; none if it does not exist yet.

    `is_whole` is whether the file exists and contains nothing but intact records.

    Raises:
        MasterKeyUnusable: the file was written with another master key.
    """

    def __init__(self, path: Path, master: bytes) -> None:
        self.path = path
        self._master = AESGCM(master)
        self._by_reference: dict[str, UserKey] = {}
        self._of_user: dict[User, UserKey] = {}
        self._seen: tuple[int, int, int] | None = None
        self.is_whole = False
        self.refresh()

    def refresh(self) -> bool:
        """Read the file again if it has changed; return whether it had."""
        try:
            with self.path.open("rb") as file:
                status = os.fstat(file.fileno())
                identity = (status.st_ino, status.st_size, status.st_mtime_ns)
                if identity == self._seen:
                    return False
                data = file.read()
        except FileNotFoundError:
            return False
        self._seen = identity
        self._by_reference, self._of_user = {}, {}
        for key in self._read(data):
            self._add(key)
        return True

    def find(self, reference: str) -> UserKey | None:
        """Return the key of `reference`, or None if it was deleted."""
        return self._by_reference.get(reference)

    def of(self, user: User) -> UserKey | None:
        """Return the key for the user's new events, or None if there is none."""
        return self._of_user.get(user)

    def make(self, user: User) -> UserKey:
        """Create a key for `user`; the caller must write its `record`."""
        reference = f"{user.account}:{secrets.token_hex(8)}"
        key = UserKey(reference, user, secrets.token_bytes(KEY_BYTES))
        key.record = self._record(key)
        self._add(key)
        return key

    def keep(self, references: Container[str]) -> None:
        """Discard all keys in memory except those of `references`.

        An aborted commit may leave a key that no event was ever encrypted with; its user's events
        are encrypted with another key.
        """
        kept = [key for key in self._by_reference.values() if key.reference in references]
        self._by_reference, self._of_user = {}, {}
        for key in kept:
            self._add(key)

    def forget(self, key: UserKey) -> None:
        """Stop using `key` for its user's new events; it still decrypts."""
        if self._of_user.get(key.user) is key:
            del self._of_user[key.user]

    def drop(self, key: UserKey) -> None:
        """Discard `key` in memory. The file is not changed."""
        self._by_reference.pop(key.reference, None)
        self.forget(key)

    def overwrite(self, descriptor: int, references: Iterable[str]) -> None:
        """Delete the keys of `references` from the open file. Not durable until it is synced.

        Raises:
            OSError: the file cannot be written.
        """
        data = b""
        for reference in references:
            key = self._by_reference.get(reference)
            if key is None:
                continue
            data = data or self.path.read_bytes()
            at = data.find(key.record)
            while at >= 0:
                os.pwrite(descriptor, bytes(len(key.record)), at)
                at = data.find(key.record, at + 1)
            self.drop(key)

    def _record(self, key: UserKey) -> bytes:
        user = key.user
        fields = (key.reference, user.account, user.openid, key.key)
        packed: bytes = msgpack.packb(fields, unicode_errors="surrogatepass")
        payload = _seal(self._master, packed)
        return _RECORD.pack(_MAGIC, len(payload), crc32(payload)) + payload

    def seal(self, plain: bytes) -> bytes:
        """Return `plain` encrypted with the master key, for data that belongs to no single user."""
        return _seal(self._master, plain)

    def open(self, sealed: bytes) -> bytes:
        """Decrypt what `seal` returned.

        Raises:
            ValueError: `sealed` does not come from `seal`.
        """
        return _open(self._master, sealed)

    def write(self, without: Iterable[str] = ()) -> None:
        """Rewrite the file, without the keys of the references in `without`. Durable on return.

        Raises:
            OSError: the disk is full, or the file system does not allow it; nothing has changed.
        """
        deleted = frozenset(without)
        kept = [key for key in list(self._by_reference.values()) if key.reference not in deleted]
        head = _HEAD + self._record(UserKey("", _NO_USER, b""))
        fresh = self.path.with_name(f"{self.path.name}.new")
        try:
            segments.write_durably(fresh, b"".join((head, *(key.record for key in kept))))
        except OSError:
            fresh.unlink(missing_ok=True)
            raise
        fresh.rename(self.path)
        segments.sync_directory(self.path.parent)
        for reference in deleted:
            if (key := self._by_reference.get(reference)) is not None:
                self.drop(key)
        self.is_whole = True

    def __len__(self) -> int:
        return len(self._by_reference)

    def _add(self, key: UserKey) -> None:
        self._by_reference[key.reference] = key
        self._of_user[key.user] = key

    def _read(self, data: bytes) -> Iterator[UserKey]:
        """Yield the keys of all intact records."""
        self.is_whole = data[: len(_HEAD)] == _HEAD
        position = due = len(_HEAD)
        while (position := data.find(_MAGIC, position)) >= 0:
            payload = _payload(data, position)
            if payload is None:
                position += 1
                continue
            self.is_whole &= position == due
            begin, position = position, position + _RECORD.size + len(payload)
            due = position
            key = self._unpack(payload, data[begin:position])
            if key.reference:
                yield key
        self.is_whole &= due == len(data) > len(_HEAD)

    def _unpack(self, payload: bytes, record: bytes) -> UserKey:
        try:
            packed = _open(self._master, payload)
        except ValueError:
            raise MasterKeyUnusable(
                f"the keys in {self.path} were written with another master key",
                hint="[log] master_key must name the key that the state directory was created with",
            ) from None
        reference, account, openid, key = msgpack.unpackb(packed, unicode_errors="surrogatepass")
        return UserKey(reference, User(account, openid), key, record)


def joined(one: bytes, other: bytes) -> bytes:
    """Return a keyring file with the records of both files."""
    return other if other.startswith(one) else one + other[len(_HEAD) :]


def _payload(data: bytes, position: int) -> bytes | None:
    if len(data) - position < _RECORD.size:
        return None
    _, length, checksum = _RECORD.unpack_from(data, position)
    payload = data[position + _RECORD.size : position + _RECORD.size + length]
    # Zeros after the magic, as a power cut leaves them, are no record: their checksum is right.
    intact = length > 0 and len(payload) == length and crc32(payload) == checksum
    return payload if intact else None


def _seal(cipher: AESGCM, plain: bytes, bound: bytes | None = None) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, plain, bound)


def _open(cipher: AESGCM, sealed: bytes, bound: bytes | None = None) -> bytes:
    try:
        return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bound)
    except (InvalidTag, ValueError):
        raise ValueError("does not decrypt: it was modified or moved") from None


# The master key.


def parse_master(text: str, where: str = "[log] master_key") -> bytes:
    """Return the master key in `text`, which is 32 bytes in base64; `where` is its origin.

    Raises:
        MasterKeyUnusable: `text` is not a master key.
    """
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise MasterKeyUnusable(
            f"the master key in {where} is not 32 bytes in base64",
            hint="restore it: no other key can read what users said",
        )
    return key


def own_master(state_dir: Path) -> bytes:
    """Return the state directory's own master key; create it if there is none.

    Raises:
        MasterKeyUnusable: the file does not hold a master key, or others can read it.
    """
    path = master_path(state_dir)
    try:
        return read_master(path)
    except FileNotFoundError:
        if segments.keyring_path(state_dir).exists():
            raise MasterKeyUnusable(
                f"the master key {path} is missing: without it, what users said cannot be read",
                hint="restore it from a backup, or configure it with [log] master_key; "
                "if it is lost, start with another state directory",
            ) from None
    key = secrets.token_bytes(KEY_BYTES)
    fresh = path.with_name(f"master.{os.getpid()}.new")
    segments.make_private_directory(state_dir)
    segments.make_private_directory(path.parent)
    segments.write_durably(fresh, base64.b64encode(key) + b"\n")
    try:
        os.link(fresh, path)  # fails if another process was faster
    except FileExistsError:
        key = read_master(path)
    finally:
        fresh.unlink()
    segments.sync_directory(path.parent)
    return key


def master_path(state_dir: Path) -> Path:
    """Return the path of the state directory's own master key."""
    return segments.keys_directory(state_dir) / "master"


def read_master(path: Path) -> bytes:
    """Return the master key in the file at `path`.

    Raises:
        MasterKeyUnusable: the file does not hold a master key, or others can read it.
        OSError: the file cannot be read.
    """
    if path.stat().st_mode & (stat.S_IROTH | stat.S_IRGRP):
        raise MasterKeyUnusable(f"{path} can be read by others", hint=f"chmod 600 {path}")
    return parse_master(path.read_text("ascii", "replace").strip(), str(path))
