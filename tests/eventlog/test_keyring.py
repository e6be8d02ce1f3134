"""The keys: what is deleted is gone, what is damaged is told."""

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


def test_what_is_written_is_read(path):
    keys = ring_of(path, ALICE, BOB)
    again = Keyring(path, MASTER)
    assert again.is_whole
    assert len(again) == 2
    sealed = keys.of(ALICE).seal(b"secret")
    assert b"secret" not in sealed
    assert again.find(keys.of(ALICE).reference).open(sealed) == b"secret"
    with pytest.raises(ValueError, match="decrypt"):
        again.of(BOB).open(sealed)


def test_neither_users_nor_keys_are_in_the_file(path):
    keys = ring_of(path, ALICE)
    data = path.read_bytes()
    assert ALICE.openid.encode() not in data
    assert keys.of(ALICE).key not in data
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_deleted_key_is_gone_from_the_directory(path):
    keys = ring_of(path, ALICE, BOB)
    gone = keys.of(ALICE)
    keys.write(without=[gone.reference])
    assert keys.find(gone.reference) is keys.of(ALICE) is None
    again = Keyring(path, MASTER)
    assert again.find(gone.reference) is None
    assert again.of(BOB) is not None
    assert [one.name for one in path.parent.iterdir()] == ["users"]


def test_a_key_is_deleted_where_it_stands_however_often_it_is_there(path):
    keys = ring_of(path, ALICE, BOB)
    gone = keys.of(ALICE)
    with path.open("r+b") as file:
        file.seek(0, 2)
        file.write(gone.record)
        file.flush()
        size = path.stat().st_size
        keys.overwrite(file.fileno(), [gone.reference])
    assert path.stat().st_size == size, "it takes no room"
    assert gone.record not in path.read_bytes()
    again = Keyring(path, MASTER)
    assert again.of(ALICE) is None
    assert again.of(BOB) is not None
    again.write()
    assert Keyring(path, MASTER).is_whole


def test_whoever_comes_back_has_another_key_and_another_reference(path):
    keys = ring_of(path, ALICE)
    first = keys.of(ALICE)
    keys.forget(first)
    second = keys.make(ALICE)
    assert first.reference != second.reference
    assert first.key != second.key
    keys.write(without=[first.reference])
    assert Keyring(path, MASTER).of(ALICE).key == second.key


def test_another_master_key_is_told_at_once_even_where_nobody_is(path):
    ring_of(path)
    with pytest.raises(MasterKeyUnusable, match="another master key"):
        Keyring(path, b"x" * 32)


def test_half_a_record_is_no_damage_and_goes_with_the_next_writing(path):
    keys = ring_of(path, ALICE)
    record = keys.make(BOB).record
    whole = path.read_bytes()
    for size in range(1, len(record)):
        path.write_bytes(whole + record[:size])
        again = Keyring(path, MASTER)
        assert not again.is_whole
        assert again.of(ALICE) is not None
        assert again.of(BOB) is None
    again.write()
    assert Keyring(path, MASTER).is_whole
    path.write_bytes(whole + record)
    assert Keyring(path, MASTER).of(BOB) is not None


def test_every_flipped_bit_costs_one_record_at_most_and_is_noticed(path):
    ring_of(path, ALICE, BOB, User("main", "carol"))
    whole = path.read_bytes()
    for position in range(0, len(whole) * 8, 3):
        data = bytearray(whole)
        data[position // 8] ^= 1 << position % 8
        path.write_bytes(data)
        again = Keyring(path, MASTER)
        assert not again.is_whole
        assert len(again) >= 2


def test_it_is_read_again_when_somebody_else_has_written(path):
    keys = ring_of(path, ALICE)
    reader = Keyring(path, MASTER)
    assert not reader.refresh()
    record = keys.make(BOB).record
    with path.open("ab") as file:
        file.write(record)
    assert reader.refresh()
    assert reader.of(BOB) is not None


# The master key.


def test_the_first_start_makes_a_master_key_and_the_next_one_finds_it(tmp_path):
    made = keyring.own_master(tmp_path)
    assert len(made) == 32
    assert keyring.own_master(tmp_path) == made
    assert stat.S_IMODE((tmp_path / "keys" / "master").stat().st_mode) == 0o600


def test_a_master_key_that_others_can_read_is_refused(tmp_path):
    keyring.own_master(tmp_path)
    (tmp_path / "keys" / "master").chmod(0o640)
    with pytest.raises(MasterKeyUnusable, match="read by others"):
        keyring.own_master(tmp_path)


def test_a_master_key_that_is_gone_is_not_made_anew(tmp_path):
    keyring.own_master(tmp_path)
    (tmp_path / "keys" / "users").touch()
    (tmp_path / "keys" / "master").unlink()
    with pytest.raises(MasterKeyUnusable, match="is missing"):
        keyring.own_master(tmp_path)
    assert not (tmp_path / "keys" / "master").exists()


@pytest.mark.parametrize("text", ["", "short", base64.b64encode(b"k" * 31).decode(), "é" * 44])
def test_what_is_no_master_key_is_told_with_where_it_stands(text):
    with pytest.raises(MasterKeyUnusable, match="in here is not 32 bytes in base64") as raised:
        keyring.parse_master(text, "here")
    assert "restore it" in raised.value.hint


def test_a_state_directory_that_a_first_start_makes_is_its_owners_alone(tmp_path):
    keyring.own_master(tmp_path / "state")
    assert (tmp_path / "state").stat().st_mode & 0o077 == 0
