"""The keyring: deleted keys cannot be recovered, and damage is reported."""

from __future__ import annotations

import base64
import stat

import pytest

from tests.support.builders import ALICE, BOB
from tests.support.injuries import MASTER
from wxgptd.domain.model.values import User
from wxgptd.eventlog import keyring
from wxgptd.eventlog.keyring import Keyring, MasterKeyUnusable


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
    keys = ring_of(path, ALICE, BOB)
    deleted = keys.of(ALICE)
    with path.open("r+b") as file:
        file.seek(0, 2)
        file.write(deleted.record)
        file.flush()
        size = path.stat().st_size
        keys.overwrite(file.fileno(), [deleted.reference])
    assert path.stat().st_size == size, "the file grew"
    assert deleted.record not in path.read_bytes()
    reloaded = Keyring(path, MASTER)
    assert reloaded.of(ALICE) is None
    assert reloaded.of(BOB) is not None
    reloaded.write()
    assert Keyring(path, MASTER).is_whole


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
    record = keys.make(BOB).record
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
    record = keys.make(BOB).record
    with path.open("ab") as file:
        file.write(record)
    assert reader.refresh()
    assert reader.of(BOB) is not None


# The master key.


def test_the_master_key_is_created_once_and_reused(tmp_path):
    master = keyring.own_master(tmp_path)
    assert len(master) == 32
    assert keyring.own_master(tmp_path) == master
    assert stat.S_IMODE((tmp_path / "keys" / "master").stat().st_mode) == 0o600


def test_a_master_key_that_others_can_read_is_rejected(tmp_path):
    keyring.own_master(tmp_path)
    (tmp_path / "keys" / "master").chmod(0o640)
    with pytest.raises(MasterKeyUnusable, match="read by others"):
        keyring.own_master(tmp_path)


def test_a_missing_master_key_is_not_recreated(tmp_path):
    keyring.own_master(tmp_path)
    (tmp_path / "keys" / "users").touch()
    (tmp_path / "keys" / "master").unlink()
    with pytest.raises(MasterKeyUnusable, match="is missing"):
        keyring.own_master(tmp_path)
    assert not (tmp_path / "keys" / "master").exists()


@pytest.mark.parametrize("text", ["", "short", base64.b64encode(b"k" * 31).decode(), "é" * 44])
def test_an_invalid_master_key_is_reported_with_its_location(text):
    with pytest.raises(MasterKeyUnusable, match="in here is not 32 bytes in base64") as raised:
        keyring.parse_master(text, "here")
    assert "restore it" in raised.value.hint


def test_a_new_state_directory_is_private_to_its_owner(tmp_path):
    keyring.own_master(tmp_path / "state")
    assert (tmp_path / "state").stat().st_mode & 0o077 == 0
