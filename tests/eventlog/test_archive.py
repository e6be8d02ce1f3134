"""Backups while somebody writes, and what comes of them."""

from __future__ import annotations

import io
import shutil
import tarfile
from types import SimpleNamespace

import pytest

from tests.support.builders import BOB
from tests.support.injuries import MASTER, append, conversation, events, flip, injure, write
from wxgptd.eventlog import archive, framing, reader, segments

EVENTS = conversation(6)


@pytest.fixture
def state(tmp_path):
    directory = tmp_path / "state"
    write(directory / "log", EVENTS, segment_bytes=900, seal=False)
    (directory / "keys" / "links").write_bytes(b"k" * 32)
    return directory


def test_a_restored_backup_is_the_state_directory(state, tmp_path):
    made = archive.backup(state, tmp_path / "backup.tar.gz", MASTER)
    assert made == (len(EVENTS), 1)
    assert (tmp_path / "backup.tar.gz").stat().st_mode & 0o777 == 0o600
    restored = tmp_path / "other"
    assert archive.restore(tmp_path / "backup.tar.gz", restored, MASTER) == made
    assert events(restored / "log") == EVENTS
    assert (restored / "keys" / "links").read_bytes() == b"k" * 32
    assert restored.stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in restored.iterdir()) == ["keys", "lock", "log"]
    # and it can be written on
    write(restored / "log", conversation(1), user=BOB)
    assert len(events(restored / "log")) == len(EVENTS) + len(conversation(1))


def test_a_commit_that_is_being_written_is_left_out(state, tmp_path):
    injure(segments.list_segments(state / "log")[-1], append(b"WXFR\0\0\1\0 half a frame"))
    assert archive.backup(state, tmp_path / "b", MASTER).last_seq == len(EVENTS)
    archive.restore(tmp_path / "b", tmp_path / "other", MASTER)
    assert events(tmp_path / "other" / "log") == EVENTS


def test_a_key_that_was_never_finished_is_left_out(state, tmp_path):
    (state / "keys" / "links.new").write_bytes(b"half")
    archive.backup(state, tmp_path / "b", MASTER)
    archive.restore(tmp_path / "b", tmp_path / "other", MASTER)
    assert sorted(path.name for path in (tmp_path / "other" / "keys").iterdir()) == [
        "links",
        "users",
    ]


def test_a_damaged_log_gives_no_backup(state, tmp_path):
    injure(segments.list_segments(state / "log")[0], flip(framing.HEADER_BYTES + 70))
    with pytest.raises(reader.LogDamaged):
        archive.backup(state, tmp_path / "b", MASTER)
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_nothing_is_written_over(state, tmp_path):
    (tmp_path / "b").write_text("mine")
    with pytest.raises(FileExistsError):
        archive.backup(state, tmp_path / "b", MASTER)
    assert (tmp_path / "b").read_text() == "mine"
    archive.backup(state, tmp_path / "c", MASTER)
    with pytest.raises(archive.NotEmpty):
        archive.restore(tmp_path / "c", state, MASTER)


@pytest.mark.parametrize("injury", [b"", b"junk", "cut"])
def test_a_backup_that_is_none_or_not_whole_restores_nothing(state, tmp_path, injury):
    archive.backup(state, tmp_path / "b", MASTER)
    data = (tmp_path / "b").read_bytes()
    if injury == "cut":
        injury = data[: len(data) // 2]
    (tmp_path / "b").write_bytes(injury)
    with pytest.raises((archive.NoBackup, reader.LogDamaged)):
        archive.restore(tmp_path / "b", tmp_path / "other", MASTER)
    assert not segments.list_segments(tmp_path / "other" / "log")
    assert not (tmp_path / "other" / "restoring").exists()


def test_a_backup_with_an_inverted_byte_restores_the_same_log_or_nothing(state, tmp_path):
    """Not every change matters: the gzip header has a timestamp, and runs of NULs repeat."""
    archive.backup(state, tmp_path / "b", MASTER)
    data = (tmp_path / "b").read_bytes()
    restored = tmp_path / "other"
    offsets = range(0, len(data), 7)
    rejected = 0
    for offset in offsets:
        inverted = bytes([data[offset] ^ 0xFF])
        (tmp_path / "b").write_bytes(data[:offset] + inverted + data[offset + 1 :])
        try:
            archive.restore(tmp_path / "b", restored, MASTER)
        except archive.NoBackup:
            rejected += 1
            assert not segments.list_segments(restored / "log"), offset
            assert not (restored / "restoring").exists(), offset
        else:
            assert events(restored / "log") == EVENTS, offset
            assert (restored / "keys" / "links").read_bytes() == b"k" * 32, offset
            shutil.rmtree(restored)
    assert rejected > 0.9 * len(offsets)


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "log/../../evil", "other/evil", "evil"])
def test_a_backup_writes_nowhere_else(state, tmp_path, name):
    with tarfile.open(tmp_path / "b", "w:gz") as made:
        info = tarfile.TarInfo(name)
        info.size = 4
        made.addfile(info, io.BytesIO(b"evil"))
    with pytest.raises(archive.NoBackup):
        archive.restore(tmp_path / "b", tmp_path / "other", MASTER)
    assert not list(tmp_path.rglob("evil"))


