"""Short-lived keys, which are deleted within twenty minutes."""

from __future__ import annotations

import os

import pytest

from wxgptd.eventlog.short_lived_keys import PERIOD_S, ShortLivedKeyFile

NOW = 1_700_000_000.0 // PERIOD_S * PERIOD_S
WORDS = "还记得吗？\ud83d".encode("utf-8", "surrogatepass")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "passing"


@pytest.mark.parametrize("began", [0.0, 1.0, PERIOD_S / 2, PERIOD_S - 0.1])
def test_text_is_readable_for_ten_minutes_and_unreadable_after_twenty(path, began):
    keys = ShortLivedKeyFile(path)
    sealed = keys.seal(WORDS, NOW + began)
    assert WORDS not in sealed
    assert keys.open(sealed, NOW + began + PERIOD_S - 0.1) == WORDS
    assert keys.open(sealed, NOW + began + 2 * PERIOD_S) is None
    assert keys.open(sealed, NOW + began) is None, "the key was not deleted"


def test_another_process_can_read_the_keys_and_sees_their_deletion(path):
    sealed = ShortLivedKeyFile(path).seal(WORDS, NOW)
    before = path.read_bytes()
    assert ShortLivedKeyFile(path).open(sealed, NOW + 1) == WORDS
    ShortLivedKeyFile(path).forget(NOW + 2 * PERIOD_S)
    assert ShortLivedKeyFile(path).open(sealed, NOW + 1) is None
    assert not any(path.read_bytes()), "the keys were not overwritten in place"
    assert len(path.read_bytes()) <= len(before)


def test_the_file_is_readable_only_by_its_owner(path):
    ShortLivedKeyFile(path).seal(WORDS, NOW)
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("data", [b"", b"\0" * 40, b"x" * 7, b"\xff" * 80, b"\xff" * 200])
def test_a_damaged_file_is_overwritten(path, data):
    path.write_bytes(data)
    keys = ShortLivedKeyFile(path)
    assert keys.open(keys.seal(WORDS, NOW), NOW) == WORDS


@pytest.mark.parametrize("sealed", [b"", b"x", b"\0" * 20, b"\xff" * 60])
def test_invalid_ciphertext_does_not_open(path, sealed):
    keys = ShortLivedKeyFile(path)
    keys.seal(WORDS, NOW)
    assert keys.open(sealed, NOW) is None


def test_nothing_is_sealed_if_the_key_cannot_be_stored(tmp_path):
    assert ShortLivedKeyFile(tmp_path / "missing" / "passing").seal(WORDS, NOW) == b""


@pytest.mark.parametrize("step_s", [-30 * PERIOD_S, 30 * PERIOD_S])
def test_a_clock_step_deletes_the_keys_and_new_ones_work(path, step_s):
    keys = ShortLivedKeyFile(path)
    sealed = keys.seal(WORDS, NOW)
    assert keys.open(sealed, NOW + step_s) is None
    assert keys.open(keys.seal(WORDS, NOW + step_s), NOW + step_s) == WORDS


def test_no_file_descriptor_leaks(path):
    before = len(os.listdir("/proc/self/fd"))
    keys = ShortLivedKeyFile(path)
    for number in range(50):
        keys.seal(WORDS, NOW + number * PERIOD_S)
    assert len(os.listdir("/proc/self/fd")) == before
