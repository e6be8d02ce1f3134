"""The keyring: deleted keys cannot be recovered, and damage is reported."""

from __future__ import annotations

import stat
import struct
from zlib import crc32

import msgpack
import pytest

from tests.support.builders import ALICE, BOB
from tests.support.injuries import MASTER
from wxgptd.domain.model.values import User
from wxgptd.eventlog import keyring
from wxgptd.eventlog.keyring import Keyring
from wxgptd.eventlog.master_key import MasterKeyUnusable


@pytest.fixture
def path(tmp_path):
    return tmp_path / "users"


def ring_of(path, *users) -> Keyring:
    keys = Keyring(path, MASTER)
    for user in users:
        keys.make(user)
    keys.write()
    return keys


def test_a_keyring_round_trips(path):
    keys = ring_of(path, ALICE, BOB)
    reloaded = Keyring(path, MASTER)
    assert reloaded.is_whole
    assert len(reloaded) == 2
    sealed = keys.of(ALICE).seal(b"secret")
    assert b"secret" not in sealed
    assert reloaded.find(keys.of(ALICE).reference).open(sealed) == b"secret"
    with pytest.raises(ValueError, match="decrypt"):
        reloaded.of(BOB).open(sealed)


def test_the_file_has_no_plaintext_users_or_keys(path):
    keys = ring_of(path, ALICE)
    data = path.read_bytes()
    assert ALICE.openid.encode() not in data
    assert keys.of(ALICE).key not in data
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_deleted_key_is_removed_from_the_directory(path):
    keys = ring_of(path, ALICE, BOB)
    deleted = keys.of(ALICE)
    keys.write(without=[deleted.reference])
    assert keys.find(deleted.reference) is keys.of(ALICE) is None
    reloaded = Keyring(path, MASTER)
    assert reloaded.find(deleted.reference) is None
    assert reloaded.of(BOB) is not None
    assert [file.name for file in path.parent.iterdir()] == ["users"]


def test_every_copy_of_a_key_is_overwritten_in_place(path):
    ring_of(path, ALICE, BOB)
    intact = path.read_bytes()
    restored = path.read_bytes() + intact[22:]  # as a backup may have it
    path.write_bytes(restored)
    keys = Keyring(path, MASTER)
    assert len(keys) == 2
    deleted = keys.of(ALICE)
    with path.open("r+b") as file:
        keys.overwrite(file.fileno(), [deleted.reference])
    assert path.stat().st_size == len(restored), "the file grew"
    assert keys.find(deleted.reference) is keys.of(ALICE) is None
    reloaded = Keyring(path, MASTER)
    assert reloaded.of(ALICE) is None
    assert reloaded.of(BOB) is not None
    assert len(reloaded) == 1
    assert reloaded.is_whole, "zeros are deleted records"
    assert path.read_bytes().count(b"WXK2") == 4, "the first record, and BOB, twice each"


def test_a_key_that_was_appended_is_found_and_overwritten(path):
    keys = ring_of(path, ALICE)
    new = keys.make(BOB)
    with path.open("r+b") as file:
        begin = file.seek(0, 2)
        file.write(record := keys.record(new))
        file.flush()
        keys.placed([new], begin, [record])
        assert keys.of(BOB).key == keys.find(new.reference).key == new.key
        keys.overwrite(file.fileno(), [new.reference])
    assert keys.of(BOB) is keys.find(new.reference) is None
    assert len(keys) == len(Keyring(path, MASTER)) == 1


def test_a_keyring_of_format_1_is_read_and_rewritten(path):
    keys = ring_of(path, ALICE, BOB)
    path.write_bytes(format_1(keys, ALICE, BOB))
    old = Keyring(path, MASTER)
    assert not old.is_whole
    for user in (ALICE, BOB):
        assert old.of(user).key == old.find(keys.of(user).reference).key == keys.of(user).key
    with path.open("r+b") as file:
        old.overwrite(file.fileno(), [keys.of(ALICE).reference])
    assert Keyring(path, MASTER).of(ALICE) is None
    old.make_durable()
    rewritten = Keyring(path, MASTER)
    assert rewritten.is_whole
    assert rewritten.of(ALICE) is None
    assert rewritten.of(BOB).key == keys.of(BOB).key
    path.write_bytes(format_1(keys, BOB))
    with pytest.raises(MasterKeyUnusable):
        Keyring(path, b"x" * 32)