def repacked(backup, change):
    """Write a backup again with its files changed; gzip's own checksum is right."""
    with tarfile.open(backup) as old:
        files = {info.name: old.extractfile(info).read() for info in old}
    change(files)
    with tarfile.open(backup, "w:gz") as new:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            new.addfile(info, io.BytesIO(data))


@pytest.mark.parametrize(
    "change",
    [
        lambda files: files.update({"keys/links": b"K" + files["keys/links"][1:]}),
        lambda files: files.pop(min(name for name in files if name.startswith("log/"))),
        lambda files: files.pop(max(name for name in files if name.startswith("log/"))),
        lambda files: files.pop("keys/links"),
        lambda files: files.pop("manifest.json"),
    ],
    ids=["a key", "the first segment", "the last segment", "no key", "no manifest"],
)
def test_a_backup_that_was_changed_is_none(state, tmp_path, change):
    archive.backup(state, tmp_path / "b", MASTER)
    repacked(tmp_path / "b", change)
    with pytest.raises(archive.NoBackup):
        archive.restore(tmp_path / "b", tmp_path / "other", MASTER)


def test_a_backup_without_its_last_bytes_is_none(state, tmp_path):
    archive.backup(state, tmp_path / "b", MASTER)
    (tmp_path / "b").write_bytes((tmp_path / "b").read_bytes()[:-8])
    with pytest.raises(archive.NoBackup):
        archive.restore(tmp_path / "b", tmp_path / "other", MASTER)


def test_another_key_is_not_written_over(state, tmp_path):
    archive.backup(state, tmp_path / "b", MASTER)
    keys = tmp_path / "other" / "keys"
    keys.mkdir(parents=True)
    (keys / "links").write_bytes(b"other")
    with pytest.raises(archive.NotEmpty, match="links"):
        archive.restore(tmp_path / "b", tmp_path / "other", MASTER)
    assert (keys / "links").read_bytes() == b"other"


def test_what_a_link_points_to_is_not_written_over(state, tmp_path):
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "b").symlink_to(tmp_path / "victim")
    with pytest.raises(FileExistsError):
        archive.backup(state, tmp_path / "b", MASTER)
    assert (tmp_path / "victim").read_text() == "mine"


def test_a_backup_is_looked_at_before_anything_of_it_is_written(state, tmp_path, monkeypatch):
    archive.backup(state, tmp_path / "b", MASTER)
    repacked(tmp_path / "b", lambda files: files.update({"log/passwd": b"x"}))
    written = []
    monkeypatch.setattr(archive, "_write", lambda path, data: written.append(path))
    with pytest.raises(archive.NoBackup, match="log/passwd"):
        archive.restore(tmp_path / "b", tmp_path / "other", MASTER)
    assert written == []


def test_a_backup_that_is_larger_than_the_disk_is_refused_before_it_fills_it(
    state, tmp_path, monkeypatch
):
    archive.backup(state, tmp_path / "b", MASTER)
    full = SimpleNamespace(free=1)
    monkeypatch.setattr(archive.shutil, "disk_usage", lambda _: full)
    with pytest.raises(archive.NoRoom, match="1 are free"):
        archive.restore(tmp_path / "b", tmp_path / "other", MASTER)
    assert sorted(path.name for path in (tmp_path / "other").iterdir()) == ["lock"]


def test_a_list_of_files_without_end_is_none(state, tmp_path):
    archive.backup(state, tmp_path / "b", MASTER)
    endless = b"[" * (archive.MAX_MANIFEST_BYTES + 1)
    repacked(tmp_path / "b", lambda files: files.update({archive.MANIFEST: endless}))
    with pytest.raises(archive.NoBackup, match="too long"):
        archive.restore(tmp_path / "b", tmp_path / "other", MASTER)
