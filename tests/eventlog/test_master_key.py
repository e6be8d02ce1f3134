"""The master key: created once, private, and never silently replaced."""

from __future__ import annotations

import base64
import stat

import pytest

from wxgptd.eventlog import master_key
from wxgptd.eventlog.master_key import MasterKeyUnusable


def test_the_master_key_is_created_once_and_reused(tmp_path):
    master = master_key.own_master(tmp_path)
    assert len(master) == 32
    assert master_key.own_master(tmp_path) == master
    assert stat.S_IMODE((tmp_path / "keys" / "master").stat().st_mode) == 0o600


def test_a_master_key_that_others_can_read_is_rejected(tmp_path):
    master_key.own_master(tmp_path)
    (tmp_path / "keys" / "master").chmod(0o640)
    with pytest.raises(MasterKeyUnusable, match="read by others"):
        master_key.own_master(tmp_path)


def test_a_missing_master_key_is_not_recreated(tmp_path):
    master_key.own_master(tmp_path)
    (tmp_path / "keys" / "users").touch()
    (tmp_path / "keys" / "master").unlink()
    with pytest.raises(MasterKeyUnusable, match="is missing"):
        master_key.own_master(tmp_path)
    assert not (tmp_path / "keys" / "master").exists()


@pytest.mark.parametrize("text", ["", "short", base64.b64encode(b"k" * 31).decode(), "é" * 44])
def test_an_invalid_master_key_is_reported_with_its_location(text):
    with pytest.raises(MasterKeyUnusable, match="in here is not 32 bytes in base64") as raised:
        master_key.parse_master(text, "here")
    assert "restore it" in raised.value.hint


def test_a_new_state_directory_is_private_to_its_owner(tmp_path):
    master_key.own_master(tmp_path / "state")
    assert (tmp_path / "state").stat().st_mode & 0o077 == 0