def format_1(keys, *users) -> bytes:
    """Return a keyring file as earlier versions wrote it."""
    data = b"WXGPTKEY\x00\x01"
    for user, key in ((User("", ""), None), *((user, keys.of(user)) for user in users)):
        fields = (key.reference if key else "", *user, key.key if key else b"")
        payload = keys.seal(msgpack.packb(fields))
        data += struct.pack(">4sII", b"WXKY", len(payload), crc32(payload)) + payload
    return data


def test_a_start_rewrites_the_file_only_if_much_was_deleted(path):
    others = [User("main", f"openid-{number}") for number in range(10_000)]
    keys = ring_of(path, ALICE, BOB, *others)
    inode = path.stat().st_ino
    keys.make_durable(without=[keys.of(user).reference for user in (ALICE, *others)])
    assert path.stat().st_ino == inode
    assert Keyring(path, MASTER).of(ALICE) is None
    size = path.stat().st_size
    keys = Keyring(path, MASTER)
    keys.make_durable()
    assert path.stat().st_size < size - keyring.COMPACTED_BYTES
    assert keys.of(BOB) is not None


def test_a_thousand_keys_are_found_by_user_and_by_reference(path):
    users = [User("main", f"openid-{number}") for number in range(1_000)]
    keys = ring_of(path, *users)
    references = {user: keys.of(user).reference for user in users}
    keys.write(without=[references[user] for user in users[::3]])
    reloaded = Keyring(path, MASTER)
    for number, user in enumerate(users):
        found = reloaded.of(user)
        assert found is None if number % 3 == 0 else found.user == user
        assert (reloaded.find(references[user]) is None) == (number % 3 == 0)
    assert len(reloaded) == 666


def test_a_returning_user_gets_a_new_key_and_reference(path):
    keys = ring_of(path, ALICE)
    first = keys.of(ALICE)
    keys.forget(first)
    second = keys.make(ALICE)
    assert first.reference != second.reference
    assert first.key != second.key
    keys.write(without=[first.reference])
    assert Keyring(path, MASTER).of(ALICE).key == second.key


def test_a_wrong_master_key_is_detected_even_in_an_empty_keyring(path):
    ring_of(path)
    with pytest.raises(MasterKeyUnusable, match="another master key"):
        Keyring(path, b"x" * 32)


@pytest.mark.parametrize("zeros", [False, True], ids=["cut off", "filled with zeros"])
def test_a_partial_record_is_dropped_by_the_next_write(path, zeros):
    keys = ring_of(path, ALICE)
    record = keys.record(keys.make(BOB))
    intact = path.read_bytes()
    for size in range(1, len(record)):
        rest = bytes(len(record) - size) if zeros else b""
        path.write_bytes(intact + record[:size] + rest)
        reloaded = Keyring(path, MASTER)
        assert not reloaded.is_whole
        assert reloaded.of(ALICE) is not None
        assert reloaded.of(BOB) is None
    reloaded.write()
    assert Keyring(path, MASTER).is_whole
    path.write_bytes(intact + record)
    assert Keyring(path, MASTER).of(BOB) is not None


def test_every_flipped_bit_is_detected_and_loses_at_most_one_record(path):
    ring_of(path, ALICE, BOB, User("main", "carol"))
    intact = path.read_bytes()
    for position in range(0, len(intact) * 8, 3):
        data = bytearray(intact)
        data[position // 8] ^= 1 << position % 8
        path.write_bytes(data)
        reloaded = Keyring(path, MASTER)
        assert not reloaded.is_whole
        assert len(reloaded) >= 2


def test_a_keyring_is_reloaded_after_another_process_writes(path):
    keys = ring_of(path, ALICE)
    reader = Keyring(path, MASTER)
    assert not reader.refresh()
    record = keys.record(keys.make(BOB))
    with path.open("ab") as file:
        file.write(record)
    assert reader.refresh()
    assert reader.of(BOB) is not None


class Racing(Keyring):
    """The writer's thread deletes ALICE's key between the reactor's read and the lookup's end."""

    is_racing = False

    def _decrypted(self, payload):
        key = super()._decrypted(payload)
        if self.is_racing and key.user == ALICE:
            self.is_racing = False
            self.forget(key)
            with self.path.open("r+b") as file:
                self.overwrite(file.fileno(), [key.reference])
        return key


def test_a_key_that_is_deleted_while_it_is_read_is_not_used(path):
    ring_of(path, ALICE, BOB)
    deleted = Keyring(path, MASTER).of(ALICE)
    keys = Racing(path, MASTER)
    keys.is_racing = True
    assert keys.of(ALICE) is None
    assert deleted.number not in keys._cache
    assert ALICE not in keys._hot
    assert keys.make(ALICE).reference != deleted.reference
