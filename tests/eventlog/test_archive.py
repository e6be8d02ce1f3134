"""Back up a log while it is being written, and restore it."""

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


def test_a_restored_backup_equals_the_state_directory(state, tmp_path):
    contents = archive.backup(state, tmp_path / "backup.tar.gz", MASTER)
    assert contents == (len(EVENTS), 1)
    assert (tmp_path / "backup.tar.gz").stat().st_mode & 0o777 == 0o600
    restored = tmp_path / "other"
    assert archive.restore(tmp_path / "backup.tar.gz", restored, MASTER) == contents
    assert events(restored / "log") == EVENTS
    assert (restored / "keys" / "links").read_bytes() == b"k" * 32
    assert restored.stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in restored.iterdir()) == ["keys", "lock", "log"]
    # The restored log accepts new events.
    write(restored / "log", conversation(1), user=BOB)
    assert len(events(restored / "log")) == len(EVENTS) + len(conversation(1))


def test_a_backup_omits_an_incomplete_commit(state, tmp_path):
    injure(segments.list_segments(state / "log")[-1], append(b"WXFR\0\0\1\0 half a frame"))
    assert archive.backup(state, tmp_path / "b", MASTER).last_seq == len(EVENTS)
    archive.restore(tmp_path / "b", tmp_path / "other", MASTER)
    assert events(tmp_path / "other" / "log") == EVENTS


def test_a_backup_omits_an_unfinished_key_file(state, tmp_path):
    (state / "keys" / "links.new").write_bytes(b"half")
    archive.backup(state, tmp_path / "b", MASTER)
    archive.restore(tmp_path / "b", tmp_path / "other", MASTER)
    assert sorted(path.name for path in (tmp_path / "other" / "keys").iterdir()) == [
        "links",
        "users",
    ]


def test_a_damaged_log_cannot_be_backed_up(state, tmp_path):
    injure(segments.list_segments(state / "log")[0], flip(framing.HEADER_BYTES + 70))
    with pytest.raises(reader.LogDamaged):
        archive.backup(state, tmp_path / "b", MASTER)
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_backup_and_restore_overwrite_nothing(state, tmp_path):
    (tmp_path / "b").write_text("mine")
    with pytest.raises(FileExistsError):
        archive.backup(state, tmp_path / "b", MASTER)
    assert (tmp_path / "b").read_text() == "mine"
    archive.backup(state, tmp_path / "c", MASTER)
    with pytest.raises(archive.NotEmpty):
        archive.restore(tmp_path / "c", state, MASTER)


@pytest.mark.parametrize("injury", [b"", b"junk", "cut"])
def test_an_invalid_or_truncated_backup_restores_nothing(state, tmp_path, injury):
    archive.backup(state, tmp_path / "b", MASTER)
    data = (tmp_path / "b").read_bytes()
    if injury == "cut":
        injury = data[: len(data) // 2]
    (tmp_path / "b").write_bytes(injury)
    with pytest.raises((archive.InvalidBackup, reader.LogDamaged)):
        archive.restore(tmp_path / "b", tmp_path / "other", MASTER)
    assert not segments.list_segments(tmp_path / "other" / "log")
    assert not (tmp_path / "other" / "restoring").exists()


def test_a_backup_with_an_inverted_byte_restores_the_same_log_or_nothing(state, tmp_path):
    """Some inversions change nothing, such as one in the timestamp of the gzip header."""
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
        except archive.InvalidBackup:
            rejected += 1
            assert not segments.list_segments(restored / "log"), offset
            assert not (restored / "restoring").exists(), offset
        else:
            assert events(restored / "log") == EVENTS, offset
            assert (restored / "keys" / "links").read_bytes() == b"k" * 32, offset
            shutil.rmtree(restored)
    assert rejected > 0.9 * len(offsets)


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "log/../../evil", "other/evil", "evil"])
def test_a_backup_with_an_unexpected_path_is_rejected(state, tmp_path, name):
    with tarfile.open(tmp_path / "b", "w:gz") as tar:
        info = tarfile.TarInfo(name)
        info.size = 4
        tar.addfile(info, io.BytesIO(b"evil"))
    with pytest.raises(archive.InvalidBackup):
        archive.restore(tmp_path / "b", tmp_path / "other", MASTER)
    assert not list(tmp_path.rglob("evil"))


def repack(backup, change):
    """Rewrite a backup with changed files and a valid gzip checksum."""
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
    ids=["changed key", "no first segment", "no last segment", "no key", "no manifest"],
)
def test_a_modified_backup_is_rejected(state, tmp_path, change):
    archive.backup(state, tmp_path / "b", MASTER)
    repack(tmp_path / "b", change)
    with pytest.raises(archive.InvalidBackup):
        archive.restore(tmp_path / "b", tmp_path / "other", MASTER)


def test_a_backup_without_its_gzip_trailer_is_rejected(state, tmp_path):
    archive.backup(state, tmp_path / "b", MASTER)
    (tmp_path / "b").write_bytes((tmp_path / "b").read_bytes()[:-8])
    with pytest.raises(archive.InvalidBackup):
        archive.restore(tmp_path / "b", tmp_path / "other", MASTER)


def test_restore_does_not_overwrite_a_different_key(state, tmp_path):
    archive.backup(state, tmp_path / "b", MASTER)
    keys = tmp_path / "other" / "keys"
    keys.mkdir(parents=True)
    (keys / "links").write_bytes(b"other")
    with pytest.raises(archive.NotEmpty, match="links"):
        archive.restore(tmp_path / "b", tmp_path / "other", MASTER)
    assert (keys / "links").read_bytes() == b"other"


def test_backup_does_not_overwrite_the_target_of_a_symlink(state, tmp_path):
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "b").symlink_to(tmp_path / "victim")
    with pytest.raises(FileExistsError):
        archive.backup(state, tmp_path / "b", MASTER)
    assert (tmp_path / "victim").read_text() == "mine"


def test_restore_checks_the_whole_backup_before_writing(state, tmp_path, monkeypatch):
    archive.backup(state, tmp_path / "b", MASTER)
    repack(tmp_path / "b", lambda files: files.update({"log/passwd": b"x"}))
    written = []
    monkeypatch.setattr(archive, "_write", lambda path, data: written.append(path))
    with pytest.raises(archive.InvalidBackup, match="log/passwd"):
        archive.restore(tmp_path / "b", tmp_path / "other", MASTER)
    assert written == []


def test_restore_rejects_a_backup_larger_than_the_free_space(state, tmp_path, monkeypatch):
    archive.backup(state, tmp_path / "b", MASTER)
    almost_full = SimpleNamespace(free=1)
    monkeypatch.setattr(archive.shutil, "disk_usage", lambda _: almost_full)
    with pytest.raises(archive.InsufficientSpace, match="1 are free"):
        archive.restore(tmp_path / "b", tmp_path / "other", MASTER)
    assert sorted(path.name for path in (tmp_path / "other").iterdir()) == ["lock"]


def test_an_oversized_manifest_is_rejected(state, tmp_path):
    archive.backup(state, tmp_path / "b", MASTER)
    endless = b"[" * (archive.MAX_MANIFEST_BYTES + 1)
    repack(tmp_path / "b", lambda files: files.update({archive.MANIFEST: endless}))
    with pytest.raises(archive.InvalidBackup, match="too large"):
        archive.restore(tmp_path / "b", tmp_path / "other", MASTER)
